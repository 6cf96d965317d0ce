/**
 * A program for confine.test.ts: confines itself, then does with Node what somebody would who got hold of it, and what a network does.
 * Prints one object of JSON: what came of each.
 */
import { spawn } from "node:child_process";
import dgram from "node:dgram";
import { once } from "node:events";
import fs from "node:fs";
import net from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { native } from "../../src/native/binding.js";

const { CONFINED_FILE = "", CONFINED_SOCKET = "", CONFINED_OUTPUT = "" } = process.env;
const inThread = `
  const { parentPort } = require("node:worker_threads");
  const fs = require("node:fs");
  const attempt = () => { try { return fs.readFileSync(${JSON.stringify(CONFINED_FILE)}, "utf8"); } catch (e) { return e.code; } };
  parentPort.on("message", () => parentPort.postMessage(attempt()));`;

/** What a call gives, or the code of its error. */
async function tell(action: () => unknown): Promise<unknown> {
  try {
    return await action();
  } catch (error) {
    return error instanceof Error && "code" in error ? error.code : String(error);
  }
}

async function connect(where: string | net.NetConnectOpts): Promise<string> {
  const socket = typeof where === "string" ? net.connect(where) : net.connect(where);
  const [data] = await once(socket, "data");
  socket.destroy();
  return String(data);
}

const early = new Worker(inThread, { eval: true });
await once(early, "online");
const child = spawn("sh", ["-c", "read line; exit 7"], { stdio: ["pipe", "ignore", "ignore"] });
const output = fs.openSync(CONFINED_OUTPUT, "w");

if (native().confine() !== 0) throw new Error("cannot be confined");

const results: Record<string, unknown> = {};
const note = async (name: string, action: () => unknown) => {
  results[name] = await tell(action);
};
await note("read", () => fs.readFileSync(CONFINED_FILE, "utf8"));
await note("read in the pool", () => fs.promises.readFile(CONFINED_FILE, "utf8"));
await note("write", () => fs.writeFileSync(CONFINED_FILE, "overwritten"));
await note("append", () => fs.appendFileSync(CONFINED_FILE, "more"));
await note("look", () => fs.statSync(CONFINED_FILE).size);
await note("exists", () => fs.existsSync(CONFINED_FILE));
await note("list", () => fs.readdirSync("/"));
await note("unlink", () => fs.unlinkSync(CONFINED_FILE));
await note("rename", () => fs.renameSync(CONFINED_FILE, `${CONFINED_FILE}.other`));
await note("mkdir", () => fs.mkdirSync(`${CONFINED_FILE}.d`));
await note("chmod", () => fs.chmodSync(CONFINED_FILE, 0o777));
await note("import", () =>
  import(CONFINED_FILE).then(
    () => "loaded",
    () => "refused",
  ),
);
await note("socket file", () => connect(CONFINED_SOCKET));
await note("signal to another", () => process.kill(child.pid ?? 0, 0));
await note("signal to all", () => process.kill(-1, 0));
await note("signal to the group", () => process.kill(0, 0));
await note("another user", () => process.setuid?.(0));
await note("early thread", async () => {
  early.postMessage("go");
  const [answer] = await once(early, "message");
  return answer;
});
await note("late thread", async () => {
  const late = new Worker(inThread, { eval: true });
  late.postMessage("go");
  const [answer] = await once(late, "message");
  await late.terminate();
  return answer;
});

// What goes on working.
await note("tcp", async () => {
  const server = net.createServer((socket) => socket.end("hello")).listen(0, "127.0.0.1");
  await once(server, "listening");
  const answer = await connect({ port: (server.address() as net.AddressInfo).port, host: "127.0.0.1" });
  server.close();
  return answer;
});
await note("udp", async () => {
  const socket = dgram.createSocket("udp6");
  socket.bind(0, "::1");
  await once(socket, "listening");
  socket.send("ping", socket.address().port, "::1");
  const [answer] = await once(socket, "message");
  socket.close();
  return String(answer);
});
await note("time", () => sleep(5, "slept"));
await note("memory", () => {
  for (let i = 0; i < 50; i++) new Uint8Array(1 << 22).fill(i);
  native().collectGarbage();
  native().forgetCode();
  return "collected";
});
await note("threads' end", () => early.terminate());
await note("a child's end", async () => {
  child.stdin?.end("line\n");
  const [code] = await once(child, "exit");
  return code;
});
await note("an open file", () => fs.writeSync(output, "written"));
await note("the kind of an open file", () => fs.fstatSync(output).isFile());
await note("a signal to itself", async () => {
  const came = once(process, "SIGUSR2");
  process.kill(process.pid, "SIGUSR2");
  return Promise.race([came.then(() => "came"), sleep(10_000, "did not come")]); // a signal alone does not keep the loop alive
});
await note("interface", () => native().interfaceIndex("lo"));
await note("an engine", () => {
  const engine = new (native().Engine)({
    slots: 64,
    maxSockets: 8,
    spinMicroseconds: 0,
    peekOffset: true,
    congestion: "",
  });
  engine.stop();
  return "made";
});
console.log(JSON.stringify(results));
process.exit(0);
