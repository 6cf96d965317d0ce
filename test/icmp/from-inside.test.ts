/**
 * ICMP that comes out of the sandbox, every type of it: errors about what we sent in (RFC 792, RFC 4443; what TCP makes of them: RFC 9293
 * 3.9.2.2, RFC 5927), and everything else. The quotations are of the very packets that the sandbox got.
 */
import test from "ava";
import fc from "fast-check";
import { Tcp } from "../../src/tcp/tcp.js";
import { endpoint, parseAddress } from "../../src/wire/address.js";
import { BOTH, type Inet, V4, V6 } from "../simulation/families.js";
import { icmp6, ip4, ip6, type Parsed, sum, u16, u32, udp } from "../simulation/frames.js";
import { SimulatedNetwork } from "../simulation/network.js";

const [SYN, RST, ACK] = [2, 4, 16];
const PORT = 40_000;
const ISS = 1000;

interface Setting {
  readonly network: SimulatedNetwork;
  readonly tcp: Tcp;
}

function setting(mtu = 1500): Setting {
  const made: Tcp[] = [];
  const network = new SimulatedNetwork({
    mtu,
    // Thousands are made.
    engine: { slots: 32, maxSockets: 64 },
    tcp: ({ egress: output, sockets: streams, policy, clock, random, counters, flows, timers }) => {
      made.push(new Tcp({ output, streams, policy, clock, random, counters, flows, timers }));
      return made[0];
    },
  });
  return { network, tcp: made[0] };
}

/** A segment of the sandbox. */
function segment(inet: Inet, flags: number, seq: number, ack: number, port = PORT): Uint8Array {
  const options = flags & SYN ? [2, 4, ...u16(9000), 1, 1, 4, 2, 1, 3, 3, 7] : [];
  const bytes = [...u16(port), ...u16(80), ...u32(seq), ...u32(ack), (5 + options.length / 4) << 4, flags];
  bytes.push(...u16(60_000), 0, 0, 0, 0, ...options);
  if (options.length % 4 > 0) throw new Error("options have to be aligned");
  const pseudo =
    inet.family === 4 ? [...ip4(inet.inside), ...ip4(inet.outside)] : [...ip6(inet.inside), ...ip6(inet.outside)];
  bytes.splice(16, 2, ...u16(sum([...pseudo, 0, 6, ...u16(bytes.length), ...bytes])));
  return inet.packet(6, bytes, inet.outside);
}

/** An ICMP error of the sandbox's kernel about a packet that it got: `rest` are the four bytes before the quotation. */
function error(inet: Inet, type: number, code: number, about: Uint8Array, rest: number[] = [0, 0, 0, 0]): Uint8Array {
  const quoted = about.subarray(0, inet.family === 4 ? 548 : 1232);
  const body = [...rest, ...quoted];
  if (inet.family === 6) return inet.packet(58, icmp6(type, code, body, inet.inside, inet.outside), inet.outside);
  const message = [type, code, 0, 0, ...body];
  message.splice(2, 2, ...u16(sum(message)));
  return inet.packet(1, message, inet.outside);
}

function read({ payload }: Parsed) {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const data = payload.subarray((payload[12] >> 4) * 4);
  return { flags: payload[13], seq: view.getUint32(4), ack: view.getUint32(8), data };
}

/** An established connection with 20,000 bytes in flight, and the frames that carry them. */
function established(inet: Inet, mtu = 1500) {
  const { network, tcp } = setting(mtu);
  network.exchange(segment(inet, SYN, ISS, 0));
  const [socket] = network.engine.streams;
  socket.establish();
  network.engine.settle();
  const base = read(network.received()[0]).seq + 1;
  network.exchange(segment(inet, ACK, ISS + 1, base));
  const data = Uint8Array.from({ length: 20_000 }, (_, i) => (i * 7) & 0xff);
  socket.write(data);
  network.engine.settle();
  const flight = network.received();
  return { network, tcp, socket, base, data, flight };
}

/** Our SYN of a published connection, and what became of it. */
function knocking(inet: Inet) {
  const { network, tcp } = setting();
  const heard: string[] = [];
  const socket = network.sockets.connect(endpoint(parseAddress(inet.outside), 1), null, {
    connected() {},
    data() {},
    end() {},
    failed() {},
    drained() {},
  });
  tcp.accept({
    socket,
    link: network.link,
    client: parseAddress(inet.outside),
    clientPort: 5555,
    server: parseAddress(inet.inside),
    serverPort: 8080,
    refused: () => heard.push("refused"),
    established: () => heard.push("established"),
  });
  network.engine.settle();
  const [syn] = network.received();
  return { network, tcp, heard, syn };
}

/** Types and codes of errors, and what they say. */
type Meaning = "refused" | "unreachable" | "too big" | "else";
const MEANINGS: Record<4 | 6, (type: number, code: number) => Meaning | null> = {
  4: (type, code) => {
    if (type === 11 || type === 12) return "else";
    if (type !== 3) return null;
    return [2, 3, 9, 10, 13].includes(code) ? "refused" : code === 4 ? "too big" : "unreachable";
  },
  6: (type, code) => {
    if (type === 2) return "too big";
    if (type === 3) return "else";
    if (type === 4) return code === 1 ? "refused" : "else";
    if (type !== 1) return null;
    return [1, 4, 5, 6].includes(code) ? "refused" : "unreachable";
  },
};
/** What is answered, or belongs to other parts: echo requests, and neighbour discovery. */
const OTHERS = { 4: [8], 6: [128, 133, 134, 135, 136, 137] };

function counted(network: SimulatedNetwork): Record<string, number> {
  return network.counters.snapshot();
}

for (const inet of BOTH) {
  test(`${inet.name}: of all types and codes only those about the destination end a UDP flow; nothing is ever answered`, (t) => {
    for (let type = 0; type < 256; type++) {
      if (OTHERS[inet.family].includes(type)) continue;
      for (const code of [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 255]) {
        const { network } = setting();
        network.exchange(inet.packet(17, udp(5000, 9, [1], inet.inside, inet.outside), inet.outside));
        const [socket] = network.engine.datagrams;
        socket.deliver(Uint8Array.of(1, 2, 3), endpoint(parseAddress(inet.outside), 9));
        network.engine.settle();
        const [delivered] = network.received();
        t.deepEqual(network.exchange(error(inet, type, code, delivered.ip)), []);
        const meaning = MEANINGS[inet.family](type, code);
        const name = `${type}/${code}`;
        t.is(network.engine.datagrams.length, meaning === "refused" ? 0 : 1, name);
        t.is(network.flows.size, meaning === "refused" ? 0 : 3, name);
        const expected = {
          "udp.inside_refused": meaning === "refused" ? 1 : 0,
          "udp.inside_error": meaning !== null && meaning !== "refused" ? 1 : 0,
        };
        for (const [counter, value] of Object.entries(expected)) t.is(network.counters.get(counter), value, name);
        if (meaning === null) {
          const { "icmp.unknown_type": unknown = 0, "icmp.error_ignored": ignored = 0 } = counted(network);
          t.is(unknown + ignored, 1, name);
        }
      }
    }
  });

  test(`${inet.name}: a port that nobody listens on any more: one peer goes, the others of the socket stay; a published port stays`, (t) => {
    const { network } = setting();
    const to = (destination: string, port: number) =>
      inet.packet(17, udp(5000, port, [1], inet.inside, destination), destination);
    network.exchange(to(inet.outside, 9), to(inet.other, 9));
    const [socket] = network.engine.datagrams;
    socket.deliver(Uint8Array.of(1), endpoint(parseAddress(inet.outside), 9));
    network.engine.settle();
    const [first] = network.received();
    const [type, code] = inet.closed;
    network.exchange(error(inet, type, code, first.ip));
    t.is(network.udp.peerCount, 1);
    t.is(network.engine.datagrams.length, 1);
    socket.deliver(Uint8Array.of(2), endpoint(parseAddress(inet.outside), 9));
    socket.deliver(Uint8Array.of(3), endpoint(parseAddress(inet.other), 9));
    network.engine.settle();
    t.deepEqual(
      network.received().map(({ source }) => source),
      [inet.other],
    );
    t.is(network.exchange(error(inet, type, code, first.ip)).length, 0);
    t.is(network.counters.get("icmp.error_stray"), 1);

    const published = setting().network;
    const port = published.udp.publish({
      link: published.link,
      address: parseAddress(inet.inside),
      port: 8080,
      rewrite: () => null,
      alias: parseAddress(inet.gateway),
    });
    published.sockets.open(inet.family, endpoint(parseAddress(inet.loopback), 6000), port);
    const [open] = published.engine.datagrams;
    const ask = () => {
      open.deliver(
        Uint8Array.of(1),
        endpoint(parseAddress(inet.outside), 4000),
        endpoint(parseAddress(inet.router), 6000),
      );
      published.engine.settle();
      return published.received();
    };
    const [asked] = ask();
    t.is(published.udp.peerCount, 1);
    published.exchange(error(inet, type, code, asked.ip));
    t.is(published.udp.peerCount, 0);
    t.is(ask().length, 1, "the next one is let in again");
    t.is(published.engine.datagrams.length, 1);
  });

  test(`${inet.name}: while we knock, any "not there" is the sandbox's refusal; the rest is not`, (t) => {
    for (const type of inet.family === 4 ? [3, 4, 5, 11, 12] : [1, 2, 3, 4]) {
      for (let code = 0; code < 17; code++) {
        const { network, heard, syn } = knocking(inet);
        t.deepEqual(network.exchange(error(inet, type, code, syn.ip)), []);
        const meaning = MEANINGS[inet.family](type, code);
        const isRefusal = meaning === "refused" || meaning === "unreachable";
        t.deepEqual(heard, isRefusal ? ["refused"] : [], `${type}/${code}`);
        t.is(network.flows.size, isRefusal ? 0 : 1);
      }
    }
    // As much of the SYN as RFC 792 wants is enough; another sequence number is not believed.
    const [type, code] = inet.closed;
    const short = knocking(inet);
    short.network.exchange(error(inet, type, code, short.syn.ip.subarray(0, inet.header + 8)));
    t.deepEqual(short.heard, ["refused"]);
    for (const step of [-1, 1, 1000]) {
      const wrong = knocking(inet);
      const about = wrong.syn.ip.slice();
      new DataView(about.buffer).setUint32(inet.header + 4, read(wrong.syn).seq + step);
      wrong.network.exchange(error(inet, type, code, about));
      t.deepEqual(wrong.heard, []);
      t.is(wrong.network.counters.get("tcp.error_out_of_window"), 1);
    }
  });

  test(`${inet.name}: an answer to our SYN/ACK that says "refused" ends both sides; "unreachable" passes`, (t) => {
    for (const [type, code] of [inet.closed, inet.noRoute]) {
      const { network } = setting();
      network.exchange(segment(inet, SYN, ISS, 0));
      const [socket] = network.engine.streams;
      socket.establish();
      network.engine.settle();
      const [synAck] = network.received();
      const answers = network.exchange(error(inet, type, code, synAck.ip)).map((each) => read(each).flags);
      const isRefusal = code === inet.closed[1];
      t.deepEqual(answers, isRefusal ? [RST | ACK] : []);
      t.is(socket.wasReset, isRefusal);
      t.is(network.flows.size, isRefusal ? 0 : 1);
    }
  });

  test(`${inet.name}: a connection that stands is ended by no error, and goes on`, (t) => {
    const { network, socket, base, data, flight } = established(inet);
    for (let type = 0; type < 256; type++) {
      if (OTHERS[inet.family].includes(type)) continue;
      for (let code = 0; code < 17; code++) {
        if (MEANINGS[inet.family](type, code) === "too big") continue;
        t.deepEqual(network.exchange(error(inet, type, code, flight[0].ip)), [], `${type}/${code}`);
      }
    }
    t.is(network.flows.size, 1);
    network.exchange(segment(inet, ACK, ISS + 1, base + data.length));
    t.is(socket.stream.length, 0, "all acknowledged");
  });

  test(`${inet.name}: "too big" makes the segments smaller for good, and what is in flight goes out again so; no smaller than paths are`, (t) => {
    const smallest = inet.family === 4 ? 552 : 1280;
    for (const [told, expected] of [
      [1400, 1400],
      [1300, 1300],
      [smallest, smallest],
      [smallest - 1, smallest],
      [68, smallest],
      [0, smallest],
    ]) {
      const { network, socket, base, data, flight } = established(inet);
      const [type, code] = inet.tooBig;
      const rest = inet.family === 4 ? [0, 0, ...u16(told)] : u32(told);
      const again = [...network.exchange(error(inet, type, code, flight[0].ip, rest))];
      network.engine.settle();
      again.push(...network.received());
      const size = expected - inet.header - 20;
      t.deepEqual(
        again.map(({ vnet }) => vnet.size),
        again.map(() => size),
      );
      t.true(Buffer.concat(again.map((each) => read(each).data)).equals(data));
      t.is(read(again[0]).seq, base);
      // The same again changes nothing, a larger one neither.
      t.deepEqual(network.exchange(error(inet, type, code, again[0].ip, rest)), []);
      const larger = inet.family === 4 ? [0, 0, ...u16(1490)] : u32(1490);
      t.deepEqual(network.exchange(error(inet, type, code, again[0].ip, larger)), []);
      network.exchange(segment(inet, ACK, ISS + 1, base + data.length));
      socket.write(data);
      network.engine.settle();
      t.is(network.received()[0].vnet.size, size);
      t.is(network.counters.get("tcp.path_mtu"), 1);
    }
  });

  test(`${inet.name}: "too big" about what is not in flight, or about somebody else's packet, changes nothing`, (t) => {
    const { network, base, data, flight } = established(inet);
    const [type, code] = inet.tooBig;
    const rest = inet.family === 4 ? [0, 0, ...u16(1300)] : u32(1300);
    const about = (change: (view: DataView) => void) => {
      const ip = flight[0].ip.slice();
      change(new DataView(ip.buffer));
      return network.exchange(error(inet, type, code, ip, rest));
    };
    const at = inet.header;
    t.deepEqual(
      about((view) => view.setUint32(at + 4, base - 1)),
      [],
    );
    t.deepEqual(
      about((view) => view.setUint32(at + 4, base + data.length)),
      [],
    );
    t.is(network.counters.get("tcp.error_out_of_window"), 2);
    t.deepEqual(
      about((view) => view.setUint16(at, 81)),
      [],
    );
    t.deepEqual(
      about((view) => view.setUint16(at + 2, PORT + 1)),
      [],
    );
    t.deepEqual(
      about((view) => view.setUint8(at - 1, 77)),
      [],
    );
    t.is(network.counters.get("icmp.error_stray"), 3);
    // Later fragments, other protocols, other versions, too little, no quotation at all.
    t.deepEqual(
      about((view) => view.setUint8(0, 0x55)),
      [],
    );
    t.deepEqual(
      about((view) => view.setUint8(inet.family === 4 ? 9 : 6, 132)),
      [],
    );
    for (const length of [0, 1, inet.header, inet.header + 7]) {
      t.deepEqual(network.exchange(error(inet, type, code, flight[0].ip.subarray(0, length), rest)), []);
    }
    t.is(network.counters.get("icmp.error_ignored"), 6);
    t.is(network.counters.get("tcp.path_mtu"), 0);
  });
}

test("IPv4: a quotation of a later fragment, or with options, is not looked at", (t) => {
  const { network, flight } = established(V4);
  const fragment = flight[0].ip.slice();
  fragment[7] = 10;
  network.exchange(error(V4, 3, 4, fragment, [0, 0, ...u16(1300)]));
  const options = Uint8Array.from([...flight[0].ip.subarray(0, 20), 1, 1, 1, 1, ...flight[0].ip.subarray(20)]);
  options[0] = 0x46;
  network.exchange(error(V4, 3, 4, options, [0, 0, ...u16(1300)]));
  t.is(network.counters.get("icmp.error_ignored"), 2);
});

test("IPv6: the quotation of a first fragment of ours is known, that of a later one is not", (t) => {
  const { network } = setting();
  network.exchange(V6.packet(17, udp(5000, 9, [1], V6.inside, V6.outside), V6.outside));
  const [socket] = network.engine.datagrams;
  socket.deliver(new Uint8Array(4000), endpoint(parseAddress(V6.outside), 9));
  network.engine.settle();
  const [first, second] = network.received();
  t.is(first.fragment & 0xfff8, 0);
  network.exchange(error(V6, 1, 4, second.ip));
  t.is(network.counters.get("icmp.error_ignored"), 1);
  network.exchange(error(V6, 3, 1, first.ip));
  t.is(network.counters.get("udp.inside_error"), 1);
  network.exchange(error(V6, 1, 4, first.ip));
  t.is(network.flows.size, 0);
});

/** RFC 792, RFC 950, RFC 1256: a host may ask a router; this one counts, and says nothing. */
const ASKED_V4: Record<string, [number, number[]]> = {
  "an echo reply that nobody asked for": [0, [0, 1, 0, 1]],
  "source quench": [4, [0, 0, 0, 0, ...new Array(28).fill(0)]],
  redirect: [5, [10, 0, 2, 9, ...new Array(28).fill(0)]],
  "router advertisement": [9, [1, 2, 0, 60, 10, 0, 2, 9, 0, 0, 0, 0]],
  "router solicitation": [10, [0, 0, 0, 0]],
  timestamp: [13, [0, 1, 0, 1, ...new Array(12).fill(0)]],
  "timestamp reply": [14, [0, 1, 0, 1, ...new Array(12).fill(0)]],
  "information request": [15, [0, 1, 0, 1]],
  "address mask request": [17, [0, 1, 0, 1, 0, 0, 0, 0]],
  "address mask reply": [18, [0, 1, 0, 1, 255, 0, 0, 0]],
  traceroute: [30, new Array(16).fill(0)],
  "extended echo": [42, [0, 1, 0, 1, 0, 1, 0, 8, 0, 0, 0, 0]],
};
/** RFC 2710, RFC 3810, RFC 4620, RFC 4861 and what IANA lists besides. */
const ASKED_V6: Record<string, [number, number[]]> = {
  "an echo reply that nobody asked for": [129, [0, 1, 0, 1]],
  "listener query": [130, new Array(20).fill(0)],
  "listener report": [131, new Array(20).fill(0)],
  "listener done": [132, new Array(20).fill(0)],
  "router advertisement": [134, [64, 0, 7, 8, ...new Array(8).fill(0)]],
  redirect: [137, new Array(36).fill(0)],
  "node information query": [139, new Array(12).fill(0)],
  "inverse neighbour solicitation": [141, [0, 0, 0, 0]],
  "listener report, version 2": [143, [0, 0, 0, 0]],
  "router solicitation of multicast": [152, [0, 0, 0, 0]],
  "extended echo": [160, [0, 1, 0, 1, 0, 1, 0, 8, 0, 0, 0, 0]],
};

for (const [inet, asked] of [
  [V4, ASKED_V4],
  [V6, ASKED_V6],
] as const) {
  for (const [name, [type, body]] of Object.entries(asked)) {
    test(`${inet.name}: ${name} (${type}) is counted and silent, to us and to others`, (t) => {
      for (const destination of [inet.gateway, inet.outside]) {
        const { network } = setting();
        const message = [type, 0, 0, 0, ...body];
        if (inet.family === 4) message.splice(2, 2, ...u16(sum(message)));
        const bytes = inet.family === 4 ? message : icmp6(type, 0, body, inet.inside, destination);
        const before = counted(network);
        t.deepEqual(network.exchange(inet.packet(inet.icmp, bytes, destination)), []);
        const after = counted(network);
        const changed = Object.keys(after).filter((counter) => after[counter] !== before[counter]);
        t.is(changed.length, 1, changed.join());
        t.is(network.flows.size, 0);
        t.is(network.engine.datagrams.length + network.engine.streams.length, 0);
      }
    });
  }
}

test("any bytes as an error: no throw, and no connection ends", (t) => {
  for (const inet of BOTH) {
    const { network, flight } = established(inet);
    const whole = flight[0].ip.subarray(0, inet.header + 60);
    fc.assert(
      fc.property(
        fc.nat(255),
        fc.nat(255),
        fc.uint8Array({ minLength: 4, maxLength: 4 }),
        fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { maxLength: 3 }),
        fc.nat(whole.length),
        (type, code, rest, changes, length) => {
          const about = whole.slice(0, length);
          for (const [place, value] of changes) if (place < length) about[place] = value;
          if (OTHERS[inet.family].includes(type)) return;
          network.exchange(error(inet, type, code, about, [...rest]));
        },
      ),
      { numRuns: 3000, seed: 3 },
    );
    t.is(network.flows.size, 1, inet.name);
    t.true(network.counters.get("icmp.error_stray") > 0);
  }
});

test("in the name of another link nothing is believed", (t) => {
  const { network, flight } = established(V4);
  const other = network.engine.addLink(-1);
  network.engine.link(other).incoming.push(error(V4, 3, 4, flight[0].ip, [0, 0, ...u16(1300)]));
  network.engine.settle();
  t.is(network.counters.get("tcp.path_mtu"), 0);
  t.is(network.counters.get("icmp.error_stray"), 1);
});
