import test from "ava";
import fc from "fast-check";
import { encodeDomainSearch, parseDhcp } from "../../src/wire/dhcp.js";
import { UDHCPC_DISCOVER } from "../simulation/captured.js";
import { BROADCAST_MAC, frame, ip4, ipv4, udp, udpChecksumValid } from "../simulation/frames.js";
import { SimulatedNetwork } from "../simulation/network.js";

const MESSAGE = 12 + 14 + 20 + 8;

/** A client's message: udhcpc's DISCOVER with other options, and ciaddr. */
function message(options: number[], ciaddr = "0.0.0.0"): Uint8Array {
  const body = Array.from(UDHCPC_DISCOVER.subarray(MESSAGE, MESSAGE + 240));
  body.splice(12, 4, ...ip4(ciaddr));
  return Uint8Array.from([...body, ...options, 255]);
}

function send(network: SimulatedNetwork, options: number[], ciaddr = "0.0.0.0") {
  const source = ciaddr;
  const datagram = udp(68, 67, message(options, ciaddr), source, "255.255.255.255");
  const packet = ipv4({ source, destination: "255.255.255.255", protocol: 17, payload: datagram });
  return network.exchange(frame(0x0800, packet, BROADCAST_MAC));
}

/** Options of an answer by code. */
function optionsOf(dhcp: Uint8Array): Map<number, number[]> {
  const options = new Map<number, number[]>();
  for (let at = 240; dhcp[at] !== 255; at += 2 + dhcp[at + 1]) {
    options.set(dhcp[at], Array.from(dhcp.subarray(at + 2, at + 2 + dhcp[at + 1])));
  }
  return options;
}

test("udhcpc's DISCOVER is answered with the sandbox's address and all that a client needs", (t) => {
  const [offer] = new SimulatedNetwork().exchange(UDHCPC_DISCOVER);
  t.is(offer.to, "ff:ff:ff:ff:ff:ff");
  t.is(offer.source, "10.0.2.2");
  t.is(offer.destination, "255.255.255.255");
  t.true(offer.headerValid);
  t.deepEqual([...offer.payload.subarray(0, 4)], [0, 67, 0, 68]);
  const dhcp = offer.payload.subarray(8);
  t.is(dhcp[0], 2);
  t.is(Buffer.from(dhcp.subarray(4, 8)).toString("hex"), "184fb763");
  t.deepEqual([...dhcp.subarray(16, 20)], [10, 0, 2, 100]);
  t.is(Buffer.from(dhcp.subarray(28, 34)).toString("hex"), "021122334455");
  const options = optionsOf(dhcp);
  t.deepEqual(options.get(53), [2]);
  t.deepEqual(options.get(54), [10, 0, 2, 2]);
  t.deepEqual(options.get(1), [255, 255, 255, 0]);
  t.deepEqual(options.get(3), [10, 0, 2, 2]);
  t.deepEqual(options.get(6), [10, 0, 2, 3]);
  t.deepEqual(options.get(26), [0x05, 0xdc]);
  t.deepEqual(options.get(51), [0, 1, 0x51, 0x80]);
  t.is(String.fromCharCode(...(options.get(15) ?? [])), "example.net");
  t.is(Buffer.from(options.get(119) ?? []).toString("latin1"), "\x07example\x03net\x00");
});

test("a REQUEST for our address is acknowledged, one for another refused, one to another server ignored", (t) => {
  const network = new SimulatedNetwork();
  const type = (answers: ReturnType<typeof send>) =>
    answers.map((answer) => optionsOf(answer.payload.subarray(8)).get(53));
  const server = [54, 4, 10, 0, 2, 2];
  t.deepEqual(type(send(network, [53, 1, 3, ...server, 50, 4, 10, 0, 2, 100])), [[5]]);
  t.deepEqual(type(send(network, [53, 1, 3, 50, 4, 192, 168, 1, 7])), [[6]]);
  t.deepEqual(type(send(network, [53, 1, 3, 54, 4, 10, 0, 2, 9, 50, 4, 10, 0, 2, 100])), []);
  t.is(network.counters.get("dhcp.other_server"), 1);
});

test("a client that renews is answered at its own address; INFORM gets options and no lease", (t) => {
  const network = new SimulatedNetwork();
  const [ack] = send(network, [53, 1, 3], "10.0.2.100");
  t.is(ack.destination, "10.0.2.100");
  t.is(ack.to, "02:11:22:33:44:55");
  t.deepEqual(optionsOf(ack.payload.subarray(8)).get(53), [5]);
  const [informed] = send(network, [53, 1, 8], "10.0.2.100");
  t.deepEqual([...informed.payload.subarray(8 + 16, 8 + 20)], [0, 0, 0, 0]);
  t.false(optionsOf(informed.payload.subarray(8)).has(51));
  t.true(optionsOf(informed.payload.subarray(8)).has(3));
});

test("a lease is as long as the client wishes, but no longer than ours, and not next to nothing", (t) => {
  const network = new SimulatedNetwork();
  for (const [wish, given] of [
    [3600, 3600],
    [1, 4],
    [0xffffffff, 86_400],
  ]) {
    const time = [wish >>> 24, (wish >>> 16) & 255, (wish >>> 8) & 255, wish & 255];
    const [offer] = send(network, [53, 1, 1, 51, 4, ...time]);
    const options = optionsOf(offer.payload.subarray(8));
    const seconds = (code: number) => Buffer.from(options.get(code) ?? []).readUInt32BE();
    t.deepEqual([seconds(51), seconds(58), seconds(59)], [given, given / 2, Math.floor((given * 7) / 8)]);
  }
});

test("RELEASE and DECLINE need no answer; what is cut short is counted", (t) => {
  const network = new SimulatedNetwork();
  t.is(send(network, [53, 1, 7]).length, 0);
  t.is(send(network, [53, 1, 4]).length, 0);
  t.is(network.counters.get("dhcp.given_back"), 2);
  t.is(send(network, [53, 9, 1]).length, 0);
  t.is(network.counters.get("dhcp.malformed"), 1);
});

test("the answer's UDP checksum is left to the kernel, as a valid partial one", (t) => {
  const [offer] = new SimulatedNetwork({ mtu: 576 }).exchange(UDHCPC_DISCOVER);
  const datagram = offer.payload.slice();
  t.is(offer.vnet.flags, 1);
  t.deepEqual([offer.vnet.start, offer.vnet.offset], [34, 6]);
  datagram.set([0, 0], 6);
  let total = 0;
  for (const byte of [...datagram.keys()]) total += byte % 2 === 0 ? datagram[byte] * 256 : datagram[byte];
  const partial = offer.payload[6] * 256 + offer.payload[7];
  let sum = total + partial;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  datagram.set([(0xffff - sum) >>> 8, (0xffff - sum) & 0xff], 6);
  t.true(udpChecksumValid("10.0.2.2", "255.255.255.255", datagram));
});

test("any bytes: no throw", (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 600 }), (bytes) => void parseDhcp(bytes)),
    { numRuns: 2000 },
  );
  const start = message([]).subarray(0, 240);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), (options) => void parseDhcp(Uint8Array.from([...start, ...options]))),
    { numRuns: 5000 },
  );
  t.pass();
});

test("search domains that are no names, or too many, are left out", (t) => {
  t.is(encodeDomainSearch(["a b.example", "", "x".repeat(64)]).length, 0);
  t.true(encodeDomainSearch(new Array(60).fill("long.example.net")).length <= 255);
});
