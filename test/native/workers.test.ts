import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import test from "ava";
import { at, Mailbox, Rig } from "./rig.js";
import "./stop-rigs.js";

const rig = new URL("rig.js", import.meta.url).href;

/** A worker with an engine of its own, which runs until the worker is ended. */
function worker(): Worker {
  const code = `
    const { parentPort } = require("node:worker_threads");
    import(${JSON.stringify(rig)}).then(({ Rig, Mailbox, at }) => {
      const rig = new Rig();
      const mailbox = new Mailbox(rig);
      const socket = rig.sockets.open(4, at("127.0.0.1", 0), mailbox);
      rig.until("a datagram", () => mailbox.datagrams.length > 0).then(() => parentPort.postMessage("got it"));
      parentPort.postMessage(rig.port(socket));
    });`;
  return new Worker(code, { eval: true });
}

test.serial("several threads have an engine each, and one may end while its engine runs", async (t) => {
  const workers = [worker(), worker(), worker()];
  const ports = (await Promise.all(workers.map((each) => once(each, "message")))).map(([port]) => Number(port));
  t.is(new Set(ports).size, 3);
  const own = new Rig();
  const socket = own.sockets.open(4, null, new Mailbox(own));
  const heard = Promise.all(workers.map((each) => once(each, "message")));
  await own.turn(() => {
    for (const port of ports) own.sockets.sendCopyTo(socket, Buffer.from("hello"), at("127.0.0.1", port), null);
  });
  t.deepEqual((await heard).flat(), ["got it", "got it", "got it"]);
  t.deepEqual(await Promise.all(workers.map((each) => each.terminate())), [1, 1, 1]);
  own.stop();
});

// Descriptors of the whole process are counted: not while the workers of the other one open theirs.
test.serial("an engine that nobody started or remembers is let go of", async (t) => {
  const { setFlagsFromString } = await import("node:v8");
  setFlagsFromString("--expose-gc");
  const { runInNewContext } = await import("node:vm");
  const collect = runInNewContext("gc") as () => void;
  const { createEngine } = await import("../../src/native/binding.js");
  const { readdirSync } = await import("node:fs");
  const count = (): number => readdirSync("/proc/self/fd").length;
  const before = count();
  // Held until they are counted: the collector may come before it is called.
  const engines = Array.from({ length: 20 }, () => createEngine({ slots: 64, maxSockets: 16 }));
  t.true(count() >= before + engines.length);
  engines.length = 0;
  for (let i = 0; i < 20 && count() > before + 2; i++) {
    collect();
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  t.true(count() <= before + 2, fileURLToPath(import.meta.url));
});
