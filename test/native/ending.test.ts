/** When descriptors of streams that have ended are closed: in a file, and thus a process, of its own, since it counts them. */
import { once } from "node:events";
import { readdirSync } from "node:fs";
import net, { type AddressInfo } from "node:net";
import test from "ava";
import { at, Recorder, Rig } from "./rig.js";
import "./stop-rigs.js";

const descriptors = () => readdirSync("/proc/self/fd").length;

test.serial("streams that have ended are closed when there is nothing else to do", async (t) => {
  const rig = new Rig();
  const accepted: Recorder[] = [];
  const { port } = rig.listen({
    accepted: (_listener, socket) => {
      const stream = new Recorder(rig).open(socket);
      rig.sockets.own(socket, stream);
      stream.connected(socket);
      accepted.push(stream);
    },
  });
  /** Dials, and ends the streams from there: what is left is to close them here, which is the end that the other side waits for. */
  const halfClosed = async (count: number) => {
    accepted.length = 0;
    const streams = Array.from({ length: count }, () => new Recorder(rig));
    await rig.turn(() => {
      for (const stream of streams) stream.open(rig.sockets.connect(at("127.0.0.1", port), null, stream));
    });
    await rig.until("all", () => accepted.length === count);
    await rig.turn(() => {
      for (const stream of accepted) rig.sockets.shutdown(stream.socket);
    });
    await rig.until("their ends", () => streams.every(({ log }) => log.includes("end")));
    return streams;
  };
  const before = descriptors();
  for (const count of [1, 100]) {
    const streams = await halfClosed(count);
    await rig.turn(() => {
      for (const { socket } of streams) rig.sockets.close(socket);
    });
    await rig.until("the other ends", () => accepted.every(({ log }) => log.includes("end")));
    t.is(descriptors(), before + count, "one side is closed");
    await rig.turn(() => {
      for (const { socket } of accepted) rig.sockets.close(socket);
    });
    for (let tries = 0; descriptors() > before && tries < 100; tries++)
      await new Promise((resolve) => setTimeout(resolve, 10));
    t.is(descriptors(), before);
  }
  rig.stop();
});

test.serial("closing waits while there is something else to do, but for a millisecond only", async (t) => {
  const rig = new Rig();
  const peer = net
    .createServer({ allowHalfOpen: true }, (socket) => socket.on("error", () => {}).end())
    .listen(0, "127.0.0.1");
  await once(peer, "listening");
  const { port } = peer.address() as AddressInfo;
  /** Whether the descriptor was seen open after its turn, and closed before the loop had been left. */
  const look = async () => {
    const stream = new Recorder(rig);
    await rig.turn(() => stream.open(rig.sockets.connect(at("127.0.0.1", port), null, stream)));
    await rig.until("its end", () => stream.log.includes("end"));
    const open = descriptors();
    const seen: { count: number; wakeups: number }[] = [];
    await new Promise<void>((resolve) => {
      const end = performance.now() + 4; // the loop is left after 5
      const work = () => {
        seen.push({ count: descriptors(), wakeups: rig.engine.counters()["engine.wakeups"] });
        if (performance.now() < end) void rig.turn(work);
        else resolve();
      };
      void rig.turn(() => {
        rig.sockets.close(stream.socket);
        void rig.turn(work);
      });
    });
    const [first] = seen;
    return [first?.count === open, seen.some(({ count, wakeups }) => count < open && wakeups === first?.wakeups)];
  };
  const found = [false, false];
  // A machine that is busy may have left the loop in between, or be late.
  for (let tries = 0; tries < 20 && found.includes(false); tries++)
    for (const [i, is] of (await look()).entries()) found[i] ||= is;
  t.deepEqual(found, [true, true]);
  peer.close();
  rig.stop();
});
