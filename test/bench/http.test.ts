import test from "ava";
import { parseWrk } from "../../bench/rows/http.js";

/** What wrk 4.1.0 prints. */
const REPORT = `Running 1s test @ http://203.0.113.1:5201/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   351.21us  109.00us   3.60ms   88.42%
    Req/Sec    91.95k     4.94k   98.72k    70.00%
  91499 requests in 1.00s, 14.05MB read
Requests/sec:  91372.94
Transfer/sec:     14.03MB
`;

test("the rate is what wrk says", (t) => {
  t.is(parseWrk(REPORT), 91372.94);
});

test("a run with errors gives no rate", (t) => {
  const errors = "  Socket errors: connect 0, read 12, write 0, timeout 0\n";
  t.throws(() => parseWrk(errors + REPORT), { message: "wrk: Socket errors: connect 0, read 12, write 0, timeout 0" });
  t.throws(() => parseWrk(`  Non-2xx or 3xx responses: 3\n${REPORT}`), { message: /Non-2xx/ });
  t.throws(() => parseWrk("Requests/sec:      0.00\n"), { message: "wrk: no request was answered" });
  t.throws(() => parseWrk("unable to connect to 203.0.113.1:5201 Connection refused\n"), { message: /refused/ });
});
