import test from "ava";
import { type Log, SILENT_LOG } from "../../src/policy/config.js";
import { LINES_PER_SECOND } from "../../src/policy/line-limit.js";
import { LoggedPolicy } from "../../src/policy/logged-policy.js";
import type { Verdict } from "../../src/policy/policy.js";
import { endpoint, parseAddress } from "../../src/wire/address.js";
import { Reject } from "../../src/wire/reject.js";

const REFUSAL: Verdict = { kind: "refuse", reason: Reject.PortUnreachable, counter: "policy.host_loopback" };
const INSIDE = parseAddress("10.0.2.100");

function scene(verdict: Verdict) {
  const lines: string[] = [];
  const log: Log = { ...SILENT_LOG, info: (message) => lines.push(message) };
  const clock = { time: 0, now: () => clock.time };
  return { lines, clock, policy: new LoggedPolicy({ outbound: () => verdict }, log, clock) };
}

test("a refusal is told in one line, and passed on", (t) => {
  const { lines, policy } = scene(REFUSAL);
  t.is(policy.outbound("tcp", INSIDE, parseAddress("10.0.2.2"), 5432), REFUSAL);
  policy.outbound("icmp", INSIDE, parseAddress("127.0.0.1"), 0);
  policy.outbound("udp", INSIDE, parseAddress("2001:db8::1"), 53);
  t.deepEqual(lines, [
    "refused tcp from 10.0.2.100 to 10.0.2.2:5432: policy.host_loopback",
    "refused icmp from 10.0.2.100 to 127.0.0.1: policy.host_loopback",
    "refused udp from 10.0.2.100 to [2001:db8::1]:53: policy.host_loopback",
  ]);
});

test("what is allowed is not told", (t) => {
  const dial: Verdict = { kind: "dial", remote: endpoint(INSIDE, 80), local: null };
  const { lines, policy } = scene(dial);
  t.is(policy.outbound("tcp", INSIDE, parseAddress("198.51.100.7"), 80), dial);
  t.deepEqual(lines, []);
});

test("a flood of refusals is not a flood of lines, and none goes uncounted", (t) => {
  const { lines, clock, policy } = scene(REFUSAL);
  for (let i = 0; i < 1000; i++) policy.outbound("tcp", INSIDE, parseAddress("10.0.2.2"), 80);
  t.is(lines.length, LINES_PER_SECOND);
  clock.time = 1000;
  policy.outbound("tcp", INSIDE, parseAddress("10.0.2.2"), 80);
  t.is(lines.length, LINES_PER_SECOND + 2);
  t.is(lines[LINES_PER_SECOND], `refused ${1000 - LINES_PER_SECOND} more, not told one by one`);
});
