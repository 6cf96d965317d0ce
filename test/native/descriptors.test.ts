import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import test from "ava";
import { Rig } from "./rig.js";
import "./stop-rigs.js";

/** Connects four times; at the next line of input it lets its parent have descriptors again. */
const CLIENTS = `
import os, resource, socket, sys
port = int(sys.stdin.readline())
clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(4)]
print("connected", flush=True)
sys.stdin.readline()
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (1024, hard))
sys.stdin.readline()
`;

// In a file, and thus a process, of its own: meanwhile there is no descriptor left for anybody else.
test("without a descriptor left accepting pauses, and goes on when there is one again", async (t) => {
  const rig = new Rig();
  const accepted: number[] = [];
  const { port } = rig.listen({ accepted: (_listener, socket) => accepted.push(socket) });
  const clients = spawn("python3", ["-c", CLIENTS], { stdio: ["pipe", "pipe", "inherit"] });
  let end = 0;
  for (let free = 0; free < 2; end++) if (!existsSync(`/proc/self/fd/${end}`)) free++;
  execFileSync("prlimit", ["--pid", `${process.pid}`, `--nofile=${end}:`]);
  clients.stdin.write(`${port}\n`);
  await once(clients.stdout, "data");
  const look = setInterval(() => rig.engine.wake(), 10);
  await rig.until("a pause", () => rig.engine.counters()["streams.accept_paused"] > 0);
  t.is(accepted.length, 2);
  clients.stdin.write("\n");
  await rig.until("all", () => accepted.length === 4);
  clearInterval(look);
  clients.stdin.end();
  rig.stop();
});
