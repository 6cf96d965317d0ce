/**
 * What it costs to know on what a sandbox listens (src/watch): microseconds of processor time of one look at a sandbox with some listeners and
 * many connections, and the share of a processor that the looks take together. Prints one line of JSON.
 */

import { Counters } from "../../src/flow/counters.js";
import { native } from "../../src/native/binding.js";
import { launch } from "../../src/sandbox/sandbox.js";
import { Listeners } from "../../src/watch/listeners.js";
import { LOOK_MS, PortWatch } from "../../src/watch/port-watch.js";
import { median } from "../statistics.js";

const LISTENERS = 5;
const CONNECTIONS = 200;
const RUNS = 21;
const LOOKS = 100;
const WATCH_SECONDS = 5;

const program = `
import socket, time
held = [socket.create_server(("", 2000 + i), backlog=${CONNECTIONS}) for i in range(${LISTENERS})]
held += [socket.create_connection(("127.0.0.1", 2000)) for _ in range(${CONNECTIONS})]
time.sleep(600)
`;

const sandbox = await launch({
  network: {
    ifname: "tap0",
    mac: null,
    mtu: 1500,
    v4: { address: "10.0.2.100", prefix: 24, gateway: "10.0.2.2" },
    v6: null,
    congestion: [],
    queues: 1,
  },
  command: ["python3", "-c", program],
  env: process.env,
  root: false,
  hostname: null,
  resolvConf: null,
  hosts: null,
});
const fd = await sandbox.diagnosticSocket();
const listeners = new Listeners(fd, native());
sandbox.start();
while ((listeners.read()?.length ?? 0) < LISTENERS) await new Promise((resolve) => setTimeout(resolve, 10));

const runs = Array.from({ length: RUNS }, () => {
  const start = process.cpuUsage();
  for (let i = 0; i < LOOKS; i++) listeners.read();
  const { user, system } = process.cpuUsage(start);
  return (user + system) / LOOKS;
});

const watch = new PortWatch({
  addresses: [],
  counters: new Counters(),
  open: async () => ({ read: () => listeners.read(), close: () => {} }),
  every: (milliseconds, call) => {
    const timer = setInterval(call, milliseconds);
    return () => clearInterval(timer);
  },
});
const stop = watch.watch(() => {});
await new Promise((resolve) => setTimeout(resolve, 1000));
const before = process.cpuUsage();
await new Promise((resolve) => setTimeout(resolve, WATCH_SECONDS * 1000));
const { user, system } = process.cpuUsage(before);
stop();

native().closeFd(fd);
for (const tap of sandbox.taps) native().closeFd(tap);
await sandbox.release();
const look = Math.round((median(runs) ?? 0) * 10) / 10;
const processor = Math.round(((user + system) / (WATCH_SECONDS * 1e6)) * 10_000) / 100;
console.log(
  JSON.stringify({ listeners: LISTENERS, everyMs: LOOK_MS, lookMicroseconds: look, processorPercent: processor }),
);
