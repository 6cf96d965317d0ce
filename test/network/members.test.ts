/** Several sandboxes on one network: how they come and go, and what each has of its own. On a simulated engine. */
import test, { type ExecutionContext } from "ava";
import dns, { type Answer, type RecordType } from "dns-packet";
import { NetnsError } from "../../src/errors.js";
import type { PublishSpec } from "../../src/policy/config.js";
import { endpoint, endpointPort, parseAddress } from "../../src/wire/address.js";
import { BROADCAST_MAC, echo, frame, ip4, ipv4, OUR_MAC, sum, u16, u32, udp } from "../simulation/frames.js";
import { type Host, Members } from "../simulation/members.js";
import type { SimulatedListener } from "../simulation/sockets.js";

const OUTSIDE = "198.51.100.7";
const SYN = 0x02;
const RST = 0x04;
const SYN_ACK = 0x12;
const ACK = 0x10;

function send(host: Host, protocol: number, destination: string, payload: Uint8Array): Uint8Array {
  return frame(0x0800, ipv4({ source: host.v4, destination, protocol, payload }), OUR_MAC, [...host.mac]);
}

interface Segment {
  readonly from?: number;
  readonly to?: number;
  readonly flags: number;
  readonly seq?: number;
  readonly ack?: number;
  readonly remote?: string;
}

function tcp(host: Host, { from = 1000, to = 80, flags, seq = 100, ack = 0, remote = OUTSIDE }: Segment): Uint8Array {
  const header = [...u16(from), ...u16(to), ...u32(seq), ...u32(ack), 0x50, flags, ...u16(0xffff), 0, 0, 0, 0];
  const pseudo = [...ip4(host.v4), ...ip4(remote), 0, 6, ...u16(header.length)];
  header.splice(16, 2, ...u16(sum([...pseudo, ...header])));
  return send(host, 6, remote, Uint8Array.from(header));
}

const word = (bytes: Uint8Array, at: number) => new DataView(bytes.buffer, bytes.byteOffset).getUint32(at);

/** A connection out of a member; `rst` is heard when it ends. */
function connected(rig: Members, host: Host): void {
  host.say(tcp(host, { flags: SYN }));
  rig.engine.streams.at(-1)?.establish();
  rig.engine.settle();
  const [answer] = host.heard();
  if (answer?.payload[13] !== SYN_ACK) throw new Error("no SYN/ACK");
  host.say(tcp(host, { flags: ACK, seq: 101, ack: (word(answer.payload, 4) + 1) >>> 0 }));
}

/** One of everything that a member can have open. */
function busyWith(rig: Members, host: Host): void {
  connected(rig, host);
  host.say(send(host, 17, OUTSIDE, udp(4000, 7, [1], host.v4)));
  host.say(send(host, 1, OUTSIDE, echo(8, 5, 1, [1])));
}

async function ask(host: Host, name: string, type: RecordType): Promise<{ rcode: string; data: string[] }> {
  const query = dns.encode({ type: "query", id: 7, flags: dns.RECURSION_DESIRED, questions: [{ name, type }] });
  host.raw();
  host.say(send(host, 17, "10.0.2.3", udp(5353, 53, query, host.v4, "10.0.2.3")));
  const [answer] = host.heard();
  const message = dns.decode(Buffer.from(answer.payload.subarray(8)));
  const answers = (message.answers ?? []) as (Answer & { data: string })[];
  return { rcode: (message as unknown as { rcode: string }).rcode, data: answers.map(({ data }) => data) };
}

function listeners(rig: Members): SimulatedListener[] {
  return rig.engine.opened.filter(
    (socket): socket is SimulatedListener => socket.kind === "listener" && !socket.closed,
  );
}

const publish = (
  protocol: "tcp" | "udp",
  hostPort: number,
  insidePort: number,
  host: string | null = "0.0.0.0",
): PublishSpec => ({
  protocol,
  host: host === null ? null : parseAddress(host),
  hostPort,
  insidePort,
});

/** What a network without members has. */
const IDLE = { "members.open": 0, "flows.open": 0 };

function isIdle(t: ExecutionContext, rig: Members): void {
  t.like(rig.network.counters(), IDLE);
  t.deepEqual(
    rig.engine.sockets.filter((socket) => socket !== undefined),
    [],
  );
  t.true(rig.engine.links.every((link) => link.removed));
}

test("each member has the address that it leased, by DHCP too, and flows of its own with the same ports", async (t) => {
  const rig = new Members();
  const [a, b] = await rig.hosts("a", "b");
  t.deepEqual([a.v4, b.v4, a.v6, b.v6], ["10.0.2.100", "10.0.2.101", "fd00::100", "fd00::101"]);
  for (const host of [a, b]) {
    // A DISCOVER (RFC 2131) of this hardware address.
    const body = [1, 1, 6, 0, ...u32(9), 0, 0, 0, 0, ...new Array(16).fill(0), ...host.mac, ...new Array(202).fill(0)];
    body.push(99, 130, 83, 99, 53, 1, 1, 255);
    const datagram = udp(68, 67, body, "0.0.0.0", "255.255.255.255");
    const packet = ipv4({ source: "0.0.0.0", destination: "255.255.255.255", protocol: 17, payload: datagram });
    host.say(frame(0x0800, packet, BROADCAST_MAC, [...host.mac]));
    const [offer] = host.heard();
    t.deepEqual([...offer.payload.subarray(8 + 16, 8 + 20)], ip4(host.v4));
  }
  for (const host of [a, b]) busyWith(rig, host);
  t.is(rig.engine.streams.length, 2);
  // Each gets its own answers.
  rig.engine.streams[1].write(Uint8Array.of(42));
  rig.engine.settle();
  t.deepEqual(
    [
      a.heard().filter(({ protocol }) => protocol === 6).length,
      b.heard().filter(({ protocol }) => protocol === 6).length,
    ],
    [0, 1],
  );
});

test("members are found by name, short and long, forward and back; they come and go with them", async (t) => {
  const rig = new Members();
  const [red] = await rig.hosts("red");
  t.deepEqual(
    await ask(red, "blue", "A").catch(() => null),
    null,
    "nobody answers for it: it is asked of the host's resolvers",
  );
  const blue = await rig.join("blue");
  for (const name of ["blue", "BLUE", "blue.lab.internal"]) {
    t.deepEqual((await ask(red, name, "A")).data, [blue.v4]);
    t.deepEqual((await ask(red, name, "AAAA")).data, [blue.v6]);
  }
  t.deepEqual((await ask(blue, "red", "A")).data, [red.v4]);
  t.deepEqual((await ask(red, "101.2.0.10.in-addr.arpa", "PTR")).data, ["blue.lab.internal"]);
  t.deepEqual((await ask(red, "host.internal", "A")).data, ["10.0.2.2"]);
  t.is((await ask(red, "green.lab.internal", "A")).rcode, "NXDOMAIN");
  t.deepEqual(await ask(red, "blue.lab.internal", "MX"), { rcode: "NOERROR", data: [] });
  await rig.leave(blue);
  t.is((await ask(red, "blue.lab.internal", "A")).rcode, "NXDOMAIN");
  t.is((await ask(red, "101.2.0.10.in-addr.arpa", "PTR")).rcode, "NXDOMAIN");
  t.deepEqual((await ask(red, "red", "A")).data, [red.v4]);
});

test("a name or a hardware address is one member's; who is refused has taken nothing", async (t) => {
  const rig = new Members();
  const [red] = await rig.hosts("red");
  const refused = async (name: string | null, mac: readonly number[], message: RegExp) => {
    const error = await t.throwsAsync(rig.join(name, { mac, publish: [publish("tcp", 6000, 80)] }), {
      instanceOf: NetnsError,
      message,
    });
    t.is(error.code, "ADDRESS_BUSY");
  };
  await refused("red", [2, 1, 1, 1, 1, 1], /the name red is taken/);
  await refused("localhost", [2, 1, 1, 1, 1, 1], /the name localhost is taken/);
  await refused("other", red.mac, /hardware address/);
  await refused(null, OUR_MAC, /hardware address/);
  rig.engine.settle();
  t.is(rig.count("members.open"), 1);
  t.deepEqual(listeners(rig), []);
  t.is((await rig.join("other")).v4, "10.0.2.101");
});

test("a network for one sandbox alone takes no second one, and lets it have what is behind its interface", async (t) => {
  const rig = new Members({ solo: true });
  const only = await rig.join(null);
  await t.throwsAsync(rig.join(null), { message: /one sandbox alone/ });
  only.raw();
  const bridged = [2, 7, 7, 7, 7, 7];
  only.say(
    frame(
      0x0800,
      ipv4({ source: "10.0.2.50", destination: "10.0.2.2", protocol: 1, payload: echo(8, 1, 1, []) }),
      OUR_MAC,
      bridged,
    ),
  );
  t.deepEqual(
    only.heard().map(({ to, destination }) => [to, destination]),
    [["02:07:07:07:07:07", "10.0.2.50"]],
  );
  t.throws(() => rig.network.addSegment({ frame: () => {}, endOfTurn: () => {} }), { message: /one sandbox alone/ });
});

test("who leaves takes everything with it, and nothing of the others", async (t) => {
  const rig = new Members();
  const [a, b] = await rig.hosts("a", "b");
  const c = await rig.join("c", { publish: [publish("tcp", 6000, 80), publish("udp", 6001, 53)] });
  for (const host of [a, b, c]) host.raw();
  for (const host of [a, c]) busyWith(rig, host);
  // A client of its published port that is being connected, and one of UDP.
  const [listener] = listeners(rig);
  listener.connect(endpoint(parseAddress("203.0.113.9"), 3333));
  rig.engine.settle();
  rig.engine.datagrams
    .find(({ local }) => endpointPort(local) === 6001)
    ?.deliver(Uint8Array.of(1), endpoint(parseAddress("203.0.113.9"), 4444));
  rig.engine.settle();
  c.raw();
  a.raw();
  const theirs = rig.engine.streams.slice(1);
  const before = rig.count("flows.open");
  let how = "";
  c.member.gone.then((ending) => {
    how = ending;
  });
  await rig.leave(c);
  t.is(how, "left");
  t.true(c.member.isGone);
  t.true(
    c.heard().some(({ payload }) => (payload[13] & RST) !== 0),
    "its own side is told",
  );
  t.true(
    theirs.every((stream) => stream.wasReset),
    "and the other side",
  );
  t.is(rig.count("members.open"), 2);
  // a's: a connection, an echo, and an endpoint of UDP with one peer, which has two places.
  t.is(rig.count("flows.open"), 5);
  t.true(before > 5);
  t.is(rig.engine.streams.length, 1);
  t.is(rig.engine.datagrams.length, 2);
  t.deepEqual(listeners(rig), []);
  t.deepEqual(c.member.published, []);
  t.throws(() => c.member.addPort(publish("tcp", 6000, 80)), { message: /the sandbox has ended/ });
  // The others go on.
  rig.engine.streams[0].write(Uint8Array.of(42));
  rig.engine.settle();
  t.is(a.heard().at(-1)?.payload.at(-1), 42);
  // Its name, address and link are free for another one.
  const d = await rig.join("c");
  t.is(d.v4, c.v4);
  t.is(d.member.link, c.member.link);
  t.deepEqual(
    a.heard().map(({ from }) => from),
    [d.macText, d.macText],
    "which is announced",
  );
  for (const host of [a, b, d]) await rig.leave(host);
  isIdle(t, rig);
  await rig.leave(d); // again: nothing happens
});

test("a member whose interface goes ends by itself, and only it", async (t) => {
  const told: string[] = [];
  const log = { debug() {}, info() {}, error() {}, warn: (line: string) => told.push(line) };
  const rig = new Members({ log });
  const [a] = await rig.hosts("a");
  const b = await rig.join("b", { publish: [publish("tcp", 6000, 80)] });
  a.raw();
  b.raw();
  for (const host of [a, b]) busyWith(rig, host);
  b.unplug();
  t.is(await b.member.gone, "down");
  t.deepEqual(told, ["the interface of b was removed: b has no network any more"]);
  t.is(rig.count("members.open"), 1);
  t.is(rig.engine.streams.length, 1);
  t.deepEqual(listeners(rig), []);
  t.true(rig.engine.links[b.member.link].removed);
  t.deepEqual(rig.network.names.addresses("b"), []);
  await rig.leave(a);
  isIdle(t, rig);
});

test("frames that a link still had when its member left are nobody's", async (t) => {
  const rig = new Members();
  const [a, b] = await rig.hosts("a", "b");
  const leaving = b.member.leave();
  b.queue(send(b, 1, "10.0.2.2", echo(8, 1, 1, [])));
  rig.engine.settle();
  await leaving;
  t.is(rig.count("members.open"), 1);
  a.say(
    frame(
      0x0800,
      ipv4({ source: a.v4, destination: b.v4, protocol: 17, payload: udp(1, 2, [], a.v4, b.v4) }),
      [...b.mac],
      [...a.mac],
    ),
  );
  t.is(rig.drops()["switch.unknown"], 1);
});

test("the end of the network is the end of its members", async (t) => {
  const rig = new Members();
  const [a, b] = await rig.hosts("a", "b");
  const leaving = a.member.leave();
  await rig.network.close();
  await leaving;
  t.is(await b.member.gone, "closed");
  t.is(await a.member.gone, "closed");
});

test("ports come and go while the member lives: TCP", async (t) => {
  const rig = new Members();
  const [a] = await rig.hosts("a");
  const port = a.member.addPort(publish("tcp", 6000, 80));
  t.deepEqual(a.member.published, [port]);
  const [listener] = listeners(rig);
  const client = endpoint(parseAddress("203.0.113.9"), 3333);
  listener.connect(client);
  rig.engine.settle();
  const [syn] = a.heard();
  t.deepEqual([syn.source, syn.destination, syn.payload[13]], ["203.0.113.9", a.v4, SYN]);
  const ack = (word(syn.payload, 4) + 1) >>> 0;
  a.say(tcp(a, { from: 80, to: 3333, flags: SYN_ACK, seq: 500, ack, remote: "203.0.113.9" }));
  // On the host's loopback: spliced with a socket inside.
  listener.connect(endpoint(parseAddress("127.0.0.1"), 3334));
  rig.engine.settle();
  a.asked[0].resolve(99);
  await new Promise((resolve) => setImmediate(resolve));
  rig.engine.settle();
  rig.engine.streams.at(-1)?.establish();
  rig.engine.settle();
  t.is(rig.engine.spliced.length, 1);

  const removal = a.member.removePort(port).then((removed) => ({ removed, closed: listener.closed }));
  t.false(await a.member.removePort(port), "once");
  await new Promise((resolve) => setImmediate(resolve));
  rig.engine.settle();
  t.deepEqual(await removal, { removed: true, closed: true }, "not said before others can have it");
  t.deepEqual(a.member.published, []);
  const [carried, ...spliced] = rig.engine.streams;
  t.is(spliced.length, 2);
  carried.write(Uint8Array.of(7));
  rig.engine.settle();
  t.is(a.heard().at(-1)?.payload.at(-1), 7, "who was let in before stays");

  const again = a.member.addPort(publish("tcp", 0, 80));
  t.true(again.port > 0, "any free one");
  // Everything ends with the member, spliced ones too.
  await rig.leave(a);
  t.true([carried, ...spliced].every((stream) => stream.wasReset));
  isIdle(t, rig);
});

test("ports come and go while the member lives: UDP, in both families", async (t) => {
  const rig = new Members();
  const [a] = await rig.hosts("a");
  const port = a.member.addPort(publish("udp", 6001, 53, null));
  t.is(port.sockets.length, 2);
  const [four, six] = rig.engine.datagrams;
  four.deliver(Uint8Array.of(1), endpoint(parseAddress("203.0.113.9"), 4444));
  six.deliver(Uint8Array.of(1), endpoint(parseAddress("2001:db8::9"), 4444));
  rig.engine.settle();
  t.deepEqual(
    a.heard().map(({ source, destination }) => [source, destination]),
    [
      ["203.0.113.9", a.v4],
      ["2001:db8::9", a.v6],
    ],
  );
  t.is(rig.count("flows.open"), 4);
  const removal = a.member.removePort(port);
  await new Promise((resolve) => setImmediate(resolve));
  rig.engine.settle();
  t.true(await removal);
  t.true(four.closed && six.closed);
  t.is(rig.count("flows.open"), 0, "the clients are forgotten");
  await rig.leave(a);
  isIdle(t, rig);
});

test("a port that is taken is told, and the others stay", async (t) => {
  const rig = new Members();
  const [a] = await rig.hosts("a");
  const port = a.member.addPort(publish("tcp", 6000, 80));
  rig.engine.refuseOpen = -98;
  const error = t.throws(() => a.member.addPort(publish("udp", 6001, 53)), { instanceOf: NetnsError });
  t.is(error.code, "PORT_BUSY");
  t.regex(error.message, /cannot publish 0\.0\.0\.0:6001\/udp: the port is in use/);
  t.throws(() => rig.network.openPorts([publish("tcp", 7000, 80)]), { message: /7000\/tcp/ });
  rig.engine.refuseOpen = 0;
  t.deepEqual(a.member.published, [port]);
  const unused = rig.network.openPorts([publish("tcp", 7000, 80)]);
  t.is(listeners(rig).length, 2);
  rig.network.closePorts(unused);
  rig.engine.settle();
  t.is(listeners(rig).length, 1);
});

test("draining waits for what one member sent, whatever the others still do", async (t) => {
  const rig = new Members();
  const [a, b] = await rig.hosts("a", "b");
  for (const host of [a, b]) connected(rig, host);
  let drained = false;
  const draining = b.member.drain(60_000).then(() => {
    drained = true;
  });
  rig.engine.settle();
  await new Promise((resolve) => setTimeout(resolve, 20));
  t.false(drained);
  b.say(tcp(b, { flags: RST, seq: 101 }));
  await draining;
  t.is(rig.engine.streams.length, 1, "a's is still there");
});
