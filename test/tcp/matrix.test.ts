/** Loss × reordering × duplication × window, without and with selective acknowledgements, both directions at once, every byte checked; the clock is a number. */
import test, { type ExecutionContext } from "ava";
import { Peer } from "./peer.js";
import { pattern, Rig, SANDBOX, SANDBOX_PORT, SERVER, SERVER_PORT, Seeded, type Wire } from "./rig.js";

interface Case {
  readonly loss: number;
  readonly reorder: number;
  readonly duplicate: number;
  readonly window: number;
  readonly active: boolean;
  readonly sack: boolean;
  readonly seed: number;
}

const LIMIT = 3_600_000;

/** Delivers each segment after a delay, or never, or twice. */
class Line<Item> {
  readonly #waiting: { at: number; item: Item }[] = [];
  readonly #random: Seeded;
  readonly #conditions: Case;

  constructor(random: Seeded, conditions: Case) {
    this.#random = random;
    this.#conditions = conditions;
  }

  put(item: Item, now: number): void {
    const { loss, duplicate, reorder } = this.#conditions;
    if (this.#random.unit() < loss) return;
    for (let copies = this.#random.unit() < duplicate ? 2 : 1; copies > 0; copies--) {
      const late = this.#random.unit() < reorder ? 1 + this.#random.below(20) : 0;
      this.#waiting.push({ at: now + 1 + late, item });
    }
  }

  due(now: number): Item[] {
    const items: Item[] = [];
    for (let i = 0; i < this.#waiting.length; ) {
      if (this.#waiting[i].at <= now) items.push(...this.#waiting.splice(i, 1).map((entry) => entry.item));
      else i++;
    }
    return items;
  }

  get next(): number {
    return this.#waiting.reduce((nearest, entry) => Math.min(nearest, entry.at), Number.POSITIVE_INFINITY);
  }
}

function converse(t: ExecutionContext, conditions: Case): void {
  const { window, active, sack, seed } = conditions;
  const name = JSON.stringify(conditions);
  const random = new Seeded(seed);
  const lossy = conditions.loss > 0 ? 3 : 1;
  const size = Math.floor((window === 1 ? 150 : window < 100 ? 1500 : 150_000) / lossy);
  const outward = pattern(active ? size : Math.floor(size / 2), 1);
  const inward = pattern(active ? Math.floor(size / 2) : size, 2);
  const rig = new Rig({ seed, tcp: { receiveWindow: window <= 1460 ? 4096 : 1 << 16, timeWait: 60_000 } });
  const mss = window < 536 ? 536 : 1460;
  // Sequence numbers wrap around on the way.
  const peer = new Peer({ data: outward, window, mss, pace: Math.max(1, window), iss: 2 ** 32 - 1000, active, sack });
  const toRig = new Line<Partial<Wire>>(random, conditions);
  const toPeer = new Line<Wire>(random, conditions);
  if (!active) {
    const socket = rig.host.make({ connected() {}, data() {}, end() {}, failed() {}, drained() {} });
    const refused = () => t.fail(`${name}: refused`);
    const connection = { client: SERVER, clientPort: SERVER_PORT, server: SANDBOX, serverPort: SANDBOX_PORT };
    rig.tcp.accept({ socket: socket.id, link: 0, ...connection, refused, established() {} });
  }
  peer.start(rig.now);
  let written = 0;
  const end = rig.now + LIMIT;
  for (;;) {
    const host = rig.host.sockets[0];
    if (active && host && host.pending.length === 0 && written === 0) {
      host.pending.push(() => host.handler.connected(host.id));
    }
    if (host) {
      host.takes = 1 + random.below(window < 1460 ? 2000 : 20_000);
      const amount = Math.min(inward.length - written, 1 + random.below(5000));
      host.write(inward.subarray(written, written + amount));
      written += amount;
      if (written === inward.length) host.ended = true;
    }
    rig.turn(toRig.due(rig.now), () => random.below(2) === 0);
    for (const segment of rig.take()) toPeer.put(segment, rig.now);
    for (const segment of toPeer.due(rig.now)) peer.receive(segment, rig.now);
    peer.step(rig.now);
    for (const segment of peer.outbox.splice(0)) toRig.put(segment, rig.now);
    if (peer.wasReset) {
      t.fail(`${name}: reset`);
      return;
    }
    if (peer.done && host && host.gone !== "" && host.backlog.length === 0) break;
    if (rig.now > end) {
      t.fail(
        `${name}: stuck at ${host?.received.length} of ${outward.length} out, ${peer.read.length} of ${inward.length} in`,
      );
      return;
    }
    const timer = rig.timers.nextDeadline(rig.now);
    const events = [toRig.next, toPeer.next, timer < 0 ? Number.POSITIVE_INFINITY : rig.now + timer];
    if (peer.deadline >= 0) events.push(peer.deadline);
    // The host's side goes on every millisecond or so while it has something to do.
    if (host && (host.backlog.length > 0 || written < inward.length)) events.push(rig.now + 1);
    rig.now = Math.min(Math.max(Math.min(...events), rig.now + 1), rig.now + 1000);
  }
  peer.step(rig.now);
  for (let i = 0; i < 100_000 && peer.read.length < inward.length; i++) peer.step(rig.now);
  const host = rig.host.get(0);
  t.is(host.gone, "closed", name);
  t.true(host.shutdown, name);
  t.true(Buffer.from(host.received).equals(outward), `${name}: bytes out`);
  t.true(Buffer.from(peer.read).equals(inward), `${name}: bytes in`);
  for (let i = 0; i < 100 && rig.tcp.flowCount > 0; i++) {
    // The last ACK may be lost on its way: TIME-WAIT repeats it, here nobody asks again.
    rig.pass(61_000);
  }
  t.is(rig.tcp.flowCount, 0, name);
  t.is(rig.flows.size, 0, name);
  t.is(rig.tcp.outOfOrder.used, 0, name);
  t.is(rig.timers.size, 0, name);
}

for (const window of [1, 10, 1000, 1460, 65535]) {
  for (const active of [true, false]) {
    test(`every byte arrives with a window of ${window}, ${active ? "out" : "in"}bound connection`, (t) => {
      let seed = window;
      for (const loss of [0, 0.03, 0.2]) {
        for (const reorder of [0, 0.3]) {
          for (const duplicate of [0, 0.2]) {
            for (const sack of [false, false, true, true]) {
              converse(t, { loss, reorder, duplicate, window, active, sack, seed: ++seed });
            }
          }
        }
      }
    });
  }
}
