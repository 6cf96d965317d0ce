/** When descriptors of streams that have ended are closed: in a file, and thus a process, of its own, since it counts them. */
import { readdirSync } from "node:fs";
import test from "ava";
import { at, Recorder, Rig } from "./rig.js";
import "./stop-rigs.js";

test("streams that have ended are closed when there is nothing else to do, and soon where there always is", async (t) => {
  const rig = new Rig();
  const descriptors = () => readdirSync("/proc/self/fd").length;
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
  const [stream] = await halfClosed(1);
  let busy = true;
  const work = () => {
    if (busy) void rig.turn(work);
  };
  await rig.turn(() => {
    work();
    rig.sockets.close(stream?.socket ?? -1);
  });
  await rig.until("the other end, amid other work", () => accepted[0]?.log.includes("end") === true);
  busy = false;
  rig.stop();
});
