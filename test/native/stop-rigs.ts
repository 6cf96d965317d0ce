/**
 * For test files with rigs: a test that fails leaves its engine running, and the process would never end. Imported for that alone, and
 * not part of rig.ts, which programs without ava use too.
 */
import test from "ava";
import { stopRigs } from "./rig.js";

test.after.always("no engine outlives the tests", () => stopRigs());
