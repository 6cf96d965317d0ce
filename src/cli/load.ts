/**
 * What our own process does when a load begins, and when one has ended (src/network/rest.ts). A program that imports us has a V8 of
 * its own, and none of this is done to it.
 *
 * V8 compiles what runs often, but by its usual measure a load of small packets runs for seconds before what it needs is compiled,
 * and twice as slow until then. And it lets garbage be while nothing is allocated, which is for ever in an idle process; its own
 * idle tasks are not Node's.
 */
import { native } from "../native/binding.js";
import type { OwnProcess } from "./session.js";

/** Collects all garbage now, some milliseconds in a heap like ours, and gives its pages back, and those of code that only the load had wanted. */
export function collectGarbage(): void {
  native().collectGarbage();
  native().forgetCode();
}

/** From now on V8 compiles sooner. Not before: what of Node's own is loaded later is loaded more slowly then, without its code cache. */
export function compileSooner(): void {
  native().compileSooner();
}

export const LOAD: Pick<OwnProcess, "began" | "rested"> = { began: compileSooner, rested: collectGarbage };
