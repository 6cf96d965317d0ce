/** A person at a terminal: job control, Ctrl-C, Ctrl-Z and the window size, typed into a real pty by terminal.py. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import test from "ava";

const runner = fileURLToPath(new URL("run-command.js", import.meta.url));
const script = fileURLToPath(new URL("../../../test/sandbox/terminal.py", import.meta.url));

test("a terminal works inside as outside", async (t) => {
  const child = spawn("python3", [script, `node ${runner}`], { stdio: ["ignore", "pipe", "pipe"] });
  const [out, err] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "exit")]);
  t.is(err, "");
  t.is(out, "all answered\n");
});
