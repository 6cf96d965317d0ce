/**
 * `prune`: takes away what crashed sessions of this user left: sockets of servers that are gone, logs of sandboxes that are gone, and
 * servers that do not answer any more (such as one that was stopped). What runs is left alone.
 *
 * A server is ended by its process id, which the kernel tells of the listener that the socket leads to, and only if that process
 * is of this program.
 */
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { inventory, type Silent, serverSockets, unlinkIfThere } from "../control/directory.js";
import { type RuntimeDirectory, runtimeDirectory } from "../control/runtime.js";
import { native } from "../native/binding.js";
import { tell } from "./log.js";
import { print } from "./output.js";

const END_MS = 2000;
const LOOK_MS = 20;
const EAGAIN = 11;

/** Prints a line for each thing that it took away. */
export async function prune(): Promise<number> {
  const runtime = runtimeDirectory();
  const before = serverSockets(runtime);
  let code = 0;
  for (const silent of (await inventory(runtime)).silent) if (!(await endServer(silent))) code = 125;
  await inventory(runtime);
  const after = new Set(serverSockets(runtime).map(({ kind, name }) => `${kind} ${name}`));
  for (const { kind, name } of before) if (!after.has(`${kind} ${name}`)) print(`server of ${kind} ${name}\n`);
  await runtime.locked(async () => {
    // Under the lock, so that nobody claims a name, and begins its log, meanwhile. Whose server is silent keeps its log.
    const { found, silent } = await inventory(runtime, { isLocked: true });
    const alive = [
      ...found.flatMap(({ sandboxes, network }) => [...sandboxes.map(({ name }) => name), ...network.claims]),
      ...silent.map(({ name }) => name),
    ];
    removeLogs(runtime, new Set(alive));
  });
  return code;
}

function removeLogs(runtime: RuntimeDirectory, alive: ReadonlySet<string>): void {
  for (const file of readdirSync(path.join(runtime.path, "logs"))) {
    const name = path.basename(file, ".log");
    if (alive.has(name)) continue;
    unlinkIfThere(path.join(runtime.path, "logs", file));
    print(`log of ${name}\n`);
  }
}

/** Ends the process that listens at a socket, and waits until nobody does. False: it is still there, and that has been told. */
async function endServer({ kind, name, path: socket }: Silent): Promise<boolean> {
  const who = `the server of the ${kind} ${name}`;
  const pid = listenerOf(socket);
  if (pid === "gone") return true;
  if (pid === "busy") {
    tell(
      `${who} does not answer, and takes no connection that would tell its process: end the one that serves ${socket}`,
    );
    return false;
  }
  if (!isOurs(pid)) {
    tell(`${who} does not answer, and its process ${pid} is none of ours: left alone`);
    return false;
  }
  send(pid, "SIGKILL"); // what it holds ends with it
  for (let waited = 0; waited < END_MS; waited += LOOK_MS) {
    // A process that is ending has lost its command line some time before its sockets: only they tell that it has ended.
    const now = listenerOf(socket);
    if (now === "gone" || (now !== "busy" && now !== pid)) return true;
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
  tell(`${who}, process ${pid}, does not end`);
  return false;
}

/** The process that listens at a socket. "gone": nobody does; "busy": somebody, whose queue is full. */
function listenerOf(socket: string): number | "gone" | "busy" {
  const fd = native().connectChannel(socket);
  if (fd < 0) return fd === -EAGAIN ? "busy" : "gone";
  const peer = native().peerCredentials(fd);
  native().closeFd(fd);
  return typeof peer === "number" ? "gone" : peer.pid;
}

function isOurs(pid: number): boolean {
  try {
    const words = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
    return words.includes("serve") || words.includes("run");
  } catch {
    return false;
  }
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended.
  }
}
