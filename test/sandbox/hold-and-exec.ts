/**
 * A small host program for exec.test.ts: holds a sandbox, runs its arguments in it with `launcher exec`, and ends with that one's
 * exit code. `--release` in front: lets the sandbox go as soon as the command has written something; `--kill`: kills `launcher exec` then.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { launcherPath } from "../../src/native/binding.js";
import { launch } from "../../src/sandbox/sandbox.js";

const given = process.argv.slice(2);
const release = given[0] === "--release";
const kill = given[0] === "--kill";
const sandbox = await launch({
  network: {
    ifname: "tap0",
    mac: null,
    mtu: 1500,
    v4: { address: "10.0.2.100", prefix: 24, gateway: "10.0.2.2" },
    v6: null,
    congestion: ["reno"],
    queues: 1,
  },
  command: [],
  hold: true,
  env: process.env,
  root: false,
  hostname: null,
  resolvConf: null,
  hosts: null,
});
for (const note of sandbox.notes) console.error(note);
const { pid, start } = sandbox.init ?? { pid: 0, start: "" };
const words = ["exec", "--pid", String(pid), "--start", start, "--", ...(release || kill ? given.slice(1) : given)];
const child = spawn(launcherPath(), words, { stdio: ["inherit", "pipe", "inherit"] });
child.stdout.pipe(process.stdout);
const ended = once(child, "exit");
if (release || kill) {
  await once(child.stdout, "data");
  if (kill) child.kill("SIGKILL");
  else await sandbox.release();
}
[process.exitCode] = await ended;
await sandbox.release();
