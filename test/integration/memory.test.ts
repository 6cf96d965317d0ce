import test from "ava";
import { Bed, eventually, GATEWAY } from "../bed/bed.js";

/** Takes connections and does not read, so that what is sent to them stays on its way. Ends them at a line on its input. */
const SINK = `
import socket, sys
listener = socket.create_server(("127.0.0.1", 7000), backlog=64)
listener.settimeout(0.2)
print("ready", flush=True)
import threading
held = []
def accept():
    while True:
        try: held.append(listener.accept()[0])
        except TimeoutError: pass
threading.Thread(target=accept, daemon=True).start()
sys.stdin.readline()
`;
const FILL = `
import socket, sys, time
flows = [socket.create_connection(("${GATEWAY}", 7000)) for _ in range(40)]
for flow in flows: flow.setblocking(False)
end = time.monotonic() + 2
while time.monotonic() < end:
    for flow in flows:
        try: flow.send(bytes(1 << 16))
        except BlockingIOError: pass
    time.sleep(0.001)
print("full", flush=True)
sys.stdin.readline()
`;

test("what a load took of memory is given back soon after it", async (t) => {
  const bed = await Bed.create(t);
  const sink = bed.host(["python3", "-c", SINK]);
  await sink.until(/ready/);
  const script = `echo up; read; python3 -c '${FILL}'; echo over; exec sleep 30`;
  // One shard, also where the suite runs with two: the heaps of threads are given back more slowly.
  const program = bed.script(script, ["--allow-host-loopback=7000", "--shards", "1"]);
  await program.until(/up/);
  const pid = await program.pid;
  const resident = async () => {
    const status = await bed.admin(`cat /proc/${pid}/status`);
    return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1] ?? Number.NaN) / 1024;
  };
  const idle = await resident();
  program.write("\n");
  await program.until(/full/);
  const loaded = await resident();
  t.true(loaded > idle + 15, `${loaded} MB loaded, ${idle} MB before`);
  sink.end("\n");
  program.write("\n");
  await program.until(/over/);
  let after = 0;
  await eventually(10_000, "memory is still held", async () => {
    after = await resident();
    return after < idle * 1.1;
  }).catch((error) => t.fail(`${idle} MB, ${loaded} MB, ${after} MB: ${error}`));
  t.log(`${idle.toFixed(1)} MB idle, ${loaded.toFixed(1)} MB loaded, ${after.toFixed(1)} MB after`);
  await bed.kill(pid, "TERM");
  await program.exit();
});
