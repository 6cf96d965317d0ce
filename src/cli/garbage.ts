/**
 * What is given back when a load has ended.
 *
 * V8 lets garbage be while nothing is allocated, which is for ever in an idle process, and its own idle tasks are not Node's.
 * For our own process only: a program that imports us has a heap of its own.
 */
import { native } from "../native/binding.js";

/** Collects all garbage now, some milliseconds in a heap like ours, and gives its pages back, and those of code that only the load had wanted. */
export function collectGarbage(): void {
  native().collectGarbage();
  native().forgetCode();
}
