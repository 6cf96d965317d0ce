import test from "ava";
import { IDLE, IDLE_DNS, IDLE_UNANSWERED } from "../../src/udp/peers.js";
import { endpoint, endpointAddress, formatEndpoint, parseAddress } from "../../src/wire/address.js";
import { frame, ipv4, OUR_MAC, type Parsed, SANDBOX_MAC, udp, udpChecksumValid } from "../simulation/frames.js";
import { SimulatedNetwork } from "../simulation/network.js";

const at = (address: string, port: number) => endpoint(parseAddress(address), port);
const OUTSIDE = "198.51.100.7";

function out(
  sourcePort: number,
  destination: string,
  port: number,
  payload: ArrayLike<number> = [1, 2, 3],
): Uint8Array {
  const datagram = udp(sourcePort, port, payload, "10.0.2.100", destination);
  return frame(0x0800, ipv4({ destination, protocol: 17, payload: datagram }));
}

/** `source > destination payload` of a datagram that came into the sandbox. */
function told(parsed: Parsed): string {
  const port = (offset: number) => parsed.payload[offset] * 256 + parsed.payload[offset + 1];
  const payload = Buffer.from(parsed.payload.subarray(8)).toString("latin1");
  return `${parsed.source}:${port(0)} > ${parsed.destination}:${port(2)} ${payload}`;
}

const text = (words: string) => Uint8Array.from(Buffer.from(words, "latin1"));

test("a question and its answer", (t) => {
  const network = new SimulatedNetwork();
  network.exchange(out(5000, OUTSIDE, 9, text("question")));
  const [socket] = network.engine.datagrams;
  const [sent] = socket.take();
  t.is(Buffer.from(sent.bytes).toString(), "question");
  t.is(formatEndpoint(sent.remote), "198.51.100.7:9");
  t.is(sent.source[0], 0);
  socket.deliver(text("answer"), at(OUTSIDE, 9));
  network.engine.settle();
  t.deepEqual(network.received().map(told), ["198.51.100.7:9 > 10.0.2.100:5000 answer"]);
});

test("one inside port has one host socket for all its destinations; another has another", (t) => {
  const network = new SimulatedNetwork();
  network.exchange(out(5000, OUTSIDE, 9), out(5000, OUTSIDE, 10), out(5000, "203.0.113.5", 9));
  t.is(network.engine.datagrams.length, 1);
  t.deepEqual(
    network.engine.datagrams[0].take().map(({ remote }) => formatEndpoint(remote)),
    ["198.51.100.7:9", "198.51.100.7:10", "203.0.113.5:9"],
  );
  network.exchange(out(5001, OUTSIDE, 9));
  t.is(network.engine.datagrams.length, 2);
  t.deepEqual([network.udp.flowCount, network.udp.peerCount], [2, 4]);
});

test("a service answers as many datagrams as came in one turn, also where an answer fills a packet", (t) => {
  const asked: Uint8Array[] = [];
  const network: SimulatedNetwork = new SimulatedNetwork({
    dns: {
      request: (link, source, sourcePort, destination, destinationPort, bytes) => {
        asked.push(bytes);
        network.udp.respond(link, destination, destinationPort, source, sourcePort, new Uint8Array(1472));
      },
    },
  });
  const answers = network.exchange(...Array.from({ length: 40 }, (_, i) => out(5000 + i, "10.0.2.3", 53)));
  t.is(asked.length, 40);
  t.is(answers.length, 40);
  t.true(answers.every(({ payload }) => payload.length === 1480));
});

test("only who was spoken to may answer", (t) => {
  const network = new SimulatedNetwork();
  network.exchange(out(5000, OUTSIDE, 9));
  const [socket] = network.engine.datagrams;
  socket.deliver(text("other port"), at(OUTSIDE, 10));
  socket.deliver(text("other host"), at("203.0.113.5", 9));
  network.engine.settle();
  t.is(network.received().length, 0);
  t.is(network.counters.get("udp.unexpected_source"), 2);
});

test("the gateway's address leads to the host's loopback where that is open, and the answer is the gateway's", (t) => {
  const network = new SimulatedNetwork({ hostLoopback: [{ from: 7000, to: 7000 }] });
  network.exchange(out(5000, "10.0.2.2", 7000));
  const [socket] = network.engine.datagrams;
  t.is(formatEndpoint(socket.take()[0].remote), "127.0.0.1:7000");
  socket.deliver(text("hello"), at("127.0.0.1", 7000));
  network.engine.settle();
  t.deepEqual(network.received().map(told), ["10.0.2.2:7000 > 10.0.2.100:5000 hello"]);
});

test("what policy refuses opens nothing, and is refused inside: port unreachable, no route, or silence", (t) => {
  const network = new SimulatedNetwork();
  const [closed] = network.exchange(out(5000, "10.0.2.2", 7000));
  t.deepEqual([...closed.payload.subarray(0, 2)], [3, 3]);
  t.deepEqual([...closed.payload.subarray(8)], [...out(5000, "10.0.2.2", 7000).subarray(26)]);
  const [unroutable] = network.exchange(out(5000, "127.0.0.1", 53));
  t.deepEqual([...unroutable.payload.subarray(0, 2)], [3, 0]);
  t.is(network.counters.get("policy.host_loopback"), 1);
  t.is(network.engine.datagrams.length, 0);
  t.is(network.flows.size, 0);
});

test("a closed port outside is refused inside, with the datagram as the sandbox sent it", (t) => {
  const network = new SimulatedNetwork();
  const original = out(5000, OUTSIDE, 9, text("anybody?"));
  network.exchange(original);
  const [socket] = network.engine.datagrams;
  const refused = { errno: 111, type: 3, code: 3, info: 0 };
  socket.fail(text("anybody?"), at(OUTSIDE, 9), at(OUTSIDE, 0), refused);
  network.engine.settle();
  const [error] = network.received();
  t.is(error.source, OUTSIDE);
  t.deepEqual([...error.payload.subarray(0, 2)], [3, 3]);
  const quoted = error.payload.subarray(8);
  t.deepEqual([...quoted.subarray(12, 20)], [10, 0, 2, 100, 198, 51, 100, 7]);
  t.deepEqual([...quoted.subarray(20, 26)], [...original.subarray(46, 52)]);
  t.is(Buffer.from(quoted.subarray(28)).toString(), "anybody?");
});

test("each failure has its own ICMP error, and a refusal on the host's loopback does not show it", (t) => {
  const network = new SimulatedNetwork({ hostLoopback: "open" });
  const cases: [
    string,
    string | null,
    { errno: number; type: number; code: number; info: number },
    number[],
    string,
  ][] = [
    [OUTSIDE, "203.0.113.1", { errno: 113, type: 3, code: 1, info: 0 }, [3, 1], "203.0.113.1"],
    [OUTSIDE, "203.0.113.1", { errno: 113, type: 11, code: 0, info: 0 }, [11, 0], "203.0.113.1"],
    [OUTSIDE, "203.0.113.1", { errno: 90, type: 3, code: 4, info: 1400 }, [3, 4], "203.0.113.1"],
    [OUTSIDE, null, { errno: 101, type: -1, code: 0, info: 0 }, [3, 0], "10.0.2.2"],
    [OUTSIDE, null, { errno: 13, type: -1, code: 0, info: 0 }, [3, 13], "10.0.2.2"],
    ["127.0.0.1", "127.0.0.1", { errno: 111, type: 3, code: 3, info: 0 }, [3, 3], "10.0.2.2"],
  ];
  network.exchange(out(5000, OUTSIDE, 9), out(5000, "10.0.2.2", 9));
  const [socket] = network.engine.datagrams;
  for (const [remote, reporter, failure, expected, from] of cases) {
    socket.fail(text("x"), at(remote, 9), reporter === null ? null : at(reporter, 0), failure);
    network.engine.settle();
    const [error] = network.received();
    t.deepEqual([...error.payload.subarray(0, 2)], expected);
    t.is(error.source, from);
    if (failure.info > 0) t.is(error.payload[6] * 256 + error.payload[7], 1400);
  }
});

test("a super-frame goes out as one, and one comes in as one", (t) => {
  const network = new SimulatedNetwork();
  const payload = new Uint8Array(5000).fill(7);
  const ip = ipv4({ protocol: 17, payload: udp(5000, 9, payload) });
  network.exchange(frame(0x0800, ip, OUR_MAC, SANDBOX_MAC, { flags: 1, gso: 5, size: 1200, start: 34, offset: 6 }));
  const [socket] = network.engine.datagrams;
  const [sent] = socket.take();
  t.deepEqual([sent.bytes.length, sent.segment], [5000, 1200]);
  socket.deliver(payload, at(OUTSIDE, 9), undefined, 1200);
  network.engine.settle();
  const [received, ...more] = network.received();
  t.is(more.length, 0);
  t.deepEqual([received.vnet.gso, received.vnet.size], [5, 1200]);
  t.is(received.payload.length, 5008);
});

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

test("DNS is handed to its service, and answered in the name of the address that was asked", (t) => {
  const asked: string[] = [];
  const network = new SimulatedNetwork({
    dns: {
      request(link, source, sourcePort, destination, destinationPort, bytes) {
        asked.push(Buffer.from(bytes).toString());
        network.udp.respond(link, destination, destinationPort, source, sourcePort, text("a".repeat(4000)));
      },
    },
  });
  const answers = network.exchange(out(5000, "10.0.2.3", 53, text("example.net?")));
  t.deepEqual(asked, ["example.net?"]);
  const whole = Buffer.concat(answers.map(({ payload }) => payload));
  t.is(answers.length, 3);
  t.is(answers[0].source, "10.0.2.3");
  t.is(whole.subarray(8).toString(), "a".repeat(4000));
  t.true(udpChecksumValid("10.0.2.3", "10.0.2.100", whole));
  t.is(network.flows.size, 0);
});

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
