import { capture } from "./capture.js";
import { connectionsIn, connectionsOut } from "./connections.js";
import { httpRows } from "./http.js";
import { idle } from "./idle.js";
import { idleFlows } from "./idle-flows.js";
import { members } from "./members.js";
import { publishedRows } from "./published.js";
import { roundTripRows } from "./round-trip.js";
import type { Row } from "./row.js";
import { stack } from "./stack.js";
import { start } from "./start.js";
import { tcpThroughputRows } from "./tcp-throughput.js";
import { udpRows } from "./udp-throughput.js";

/** In the order in which they are measured; `idle` looks at what all others have left. */
export const ROWS: readonly Row[] = [
  ...tcpThroughputRows,
  ...publishedRows,
  ...roundTripRows,
  connectionsOut,
  connectionsIn,
  ...httpRows,
  ...udpRows,
  members,
  capture,
  start,
  stack,
  idleFlows,
  idle,
];
