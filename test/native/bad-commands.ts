/**
 * A program for commands.test.ts, run with the ordinary build and with ASan and UBSan: gives an engine every kind of bad
 * command, and prints one line of JSON for each: what was given, and what the engine said.
 */
import net from "node:net";
import { createEngine, native } from "../../src/native/binding.js";
import {
  ADDRESS_STRIDE,
  COMMAND_STRIDE,
  CONTROL_AREA,
  Control,
  type Engine,
  MAX_PAYLOAD,
  Op,
  SLOT_SIZE,
} from "../../src/native/engine.js";
import { ENDPOINT_LENGTH } from "../../src/wire/address.js";
import { at } from "./rig.js";

const SLOTS = 64;
const SOCKETS = 8;
const INT_MAX = 0x7fffffff;
const INT_MIN = -0x80000000;
const END = SLOTS * SLOT_SIZE + CONTROL_AREA;

/** What an engine of each case has: a link, a plain one, a connected stream, a listener, a datagram socket, and a spare slot in use. */
interface Given {
  readonly link: number;
  readonly plain: number;
  readonly stream: number;
  readonly listener: number;
  readonly datagram: number;
  /** First byte of the spare that was taken, and of a slot that is not of this turn. */
  readonly slot: number;
  readonly foreign: number;
}

type Command = readonly [op: number, id: number, offset: number, length: number, a: number, b: number];

const cases: [name: string, command: (given: Given) => Command][] = [
  ["op 0", (g) => [0, g.stream, g.slot, 10, 0, 0]],
  ["op 10", (g) => [10, g.stream, g.slot, 10, 0, 0]],
  ["op INT_MIN", (g) => [INT_MIN, g.stream, g.slot, 10, 0, 0]],
];

const ids = [-1, SOCKETS, INT_MAX, INT_MIN, 5];
for (const op of [Op.Send, Op.SendTo, Op.Consume, Op.Rewind, Op.Credit, Op.Shutdown, Op.Close, Op.Reset]) {
  for (const id of ids) cases.push([`${Op[op]} to socket ${id}`, (g) => [op, id, g.slot, 10, 0, 0]]);
}
for (const id of [-1, 256, 255, INT_MAX, INT_MIN])
  cases.push([`Write to link ${id}`, (g) => [Op.Write, id, g.slot, 10, 0, 0]]);

const ranges: [name: string, range: (given: Given) => [number, number]][] = [
  ["before the slab", () => [-1, 10]],
  ["far before the slab", () => [INT_MIN, 10]],
  ["a negative length", (g) => [g.slot, -1]],
  ["a length of INT_MIN", (g) => [g.slot, INT_MIN]],
  ["a length of INT_MAX", (g) => [g.slot, INT_MAX]],
  ["one byte more than the slot", (g) => [g.slot, SLOT_SIZE + 1]],
  ["over the slot's end", (g) => [g.slot + SLOT_SIZE - 9, 10]],
  ["a slot that is not of this turn", (g) => [g.foreign, 10]],
  ["over the slab's end", () => [END - 9, 10]],
  ["behind the slab", () => [END, 1]],
  ["at INT_MAX", () => [INT_MAX, INT_MAX]],
];
for (const [name, range] of ranges) {
  cases.push([`Write of ${name}`, (g) => [Op.Write, g.link, ...range(g), 0, 0]]);
  cases.push([`Write of ${name} to a plain link`, (g) => [Op.Write, g.plain, ...range(g), 0, 0]]);
  cases.push([`Send of ${name}`, (g) => [Op.Send, g.stream, ...range(g), 0, 0]]);
  cases.push([`SendTo of ${name}`, (g) => [Op.SendTo, g.datagram, ...range(g), 0, 0]]);
}
cases.push(
  ["Write of a virtio header to a plain link", (g) => [Op.Write, g.plain, g.slot, 12, 0, 0]],
  ["Write of a byte to a plain link", (g) => [Op.Write, g.plain, END - 1, 1, 0, 0]],
  ["Write of nothing", (g) => [Op.Write, g.link, g.slot, 0, 0, 0]],
  ["Send from the area for small frames", (g) => [Op.Send, g.stream, SLOTS * SLOT_SIZE, 10, 0, 0]],
  ["SendTo with a negative segment", (g) => [Op.SendTo, g.datagram, g.slot, 10, -1, 0]],
  ["SendTo with a segment of 65,536", (g) => [Op.SendTo, g.datagram, g.slot, 10, 65_536, 0]],
  ["Send to a listener", (g) => [Op.Send, g.listener, g.slot, 10, 0, 0]],
  ["Send to a datagram socket", (g) => [Op.Send, g.datagram, g.slot, 10, 0, 0]],
  ["SendTo with a negative path", (g) => [Op.SendTo, g.datagram, g.slot, 10, 0, -1]],
  ["SendTo with a path that is both whole and split", (g) => [Op.SendTo, g.datagram, g.slot, 10, 0, 0x300]],
  ["SendTo to a stream", (g) => [Op.SendTo, g.stream, g.slot, 10, 0, 0]],
  ["SendTo to a listener", (g) => [Op.SendTo, g.listener, g.slot, 10, 0, 0]],
  ["Consume of a listener", (g) => [Op.Consume, g.listener, 0, 0, 0, 0]],
  ["Consume of a negative number", (g) => [Op.Consume, g.stream, 0, 0, -1, 0]],
  ["Consume of what was not reported", (g) => [Op.Consume, g.stream, 0, 0, 1, 0]],
  ["Rewind to what was not reported", (g) => [Op.Rewind, g.stream, 0, 0, 1, 0]],
  ["Rewind to a negative offset", (g) => [Op.Rewind, g.stream, 0, 0, INT_MIN, 0]],
  ["Rewind of a datagram socket", (g) => [Op.Rewind, g.datagram, 0, 0, 0, 0]],
  ["Credit for a listener", (g) => [Op.Credit, g.listener, 0, 0, 1, 1]],
  ["Credit that is negative", (g) => [Op.Credit, g.stream, 0, 0, -1, 1]],
  ["Credit with a negative chunk", (g) => [Op.Credit, g.stream, 0, 0, 1, -1]],
  ["Credit with too long a chunk", (g) => [Op.Credit, g.stream, 0, 0, 1, MAX_PAYLOAD + 1]],
  ["Shutdown of a datagram socket", (g) => [Op.Shutdown, g.datagram, 0, 0, 0, 0]],
);

/** Makes an engine with something of each kind, runs `attempt` in a turn, and returns the message of its failure. */
async function withEngine(port: number, attempt: (engine: Engine, given: Given) => void): Promise<string> {
  const engine = createEngine({ slots: SLOTS, maxSockets: SOCKETS });
  const channel = native().openChannel(
    () => {},
    () => {},
  );
  const stream = engine.connect(at("127.0.0.1", port), null, 0);
  const listener = engine.listen(at("127.0.0.1", 0), 1);
  const datagram = engine.openDatagram(4, null);
  const link = engine.addLink(channel.peer);
  const [end, other] = native().openPair();
  const plain = engine.addLink(end, true);
  const { control, spares, events } = engine.memory;
  let connected = false;
  let done = false;
  const message = await new Promise<string>((resolve) => {
    engine.start(
      () => {
        for (let i = 0; i < control[Control.EventCount]; i++) connected ||= events[i * 8] === 3;
        if (!connected) return;
        if (done) {
          // The turn after: it was accepted.
          engine.stop();
          resolve("");
          return;
        }
        done = true;
        control[Control.SpareUsed] = 1;
        control[Control.Again] = 1;
        const used = new Set(Array.from(spares.subarray(0, control[Control.SpareCount])));
        let foreign = 0;
        while (used.has(foreign)) foreign++;
        attempt(engine, {
          link,
          plain,
          stream,
          listener,
          datagram,
          slot: spares[0] * SLOT_SIZE,
          foreign: foreign * SLOT_SIZE,
        });
      },
      (error) => resolve(error.message),
    );
  });
  channel.close();
  native().closeFd(other);
  return message;
}

function give(engine: Engine, command: Command): void {
  const { control, commands, commandAddresses } = engine.memory;
  const record = control[Control.CommandCount]++;
  commands.set(command, record * COMMAND_STRIDE);
  commandAddresses.set(at("127.0.0.1", 9), record * ADDRESS_STRIDE);
}

function report(name: string, message: string): void {
  console.log(JSON.stringify({ name, message }));
}

function thrown(action: () => unknown): string {
  try {
    action();
    return "";
  } catch (error) {
    return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  }
}

const server = net.createServer((socket) => socket.on("error", () => {}).resume()).listen(0, "127.0.0.1");
await new Promise((resolve) => server.once("listening", resolve));
const address = server.address();
const port = address !== null && typeof address === "object" ? address.port : 0;

for (const [name, command] of cases) {
  report(name, await withEngine(port, (engine, given) => give(engine, command(given))));
}
for (const count of [-1, 32_769, INT_MAX, INT_MIN]) {
  const set = (engine: Engine): void => {
    engine.memory.control[Control.CommandCount] = count;
  };
  report(`a command count of ${count}`, await withEngine(port, set));
}
for (const used of [-1, 17, INT_MAX, INT_MIN]) {
  const set = (engine: Engine): void => {
    engine.memory.control[Control.SpareUsed] = used;
  };
  report(`${used} spares used`, await withEngine(port, set));
}
report(
  "two commands for a socket, the first of which closes it",
  await withEngine(port, (engine, given) => {
    give(engine, [Op.Close, given.stream, 0, 0, 0, 0]);
    give(engine, [Op.Send, given.stream, given.slot, 10, 0, 0]);
  }),
);
report(
  "what TypeScript scribbles over memory that it may only read",
  await withEngine(port, (engine, given) => {
    const { control, spares, events, backlog } = engine.memory;
    spares.fill(INT_MAX);
    events.fill(INT_MIN);
    backlog.fill(INT_MAX);
    control[Control.SpareCount] = INT_MAX;
    control[Control.FreeSlots] = INT_MIN;
    control[Control.EventCount] = INT_MAX;
    give(engine, [Op.Send, given.stream, INT_MAX, 1, 0, 0]);
  }),
);

// Direct calls.
const engine = createEngine({ slots: SLOTS, maxSockets: SOCKETS });
const listener = engine.listen(at("127.0.0.1", 0), 1);
const wrong: unknown[] = [
  undefined,
  null,
  1,
  "x",
  {},
  new Uint8Array(23),
  new Uint16Array(24),
  new ArrayBuffer(24),
  [],
];
for (const value of wrong) {
  const name = Object.prototype.toString.call(value);
  // The types forbid all of these: that is the point.
  report(
    `connect(${name})`,
    thrown(() => engine.connect(value as Uint8Array, null, 0)),
  );
  report(
    `listen(${name})`,
    thrown(() => engine.listen(value as Uint8Array, 1)),
  );
  report(
    `openListeners(${name})`,
    thrown(() => native().openListeners(value as Uint8Array, 1, 2)),
  );
  report(
    `localEndpoint(${name})`,
    thrown(() => engine.localEndpoint(listener, value as Uint8Array)),
  );
}
for (const value of [Number.NaN, 1.5, 2 ** 31, -(2 ** 31) - 1, Number.POSITIVE_INFINITY, "1", null]) {
  report(
    `addLink(${value})`,
    thrown(() => engine.addLink(value as number)),
  );
  report(
    `addLink(1, ${value})`,
    value === null ? "the default" : thrown(() => engine.addLink(1, value as unknown as boolean)),
  );
  report(
    `openDatagram(${value})`,
    thrown(() => engine.openDatagram(value as 4, null)),
  );
  report(
    `splice(${value})`,
    thrown(() => engine.splice(value as number, 0)),
  );
}
for (const [a, b] of [
  [-1, 0],
  [0, -1],
  [SOCKETS, 0],
  [INT_MAX, INT_MIN],
  [listener, listener],
  [listener, 3],
]) {
  report(
    `splice(${a}, ${b})`,
    thrown(() => engine.splice(a, b)),
  );
}
for (const value of [new Int32Array(1), new Uint8Array(8), [0, 0], null, 2])
  report(
    `pair(${JSON.stringify(value)})`,
    thrown(() => engine.pair(value as Int32Array)),
  );
const pair = new Int32Array(2);
report("pair", engine.pair(pair) === 0 ? "made" : "");
report(
  "splice of a pair",
  thrown(() => engine.splice(pair[0], pair[1])),
);
for (const count of [0, -1, 65, INT_MAX, INT_MIN])
  report(
    `${count} listeners`,
    thrown(() => native().openListeners(at("127.0.0.1", 0), 1, count)),
  );
const packet = Uint8Array.of(1);
for (const fd of [-1, 0, 2, INT_MIN, 1.5e10, Number.NaN, "3", null, undefined]) {
  report(
    `sendPacket to descriptor ${fd}`,
    thrown(() => native().sendPacket(fd as number, packet)),
  );
  report(
    `receivePacket from descriptor ${fd}`,
    thrown(() => native().receivePacket(fd as number, packet)),
  );
}
for (const bytes of [new Uint8Array(0), new Int32Array(4), new DataView(new ArrayBuffer(4)), [1], "1", null, 5]) {
  report(
    `sendPacket of ${JSON.stringify(bytes)}`,
    thrown(() => native().sendPacket(3, bytes as Uint8Array)),
  );
  report(
    `receivePacket into ${JSON.stringify(bytes)}`,
    thrown(() => native().receivePacket(3, bytes as Uint8Array)),
  );
}
for (const fd of [INT_MAX, 1_000_000]) {
  report(`sendPacket to descriptor ${fd}`, native().sendPacket(fd, packet) === -9 ? "EBADF" : "");
  report(`receivePacket from descriptor ${fd}`, native().receivePacket(fd, packet) === -9 ? "EBADF" : "");
}
for (const slots of [0, 63, 30_001, -1])
  report(
    `${slots} slots`,
    thrown(() => createEngine({ slots })),
  );
for (const fd of [-1, INT_MIN, 1_000_000]) {
  report(
    `addLink of descriptor ${fd}`,
    thrown(() => engine.addLink(fd)),
  );
  const result = engine.connectWith(fd, at("127.0.0.1", 1));
  report(`connectWith of descriptor ${fd}`, result < 0 ? `errno ${-result}` : "");
  const listening = engine.listenWith(fd);
  report(`listenWith of descriptor ${fd}`, listening < 0 ? `errno ${-listening}` : "");
  const datagram = engine.openDatagramWith(fd, null);
  report(`openDatagramWith of descriptor ${fd}`, datagram < 0 ? `errno ${-datagram}` : "");
}
for (const socket of [-1, SOCKETS, INT_MAX, 5]) {
  report(`keepAlive of socket ${socket}`, engine.keepAlive(socket) < 0 ? "refused" : "");
  const result = engine.localEndpoint(socket, new Uint8Array(ENDPOINT_LENGTH));
  report(`localEndpoint of socket ${socket}`, result < 0 ? `errno ${-result}` : "");
}
for (const family of [0, 5, 255]) {
  const remote = at("127.0.0.1", 1);
  remote[0] = family;
  const result = engine.connect(remote, null, 0);
  report(`connect to family ${family}`, result < 0 ? `errno ${-result}` : "");
}
engine.stop();
server.close();
