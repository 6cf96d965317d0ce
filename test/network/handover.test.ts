/** Several shards on simulated engines: whichever queue a frame comes out of, it must be as if there were one. */
import test from "ava";
import { Tcp } from "../../src/tcp/tcp.js";
import { parseAddress } from "../../src/wire/address.js";
import {
  BROADCAST_MAC,
  echo,
  frame,
  icmp6,
  ip4,
  ip6,
  ipv4,
  ipv6,
  type Parsed,
  SANDBOX_MAC,
  SANDBOX_V6,
  sum,
  u16,
  u32,
  udp,
} from "../simulation/frames.js";
import { SimulatedNetwork } from "../simulation/network.js";

const CLIENT = "198.51.100.7";
const CLIENT_PORT = 5000;
const SYN = 0x02;
const RST = 0x04;
const ACK = 0x10;
const FIN_ACK = 0x11;
const PSH_ACK = 0x18;

class Shards {
  readonly networks: readonly SimulatedNetwork[];
  readonly tcps: Tcp[] = [];

  constructor(count: number) {
    this.networks = Array.from(
      { length: count },
      (_, index) =>
        new SimulatedNetwork({
          shard: { index, count },
          tcp: ({ egress: output, sockets: streams, policy, clock, random, counters, flows, timers, handover }) => {
            const tcp = new Tcp({ output, streams, policy, clock, random, counters, flows, timers, others: handover });
            this.tcps.push(tcp);
            return tcp;
          },
        }),
    );
  }

  /** Runs all of them until nothing is left to do, and carries what they hand over. */
  settle(): void {
    for (let rounds = 0; rounds < 100; rounds++) {
      let moved = 0;
      for (const network of this.networks) network.engine.settle();
      this.networks.forEach((from, a) => {
        this.networks.forEach((to, b) => {
          if (a === b) return;
          const frames = from.engine.link(from.peers[b]).take();
          to.engine.link(to.peers[a]).incoming.push(...frames);
          moved += frames.length;
        });
      });
      if (moved === 0) return;
    }
    throw new Error("frames go round and round");
  }

  /** A frame of the sandbox comes out of this queue; what is answered, and by which queue. */
  exchange(queue: number, bytes: Uint8Array): { queue: number; answer: Parsed }[] {
    this.networks[queue].wire.incoming.push(bytes);
    this.settle();
    return this.received();
  }

  received(): { queue: number; answer: Parsed }[] {
    return this.networks.flatMap((network, queue) => network.received().map((answer) => ({ queue, answer })));
  }

  count(name: string): number {
    return this.networks.reduce((total, { counters }) => total + counters.get(name), 0);
  }
}

interface Segment {
  readonly from: number;
  readonly to: number;
  readonly flags: number;
  readonly seq: number;
  readonly ack?: number;
  readonly payload?: string;
}

function segment({ from, to, flags, seq, ack = 0, payload = "" }: Segment, pseudo: number[]): Uint8Array {
  const bytes = Uint8Array.from([
    ...[...u16(from), ...u16(to), ...u32(seq), ...u32(ack), 0x50, flags, ...u16(0xffff), 0, 0, 0, 0],
    ...Buffer.from(payload),
  ]);
  bytes.set(u16(sum([...pseudo, ...u16(bytes.length), ...bytes])), 16);
  return bytes;
}

/** From the sandbox to CLIENT. */
function tcp4(of: Segment, vnet?: { fragment: number; part: [number, number] }, to = CLIENT): Uint8Array {
  const payload = segment(of, [...ip4("10.0.2.100"), ...ip4(to), 0, 6]);
  if (vnet === undefined) return frame(0x0800, ipv4({ protocol: 6, destination: to, payload }));
  return frame(0x0800, ipv4({ protocol: 6, fragment: vnet.fragment, payload: payload.subarray(...vnet.part) }));
}

function tcp6(of: Segment, to = "2001:db8::7"): Uint8Array {
  const pseudo = [...ip6(SANDBOX_V6), ...ip6(to), 0, 0, 0, 6, 0, 0];
  return frame(0x86dd, ipv6({ next: 6, destination: to, payload: segment(of, pseudo) }));
}

const word = (bytes: Uint8Array, at: number) => new DataView(bytes.buffer, bytes.byteOffset).getUint32(at);
const flagsOf = ({ payload }: Parsed) => payload[13];

/** A connection out of the sandbox whose SYN came out of this queue. Its next sequence numbers. */
function connected(shards: Shards, queue: number): { seq: number; ack: number } {
  const network = shards.networks[queue];
  shards.exchange(queue, tcp4({ from: 1000, to: 80, flags: SYN, seq: 100 }));
  network.engine.streams[0].establish();
  shards.settle();
  const [{ queue: answered, answer }] = shards.received();
  if (answered !== queue || flagsOf(answer) !== (SYN | ACK)) throw new Error("no SYN/ACK by the same queue");
  const ack = (word(answer.payload, 4) + 1) >>> 0;
  shards.exchange(queue, tcp4({ from: 1000, to: 80, flags: ACK, seq: 101, ack }));
  return { seq: 101, ack };
}

const text = (bytes: readonly number[]) => Buffer.from(bytes).toString();

for (const count of [2, 3]) {
  const queues = Array.from({ length: count }, (_, i) => i);

  test(`${count} shards: a connection's segments reach it out of every queue, and are answered by its own`, (t) => {
    for (const owner of queues) {
      const shards = new Shards(count);
      let { seq, ack } = connected(shards, owner);
      const [stream] = shards.networks[owner].engine.streams;
      for (const queue of [...queues, ...queues]) {
        const answers = shards.exchange(
          queue,
          tcp4({ from: 1000, to: 80, flags: PSH_ACK, seq, ack, payload: `${queue}` }),
        );
        seq++;
        t.deepEqual(
          answers.map(({ queue, answer }) => [queue, flagsOf(answer), word(answer.payload, 8)]),
          [[owner, ACK, seq]],
        );
      }
      t.is(text(stream.received), queues.join("").repeat(2));
      stream.write(Buffer.from("answer"));
      shards.settle();
      const [inward] = shards.received();
      t.is(inward.queue, owner);
      t.is(Buffer.from(inward.answer.payload.subarray(20)).toString(), "answer");
      // The end, too.
      shards.exchange((owner + 1) % count, tcp4({ from: 1000, to: 80, flags: FIN_ACK, seq, ack: ack + 6 }));
      t.true(stream.shutdown);
      t.is(
        shards.networks.reduce((sum, { engine }) => sum + engine.opened.length, 0),
        1,
        "nobody dialled twice",
      );
      t.is(shards.count("tcp.stray"), 0);
    }
  });

  test(`${count} shards: TCP to the DNS address is the first one's, which alone knows the resolvers`, (t) => {
    const syn = { from: 1000, to: 53, flags: SYN, seq: 100 };
    for (const queue of queues) {
      for (const bytes of [tcp4(syn, undefined, "10.0.2.3"), tcp6(syn, "fd00::3")]) {
        const [{ queue: answered, answer }] = new Shards(count).exchange(queue, bytes);
        t.deepEqual([answered, flagsOf(answer) & RST], [0, RST]); // nobody serves it in this simulation
      }
    }
  });

  test(`${count} shards: a published connection is its shard's, whoever reads the answers`, (t) => {
    for (const owner of queues) {
      const shards = new Shards(count);
      const network = shards.networks[owner];
      const socket = network.sockets.connect(new Uint8Array(24), null, {
        connected() {},
        data() {},
        end() {},
        failed() {},
        drained() {},
      });
      const begun = shards.tcps[owner].accept({
        socket,
        link: network.link,
        client: parseAddress(CLIENT),
        clientPort: CLIENT_PORT,
        server: parseAddress("10.0.2.100"),
        serverPort: 8080,
        established: () => {},
        refused: () => t.fail("refused"),
      });
      t.true(begun);
      network.engine.streams[0].establish();
      shards.settle();
      const [{ queue, answer }] = shards.received();
      t.deepEqual([queue, flagsOf(answer)], [owner, SYN]);
      const ack = (word(answer.payload, 4) + 1) >>> 0;
      let seq = 500;
      for (const queue of queues) {
        const flags = queue === 0 ? SYN | ACK : PSH_ACK;
        const payload = queue === 0 ? "" : "x";
        shards.exchange(queue, tcp4({ from: 8080, to: CLIENT_PORT, flags, seq, ack, payload }));
        seq++;
      }
      t.is(text(network.engine.streams[0].received), "x".repeat(count - 1));
    }
  });

  test(`${count} shards: a stray segment is answered with one reset, by the queue that it came out of`, (t) => {
    for (const queue of queues) {
      for (const make of [tcp4, tcp6]) {
        const shards = new Shards(count);
        const answers = shards.exchange(queue, make({ from: 1, to: 2, flags: ACK, seq: 7, ack: 9 }));
        t.deepEqual(
          answers.map(({ queue, answer }) => [queue, flagsOf(answer), word(answer.payload, 4)]),
          [[queue, RST, 9]],
        );
        t.is(shards.count("tcp.stray"), 1);
        shards.exchange(queue, make({ from: 1, to: 2, flags: RST, seq: 7 }));
        t.deepEqual(shards.received(), []);
        t.is(shards.count("tcp.stray"), 2);
      }
    }
  });

  test(`${count} shards: all of UDP has one mapping, and its answers come by shard 0`, (t) => {
    const shards = new Shards(count);
    for (const queue of queues)
      shards.exchange(queue, frame(0x0800, ipv4({ protocol: 17, payload: udp(4000, 7, [queue]) })));
    const [socket, ...more] = shards.networks[0].engine.datagrams;
    t.deepEqual(more, []);
    t.deepEqual(
      socket.take().map(({ bytes }) => [...bytes]),
      queues.map((queue) => [queue]),
    );
    t.true(shards.networks.slice(1).every(({ engine }) => engine.opened.length === 0));
    const pings = queues.flatMap((queue) =>
      shards.exchange(
        queue,
        frame(0x0800, ipv4({ protocol: 1, destination: "10.0.2.2", payload: echo(8, 1, queue, [1]) })),
      ),
    );
    t.deepEqual(
      pings.map(({ queue, answer }) => [queue, answer.payload[0], answer.payload[7]]),
      queues.map((sequence) => [0, 0, sequence]),
    );
  });

  test(`${count} shards: neighbour discovery is answered once, and every shard learns of it`, (t) => {
    const mac = [0x02, 0, 0, 0, 0, 9];
    const request = [0, 1, 8, 0, 6, 4, 0, 1, ...mac, ...ip4("10.0.2.77"), 0, 0, 0, 0, 0, 0, ...ip4("10.0.2.2")];
    const solicitation = icmp6(135, 0, [0, 0, 0, 0, ...ip6("fd00::2"), 1, 1, ...mac], "fd00::77", "fd00::2");
    for (const queue of queues) {
      const shards = new Shards(count);
      const arp = shards.exchange(queue, frame(0x0806, request, BROADCAST_MAC, mac));
      t.deepEqual(
        arp.map(({ queue, answer }) => [queue, answer.type]),
        [[0, 0x0806]],
      );
      const packet = ipv6({ source: "fd00::77", destination: "fd00::2", hops: 255, next: 58, payload: solicitation });
      const advertised = shards.exchange(queue, frame(0x86dd, packet, undefined, mac));
      t.deepEqual(
        advertised.map(({ queue, answer }) => [queue, answer.payload[0]]),
        [[0, 136]],
      );
      for (const { neighbours, link } of shards.networks) {
        for (const address of ["10.0.2.77", "fd00::77"]) {
          t.true(neighbours.find(link, parseAddress(address)));
          t.is(neighbours.low, 9);
        }
      }
    }
  });

  test(`${count} shards: TCP in fragments reaches its flow, and a stray of fragments is answered once`, (t) => {
    const owner = count - 1;
    const shards = new Shards(count);
    const { seq, ack } = connected(shards, owner);
    const data = { from: 1000, to: 80, flags: PSH_ACK, seq, ack, payload: "0123456789abcdef" };
    shards.exchange(0, tcp4(data, { fragment: 0x2000, part: [0, 24] }));
    shards.exchange(1, tcp4(data, { fragment: 24 / 8, part: [24, 36] }));
    t.is(text(shards.networks[owner].engine.streams[0].received), "0123456789abcdef");
    const stray = { ...data, from: 2000 };
    shards.exchange(1, tcp4(stray, { fragment: 0x2000, part: [0, 24] }));
    const answers = shards.exchange(1, tcp4(stray, { fragment: 24 / 8, part: [24, 36] }));
    t.deepEqual(
      answers.map(({ answer }) => flagsOf(answer)),
      [RST],
    );
  });

  test(`${count} shards: what the sandbox writes into the virtio header is not believed; of a pair, it is checked`, (t) => {
    const shards = new Shards(count);
    // As if all had seen it: it goes round nevertheless, and finds its flow.
    const { seq, ack } = connected(shards, 0);
    const forged = tcp4({ from: 1000, to: 80, flags: PSH_ACK, seq, ack, payload: "x" });
    forged.set([count, 0], 10);
    shards.exchange(1, forged);
    t.is(text(shards.networks[0].engine.streams[0].received), "x");
    const [first, second] = shards.networks;
    const late = tcp4({ from: 1000, to: 80, flags: PSH_ACK, seq: seq + 1, ack, payload: "y" });
    late.set([count + 1, 0], 10);
    first.engine.link(first.peers[1]).incoming.push(late, Uint8Array.of(1, 2, 3), new Uint8Array(11));
    second.engine.link(second.peers[0]).incoming.push(new Uint8Array(12).fill(255));
    shards.settle();
    t.is(shards.count("shards.bad_message"), 4);
    t.is(text(shards.networks[0].engine.streams[0].received), "x");
  });
}

test("short and unknown frames of any queue are dropped and counted by shard 0", (t) => {
  const shards = new Shards(2);
  for (const queue of [0, 1]) {
    shards.exchange(queue, frame(0x88cc, [1, 2, 3]));
    shards.exchange(queue, new Uint8Array(5));
    shards.exchange(queue, new Uint8Array(20));
    shards.exchange(queue, frame(0x0800, [0x45]));
  }
  t.is(shards.networks[0].counters.get("stack.unknown_ethertype"), 2);
  t.is(shards.count("stack.short_frame"), 4);
  t.is(shards.networks[0].counters.get("stack.ip_malformed"), 2);
});

test("a MAC address that changed is heard of by the shard that has to know it", (t) => {
  const shards = new Shards(2);
  const mac = [...SANDBOX_MAC.slice(0, 5), 0x99];
  const announcement = [0, 1, 8, 0, 6, 4, 0, 1, ...mac, ...ip4("10.0.2.100"), 0, 0, 0, 0, 0, 0, ...ip4("10.0.2.100")];
  shards.exchange(0, frame(0x0806, announcement, BROADCAST_MAC, mac));
  const { neighbours, link } = shards.networks[1];
  t.true(neighbours.find(link, parseAddress("10.0.2.100")));
  t.is(neighbours.low & 0xff, 0x99);
});
