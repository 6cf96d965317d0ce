/** The stack alone, as the bench measures it: in steady state ordinary packets leave nothing on the heap. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import test from "ava";
import { figure, parseFigures } from "../../bench/programs.js";

const PROGRAM = fileURLToPath(new URL("../../bench/micro/main.js", import.meta.url));
/** Bytes per frame: less than the smallest object has, 24. (A number that does not fit a word of V8 has 16.) */
const NOISE = 22;

test("TCP segments, ACKs and datagrams allocate nothing; a SYN makes a flow", async (t) => {
  const { stdout } = await promisify(execFile)(process.execPath, [PROGRAM]);
  const figures = parseFigures(stdout);
  for (const frame of ["data", "ack", "udp"]) {
    t.true(figure(figures, `${frame}-bytes`) < NOISE, `${frame}: ${figure(figures, `${frame}-bytes`)} B per frame`);
    t.true(figure(figures, frame) > 0);
  }
  t.true(figure(figures, "syn-bytes") > 100);
});
