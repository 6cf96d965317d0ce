import test from "ava";
import { Counters } from "../../src/flow/counters.js";
import { type Look, PortWatch } from "../../src/watch/port-watch.js";
import { parseAddress } from "../../src/wire/address.js";

/** A sandbox at 10.0.2.100 and fd00::100 that listens on what `listen` says (null: it cannot be learned), and a clock that ticks when told. */
function sandbox({ refuses = false } = {}) {
  const counters = new Counters();
  const state = { listen: [] as string[] | null, open: 0, looks: 0, ticking: 0 };
  let tick = () => {};
  const look: Look = {
    read: () => {
      state.looks++;
      return (
        state.listen?.map((text) => {
          const [address, port] = text.split(" ");
          return { address: parseAddress(address), port: Number(port) };
        }) ?? null
      );
    },
    close: () => state.open--,
  };
  const watch = new PortWatch({
    addresses: ["10.0.2.100", "fd00::100"].map(parseAddress),
    counters,
    open: async () => {
      if (refuses) throw new Error("it has ended");
      state.open++;
      return look;
    },
    every: (milliseconds, call) => {
      state.ticking = milliseconds;
      tick = call;
      return () => {
        state.ticking = 0;
        tick = () => {};
      };
    },
  });
  const heard: number[][] = [];
  const watching = () => watch.watch((ports) => heard.push([...ports]));
  /** The ports that the next look tells. */
  const next = (...listen: string[]) => {
    state.listen = listen;
    tick();
    return heard.at(-1);
  };
  return { watch, state, counters, heard, watching, next, tick: () => tick() };
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

test("nothing is asked for nor looked at until somebody watches, and after the last one stopped", async (t) => {
  const { watch, state, watching, next } = sandbox();
  await settled();
  t.deepEqual([state.open, state.looks], [0, 0]);
  const stop = watching();
  const stopOther = watch.watch(() => {});
  await settled();
  t.deepEqual([state.open, state.looks, state.ticking], [1, 1, 100]);
  stop();
  stop();
  t.is(state.open, 1);
  stopOther();
  t.deepEqual([state.open, state.ticking], [0, 0]);
  watching();
  await settled();
  t.deepEqual([state.open, state.ticking], [1, 100]);
  t.deepEqual(next("0.0.0.0 80"), [80]);
});

test("who stops before the first look is not heard of, and leaves nothing open", async (t) => {
  const { state, heard, watching } = sandbox();
  watching()();
  await settled();
  t.deepEqual([state.open, state.looks, state.ticking, heard.length], [0, 0, 0, 0]);
});

test("a port is there with the first look that finds it, and gone with the second that does not", async (t) => {
  const { watching, next } = sandbox();
  watching();
  await settled();
  t.deepEqual(next("0.0.0.0 8080"), [8080]);
  t.deepEqual(next("0.0.0.0 8080", ":: 8081"), [8080, 8081]);
  t.deepEqual(next(":: 8081"), [8080, 8081]);
  t.deepEqual(next(":: 8081"), [8081]);
  t.deepEqual(next(), [8081]);
  t.deepEqual(next(":: 8081"), [8081], "it was missed once only");
  t.deepEqual(next(), [8081]);
  t.deepEqual(next(), []);
});

test("those count that a published connection can reach", async (t) => {
  const { watching, next } = sandbox();
  watching();
  await settled();
  const reached = ["0.0.0.0 1", ":: 2", "127.0.0.1 3", "::1 4", "10.0.2.100 5", "fd00::100 6", "::ffff:127.0.0.1 7"];
  const others = ["127.0.0.53 53", "10.0.2.101 80", "fd00::101 80", "fe80::1 80", "192.0.2.1 80"];
  t.deepEqual(next(...reached, ...others), [1, 2, 3, 4, 5, 6, 7]);
});

test("a look that fails begins and ends nothing, and is counted", async (t) => {
  const { watching, next, state, heard, counters, tick } = sandbox();
  watching();
  await settled();
  next("0.0.0.0 8080");
  state.listen = null;
  const before = heard.length;
  for (let i = 0; i < 5; i++) tick();
  t.is(heard.length, before);
  t.is(counters.get("watch.looks_failed"), 5);
  t.deepEqual(next("0.0.0.0 8080"), [8080]);
});

test("a sandbox that gives no socket is not watched, which is counted", async (t) => {
  const { watching, state, heard, counters } = sandbox({ refuses: true });
  watching();
  await settled();
  t.deepEqual([state.looks, state.ticking, heard.length], [0, 0, 0]);
  t.is(counters.get("watch.no_socket"), 1);
});
