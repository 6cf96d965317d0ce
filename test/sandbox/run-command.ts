/**
 * A small host program for the tests: runs its arguments in a sandbox without a network stack, passes signals on as the
 * command line program does, and ends with the command's status. In front, `--root` maps the user to root, and `--ipv4-only` or `--ipv6-only`
 * leaves one family out.
 */
import { launch } from "../../src/sandbox/sandbox.js";

const given = process.argv.slice(2);
const [option = ""] = given;
const command = option.startsWith("--") ? given.slice(1) : given;
const network = {
  ifname: "tap0",
  mac: null,
  mtu: 1500,
  v4: option === "--ipv6-only" ? null : { address: "10.0.2.100", prefix: 24, gateway: "10.0.2.2" },
  v6: option === "--ipv4-only" ? null : { address: "fd00::100", prefix: 64, gateway: "fd00::2" },
  congestion: ["reno"],
  queues: 1,
};

const sandbox = await launch({
  network,
  command,
  env: process.env,
  root: option === "--root",
  hostname: null,
  resolvConf: "nameserver 10.0.2.3\n",
  hosts: "127.0.0.1 localhost\n10.0.2.2 host.internal\n",
});
for (const signal of ["SIGINT", "SIGQUIT", "SIGTERM", "SIGHUP", "SIGUSR1"] as const) {
  process.on(signal, () => sandbox.signal(signal, process.stdin.isTTY && signal !== "SIGTERM"));
}
for (const note of sandbox.notes) console.error(note);
sandbox.start();
try {
  const { code, signal } = await sandbox.exited;
  await sandbox.release();
  process.exitCode = code ?? 128 + (signal ?? 0);
} catch (error) {
  console.error(`netns-rootless: ${error instanceof Error ? error.message : error}`);
  process.exitCode = 125;
}
