import test from "ava";
import { parseIperf } from "../../bench/iperf3.js";

/** What iperf3 3.12 prints with -J -t 2 -O 1, without the members that nobody reads. */
const REPORT = {
  start: { version: "iperf 3.12" },
  intervals: [
    { sum: { start: 0, end: 1.000067, bytes: 1_000_000_000, bits_per_second: 7.99e9, omitted: true, sender: true } },
    { sum: { start: 0, end: 1.000057, bytes: 2_000_000_000, bits_per_second: 15.99e9, omitted: false, sender: true } },
    {
      sum: {
        start: 1.000057,
        end: 2.0001,
        bytes: 2_100_000_000,
        bits_per_second: 16.79e9,
        omitted: false,
        sender: true,
      },
    },
  ],
  end: {
    sum_sent: { seconds: 2.0001, bytes: 4_100_000_000, bits_per_second: 16_399_180_041, sender: true },
    sum_received: { seconds: 2.0002, bytes: 4_098_000_000, bits_per_second: 16_390_360_964, sender: true },
  },
};

test("the throughput is what the receiver got, and the bytes are all that was carried", (t) => {
  const expected = { bitsPerSecond: 16_390_360_964, bytes: 5_100_000_000, packets: 0, lost: 0 };
  t.deepEqual(parseIperf(JSON.stringify(REPORT)), expected);
});

test("of datagrams, those that were sent and those that did not arrive are known", (t) => {
  const sum = { bytes: 1_400_000, bits_per_second: 11_200_000, packets: 1000, lost_packets: 20, lost_percent: 2 };
  const report = { intervals: [{ sum: { bytes: 1_400_000 } }], end: { sum } };
  const expected = { bitsPerSecond: 11_200_000, bytes: 1_400_000, packets: 1000, lost: 20 };
  t.deepEqual(parseIperf(JSON.stringify(report)), expected);
});

test("an error of iperf3 is told in its own words", (t) => {
  const report = { start: {}, intervals: [], end: {}, error: "unable to connect to server: Connection refused" };
  t.throws(() => parseIperf(JSON.stringify(report)), {
    message: "iperf3: unable to connect to server: Connection refused",
  });
});

test("what is no report is refused, with what was printed", (t) => {
  t.throws(() => parseIperf("sh: iperf3: not found\n"), { message: /no JSON: sh: iperf3: not found/ });
  t.throws(() => parseIperf('{"intervals":[]}'), { message: /a figure is missing/ });
  t.throws(() => parseIperf(JSON.stringify({ end: REPORT.end })), { message: /no intervals/ });
});
