import test from "ava";
import { IDLE, IDLE_DNS, IDLE_UNANSWERED } from "../../src/udp/peers.js";
import { endpoint, endpointAddress, formatEndpoint, parseAddress } from "../../src/wire/address.js";
import { BOTH, V4, V6 } from "../simulation/families.js";
import { type Parsed, udp, udpChecksumValid } from "../simulation/frames.js";
import { SimulatedNetwork } from "../simulation/network.js";

const at = (address: string, port: number) => endpoint(parseAddress(address), port);
const OUTSIDE = V4.outside;
const icmp = ([type, code]: readonly [number, number]) => ({ type, code, info: 0 });

function out(
  sourcePort: number,
  destination: string,
  port: number,
  payload: ArrayLike<number> = [1, 2, 3],
): Uint8Array {
  const inet = destination.includes(":") ? V6 : V4;
  return inet.packet(17, udp(sourcePort, port, payload, inet.inside, destination), destination);
}

/** `source > destination payload` of a datagram that came into the sandbox. */
function told(parsed: Parsed): string {
  const port = (offset: number) => parsed.payload[offset] * 256 + parsed.payload[offset + 1];
  const payload = Buffer.from(parsed.payload.subarray(8)).toString("latin1");
  return `${parsed.source}:${port(0)} > ${parsed.destination}:${port(2)} ${payload}`;
}

const text = (words: string) => Uint8Array.from(Buffer.from(words, "latin1"));

for (const inet of BOTH) {
  test(`${inet.name}: a question and its answer`, (t) => {
    const network = new SimulatedNetwork();
    network.exchange(out(5000, inet.outside, 9, text("question")));
    const [socket] = network.engine.datagrams;
    const [sent] = socket.take();
    t.is(Buffer.from(sent.bytes).toString(), "question");
    t.is(formatEndpoint(sent.remote), formatEndpoint(at(inet.outside, 9)));
    t.is(sent.source[0], 0);
    socket.deliver(text("answer"), at(inet.outside, 9));
    network.engine.settle();
    t.deepEqual(network.received().map(told), [`${inet.outside}:9 > ${inet.inside}:5000 answer`]);
  });
}

for (const inet of BOTH) {
  test(`${inet.name}: one inside port has one host socket for all its destinations; another has another`, (t) => {
    const network = new SimulatedNetwork();
    network.exchange(out(5000, inet.outside, 9), out(5000, inet.outside, 10), out(5000, inet.other, 9));
    t.is(network.engine.datagrams.length, 1);
    t.deepEqual(
      network.engine.datagrams[0].take().map(({ remote }) => formatEndpoint(remote)),
      [at(inet.outside, 9), at(inet.outside, 10), at(inet.other, 9)].map((each) => formatEndpoint(each)),
    );
    network.exchange(out(5001, inet.outside, 9));
    t.is(network.engine.datagrams.length, 2);
    t.deepEqual([network.udp.flowCount, network.udp.peerCount], [2, 4]);
  });
}

for (const inet of BOTH) {
  test(`${inet.name}: a service answers as many datagrams as came in one turn, also where an answer fills a packet`, (t) => {
    const asked: Uint8Array[] = [];
    const network: SimulatedNetwork = new SimulatedNetwork({
      dns: {
        request: (link, source, sourcePort, destination, destinationPort, bytes) => {
          asked.push(bytes);
          network.udp.respond(
            link,
            destination,
            destinationPort,
            source,
            sourcePort,
            new Uint8Array(1500 - inet.header - 8),
          );
        },
      },
    });
    const answers = network.exchange(...Array.from({ length: 40 }, (_, i) => out(5000 + i, inet.dns, 53)));
    t.is(asked.length, 40);
    t.is(answers.length, 40);
    t.true(answers.every(({ payload }) => payload.length === 1500 - inet.header));
  });
}

for (const inet of BOTH) {
  test(`${inet.name}: only who was spoken to may answer`, (t) => {
    const network = new SimulatedNetwork();
    network.exchange(out(5000, inet.outside, 9));
    const [socket] = network.engine.datagrams;
    socket.deliver(text("other port"), at(inet.outside, 10));
    socket.deliver(text("other host"), at(inet.other, 9));
    network.engine.settle();
    t.is(network.received().length, 0);
    t.is(network.counters.get("udp.unexpected_source"), 2);
  });
}

for (const inet of BOTH) {
  test(`${inet.name}: the gateway's address leads to the host's loopback where that is open, and the answer is the gateway's`, (t) => {
    const network = new SimulatedNetwork({ hostLoopback: [{ from: 7000, to: 7000 }] });
    network.exchange(out(5000, inet.gateway, 7000));
    const [socket] = network.engine.datagrams;
    t.is(formatEndpoint(socket.take()[0].remote), formatEndpoint(at(inet.loopback, 7000)));
    socket.deliver(text("hello"), at(inet.loopback, 7000));
    network.engine.settle();
    t.deepEqual(network.received().map(told), [`${inet.gateway}:7000 > ${inet.inside}:5000 hello`]);
  });
}

for (const inet of BOTH) {
  test(`${inet.name}: what policy refuses opens nothing, and is refused inside: port unreachable, no route, or silence`, (t) => {
    const network = new SimulatedNetwork();
    const [closed] = network.exchange(out(5000, inet.gateway, 7000));
    t.deepEqual([...closed.payload.subarray(0, 2)], [...inet.closed]);
    t.deepEqual([...closed.payload.subarray(8)], [...out(5000, inet.gateway, 7000).subarray(26)]);
    const [unroutable] = network.exchange(out(5000, inet.loopback, 53));
    t.deepEqual([...unroutable.payload.subarray(0, 2)], [...inet.noRoute]);
    t.is(network.counters.get("policy.host_loopback"), 1);
    t.is(network.engine.datagrams.length, 0);
    t.is(network.flows.size, 0);
  });
}

for (const inet of BOTH) {
  test(`${inet.name}: a closed port outside is refused inside, with the datagram as the sandbox sent it`, (t) => {
    const network = new SimulatedNetwork();
    const original = out(5000, inet.outside, 9, text("anybody?"));
    network.exchange(original);
    const [socket] = network.engine.datagrams;
    const [type, code] = inet.closed;
    const refused = { errno: 111, type, code, info: 0 };
    socket.fail(text("anybody?"), at(inet.outside, 9), at(inet.outside, 0), refused);
    network.engine.settle();
    const [error] = network.received();
    t.is(error.source, inet.outside);
    t.deepEqual([...error.payload.subarray(0, 2)], [type, code]);
    const quoted = error.payload.subarray(8);
    // Byte by byte, but for IPv4's identification and header checksum, which only the sandbox's kernel knew.
    const same = (bytes: Uint8Array) => [...bytes].filter((_, i) => inet.family === 6 || ![4, 5, 10, 11].includes(i));
    t.deepEqual(same(quoted), same(original.subarray(26)));
  });
}

for (const inet of BOTH) {
  test(`${inet.name}: each failure has its own ICMP error, and a refusal on the host's loopback does not show it`, (t) => {
    const network = new SimulatedNetwork({ hostLoopback: "open" });
    const cases: [
      string,
      string | null,
      { errno: number; type: number; code: number; info: number },
      readonly [number, number],
      string,
    ][] = [
      [inet.outside, inet.router, { errno: 113, ...icmp(inet.noHost) }, inet.noHost, inet.router],
      [inet.outside, inet.router, { errno: 113, ...icmp(inet.timeExceeded) }, inet.timeExceeded, inet.router],
      [inet.outside, inet.router, { errno: 90, ...icmp(inet.tooBig), info: 1400 }, inet.tooBig, inet.router],
      [inet.outside, null, { errno: 101, ...icmp([-1, 0]) }, inet.noRoute, inet.gateway],
      [inet.outside, null, { errno: 13, ...icmp([-1, 0]) }, inet.prohibited, inet.gateway],
      [inet.loopback, inet.loopback, { errno: 111, ...icmp(inet.closed) }, inet.closed, inet.gateway],
    ];
    network.exchange(out(5000, inet.outside, 9), out(5000, inet.gateway, 9));
    const [socket] = network.engine.datagrams;
    for (const [remote, reporter, failure, expected, from] of cases) {
      socket.fail(text("x"), at(remote, 9), reporter === null ? null : at(reporter, 0), failure);
      network.engine.settle();
      const [error] = network.received();
      t.deepEqual([...error.payload.subarray(0, 2)], [...expected]);
      t.is(error.source, from);
      if (failure.info > 0) t.is(error.payload[6] * 256 + error.payload[7], 1400);
    }
  });
}

for (const inet of BOTH) {
  test(`${inet.name}: a super-frame goes out as one, and one comes in as one`, (t) => {
    const network = new SimulatedNetwork();
    const payload = new Uint8Array(5000).fill(7);
    const vnet = { flags: 1, gso: 5, size: 1200, start: inet.start, offset: 6 };
    network.exchange(inet.packet(17, udp(5000, 9, payload, inet.inside, inet.outside), inet.outside, vnet));
    const [socket] = network.engine.datagrams;
    const [sent] = socket.take();
    t.deepEqual([sent.bytes.length, sent.segment], [5000, 1200]);
    socket.deliver(payload, at(inet.outside, 9), undefined, 1200);
    network.engine.settle();
    const [received, ...more] = network.received();
    t.is(more.length, 0);
    t.deepEqual([received.vnet.gso, received.vnet.size], [5, 1200]);
    t.is(received.payload.length, 5008);
  });
}

test("silence ends it: soon after DNS, later where nothing was answered, else after five minutes", (t) => {
  const network = new SimulatedNetwork();
  network.exchange(out(5000, OUTSIDE, 53), out(5001, OUTSIDE, 9), out(5002, OUTSIDE, 9));
  network.engine.datagrams[2].deliver(text("here"), at(OUTSIDE, 9));
  network.engine.settle();
  const open = () => network.engine.datagrams.length;
  network.pass(IDLE_DNS - 10);
  t.is(open(), 3);
  network.pass(1010);
  t.is(open(), 2);
  network.pass(IDLE_UNANSWERED - IDLE_DNS + 1010);
  t.is(open(), 1);
  network.pass(IDLE - IDLE_UNANSWERED - 2100);
  t.is(open(), 1);
  network.pass(3000);
  t.is(open(), 0);
  t.deepEqual([network.udp.flowCount, network.udp.peerCount, network.flows.size, network.timers.size], [0, 0, 0, 0]);
});

test("what is in use stays, both ways", (t) => {
  const network = new SimulatedNetwork();
  network.exchange(out(5000, OUTSIDE, 9), out(5001, OUTSIDE, 9));
  for (let minute = 0; minute < 20; minute++) {
    network.pass(50_000);
    network.exchange(out(5000, OUTSIDE, 9));
    network.engine.datagrams[1].deliver(text("still here"), at(OUTSIDE, 9));
    network.engine.settle();
  }
  t.is(network.engine.opened.length, 2);
  t.is(network.engine.datagrams.length, 2);
});

test("limits: flows, destinations of one flow, and all destinations; the longest idle goes", (t) => {
  const network = new SimulatedNetwork({ limits: { flows: 4, peersPerOwner: 3, peers: 6 } });
  for (let port = 5000; port < 5010; port++) network.exchange(out(port, OUTSIDE, 9));
  t.is(network.udp.flowCount, 4);
  t.is(network.engine.datagrams.length, 4);
  t.is(network.counters.get("udp.flow_limit"), 6);
  for (let port = 1; port <= 10; port++) network.exchange(out(5009, OUTSIDE, port));
  t.is(network.counters.get("udp.peer_limit"), 8);
  t.true(network.udp.peerCount <= 6);
  network.exchange(out(5008, OUTSIDE, 1), out(5008, OUTSIDE, 2), out(5008, OUTSIDE, 3));
  t.true(network.udp.peerCount <= 6);
  t.is(network.flows.size, network.udp.flowCount + 2 * network.udp.peerCount);
});

test("a flow that only sends is in use: others give way", (t) => {
  const network = new SimulatedNetwork({ limits: { flows: 4 } });
  network.exchange(out(5000, OUTSIDE, 9));
  const [socket] = network.engine.datagrams;
  for (let port = 6000; port < 6020; port++) network.exchange(out(port, OUTSIDE, 9), out(5000, OUTSIDE, 9));
  t.is(network.counters.get("udp.flow_limit"), 17);
  t.false(socket.closed);
});

test("without a descriptor: the datagram is lost, the longest idle flow gives way, the next one goes", (t) => {
  const network = new SimulatedNetwork();
  network.exchange(out(5000, OUTSIDE, 9));
  network.engine.refuseOpen = -24;
  t.is(network.exchange(out(5001, OUTSIDE, 9)).length, 0);
  t.is(network.engine.datagrams.length, 0);
  network.engine.refuseOpen = 0;
  network.exchange(out(5001, OUTSIDE, 9));
  t.is(network.engine.datagrams.length, 1);
  network.engine.refuseOpen = -99;
  const [error] = network.exchange(out(5002, OUTSIDE, 9));
  t.deepEqual([...error.payload.subarray(0, 2)], [3, 1]);
});

for (const inet of BOTH) {
  test(`${inet.name}: DNS is handed to its service, and answered in the name of the address that was asked`, (t) => {
    const asked: string[] = [];
    const network = new SimulatedNetwork({
      dns: {
        request(link, source, sourcePort, destination, destinationPort, bytes) {
          asked.push(Buffer.from(bytes).toString());
          network.udp.respond(link, destination, destinationPort, source, sourcePort, text("a".repeat(4000)));
        },
      },
    });
    const answers = network.exchange(out(5000, inet.dns, 53, text("example.net?")));
    t.deepEqual(asked, ["example.net?"]);
    const whole = Buffer.concat(answers.map(({ payload }) => payload));
    t.is(answers.length, 3);
    t.is(answers[0].source, inet.dns);
    t.is(whole.subarray(8).toString(), "a".repeat(4000));
    t.true(udpChecksumValid(inet.dns, inet.inside, whole));
    t.is(network.flows.size, 0);
  });
}

test("a published port: clients keep their addresses, answers leave from the address they spoke to", (t) => {
  const network = new SimulatedNetwork();
  const port = network.udp.publish({
    link: network.link,
    address: parseAddress("10.0.2.100"),
    port: 8080,
    rewrite: (client) => (client[12] === 127 ? parseAddress("10.0.2.2") : null),
    alias: parseAddress("10.0.2.2"),
  });
  network.sockets.open(4, at("0.0.0.0", 6000), port);
  const [socket] = network.engine.datagrams;
  socket.deliver(text("one"), at("203.0.113.5", 4000), at("198.51.100.1", 6000));
  socket.deliver(text("two"), at("203.0.113.6", 4000), at("198.51.100.2", 6000));
  socket.deliver(text("three"), at("127.0.0.1", 4000), at("127.0.0.1", 6000));
  socket.deliver(text("four"), at("127.0.0.2", 4000), at("127.0.0.1", 6000));
  network.engine.settle();
  t.deepEqual(network.received().map(told), [
    "203.0.113.5:4000 > 10.0.2.100:8080 one",
    "203.0.113.6:4000 > 10.0.2.100:8080 two",
    "10.0.2.2:4000 > 10.0.2.100:8080 three",
    "10.0.2.2:1024 > 10.0.2.100:8080 four",
  ]);
  network.exchange(
    out(8080, "203.0.113.5", 4000, text("to one")),
    out(8080, "203.0.113.6", 4000, text("to two")),
    out(8080, "10.0.2.2", 4000, text("to three")),
    out(8080, "10.0.2.2", 1024, text("to four")),
  );
  t.deepEqual(
    socket
      .take()
      .map(({ bytes, remote, source }) => [
        Buffer.from(bytes).toString(),
        formatEndpoint(remote),
        formatEndpoint(endpoint(endpointAddress(source), 0)),
      ]),
    [
      ["to one", "203.0.113.5:4000", "198.51.100.1:0"],
      ["to two", "203.0.113.6:4000", "198.51.100.2:0"],
      ["to three", "127.0.0.1:4000", "127.0.0.1:0"],
      ["to four", "127.0.0.2:4000", "127.0.0.1:0"],
    ],
  );
  t.is(network.engine.datagrams.length, 1);
});

test("a server on a published port may also speak first, through a flow of its own", (t) => {
  const network = new SimulatedNetwork();
  const port = network.udp.publish({
    link: network.link,
    address: parseAddress("10.0.2.100"),
    port: 8080,
    rewrite: () => null,
    alias: parseAddress("10.0.2.2"),
  });
  network.sockets.open(4, at("0.0.0.0", 6000), port);
  network.exchange(out(8080, "203.0.113.9", 53));
  t.is(network.engine.datagrams.length, 2);
  t.is(network.engine.datagrams[0].take().length, 0);
  t.is(network.engine.datagrams[1].take().length, 1);
});

test("two host ports that lead to the same inside port do not mix up one client", (t) => {
  const network = new SimulatedNetwork();
  for (const hostPort of [6000, 6001]) {
    const port = network.udp.publish({
      link: network.link,
      address: parseAddress("10.0.2.100"),
      port: 8080,
      rewrite: () => null,
      alias: parseAddress("10.0.2.2"),
    });
    network.sockets.open(4, at("0.0.0.0", hostPort), port);
  }
  const [first, second] = network.engine.datagrams;
  first.deliver(text("a"), at("203.0.113.5", 4000), at("198.51.100.1", 6000));
  second.deliver(text("b"), at("203.0.113.5", 4000), at("198.51.100.1", 6001));
  network.engine.settle();
  t.deepEqual(network.received().map(told), [
    "203.0.113.5:4000 > 10.0.2.100:8080 a",
    "10.0.2.2:4000 > 10.0.2.100:8080 b",
  ]);
  network.exchange(out(8080, "10.0.2.2", 4000, text("to b")), out(8080, "203.0.113.5", 4000, text("to a")));
  t.is(Buffer.from(first.take()[0].bytes).toString(), "to a");
  t.is(Buffer.from(second.take()[0].bytes).toString(), "to b");
});

test("clients of a published port are forgotten, and bounded", (t) => {
  const network = new SimulatedNetwork({ limits: { peersPerOwner: 8 } });
  const port = network.udp.publish({
    link: network.link,
    address: parseAddress("10.0.2.100"),
    port: 8080,
    rewrite: () => null,
    alias: parseAddress("10.0.2.2"),
  });
  network.sockets.open(4, at("0.0.0.0", 6000), port);
  const [socket] = network.engine.datagrams;
  for (let client = 1; client <= 50; client++) socket.deliver(text("x"), at("203.0.113.5", client));
  network.engine.settle();
  t.is(network.received().length, 50);
  t.is(network.udp.peerCount, 8);
  network.pass(IDLE + 2000);
  t.is(network.udp.peerCount, 0);
  t.is(network.engine.datagrams.length, 1);
  t.is(network.timers.size, 0);
});

test("a link that goes takes its flows and clients along", (t) => {
  const network = new SimulatedNetwork();
  network.exchange(out(5000, OUTSIDE, 9), out(5001, OUTSIDE, 9));
  network.udp.removeLink(network.link);
  network.engine.settle();
  t.deepEqual([network.engine.datagrams.length, network.flows.size, network.timers.size], [0, 0, 0]);
});

test("over IPv6 a datagram without a checksum is not taken (RFC 8200, 8.1), over IPv4 it is", (t) => {
  for (const inet of BOTH) {
    const network = new SimulatedNetwork();
    const datagram = udp(5000, 9, [1, 2, 3], inet.inside, inet.outside);
    datagram.set([0, 0], 6);
    network.exchange(inet.packet(17, datagram, inet.outside));
    t.is(network.engine.datagrams.length, inet.family === 4 ? 1 : 0);
    t.is(network.counters.get("udp.checksum"), inet.family === 4 ? 0 : 1);
  }
});

test("what only ICMPv6 tells, and reporters whose addresses mean nothing inside", (t) => {
  const network = new SimulatedNetwork();
  network.exchange(out(5000, V6.outside, 9));
  const [socket] = network.engine.datagrams;
  const cases: [string, number, number, number, number[], string][] = [
    [V6.router, 1, 2, 0, [1, 2, 0, 0, 0, 0], V6.router],
    [V6.router, 1, 5, 0, [1, 5, 0, 0, 0, 0], V6.router],
    [V6.router, 1, 6, 0, [1, 6, 0, 0, 0, 0], V6.router],
    // The host's packet had its next header elsewhere, perhaps; the sandbox's has it at 6.
    [V6.router, 4, 1, 46, [4, 1, 0, 0, 0, 6], V6.router],
    ["fe80::1", 1, 0, 0, [1, 0, 0, 0, 0, 0], V6.gateway],
    ["::1", 1, 0, 0, [1, 0, 0, 0, 0, 0], V6.gateway],
    ["203.0.113.1", 1, 0, 0, [1, 0, 0, 0, 0, 0], V6.gateway],
  ];
  for (const [reporter, type, code, info, expected, from] of cases) {
    socket.fail(text("x"), at(V6.outside, 9), at(reporter, 0), { errno: 71, type, code, info });
    network.engine.settle();
    const [error] = network.received();
    const { payload, source } = error;
    t.deepEqual([payload[0], payload[1], ...payload.subarray(4, 8)], expected);
    t.is(source, from);
  }
});
