/**
 * The stack alone: nanoseconds that one frame of the sandbox costs in TypeScript, and bytes that it leaves on the heap, in
 * bursts of 64 frames as the engine collects them. Prints one line of JSON.
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { EventKind, Op } from "../../src/native/engine.js";
import { median } from "../statistics.js";
import { BURST } from "./engine.js";
import { BenchStack, TcpFlag, TRANSPORT } from "./stack.js";

const WARM_UP = 2000;
const TURNS = 3000;
/** Few enough that nothing is collected meanwhile, even if each frame allocated a kilobyte. */
const HEAP_TURNS = 100;
const HEAP_CHECKS = 7;
const MSS = 1460;

/** Makes one burst, lets the stack have it, and returns how many milliseconds that took. */
type Burst = () => number;

/** A connection of the sandbox, established: its port, and the next sequence numbers of both ends. */
function connect(stack: BenchStack, port: number): { socket: number; sequence: number; acknowledgment: number } {
  stack.syn(0, port, 1000);
  stack.engine.turn();
  const socket = 0;
  stack.engine.event(EventKind.Connected, socket, 0);
  stack.engine.turn();
  const written = stack.engine.written();
  if (written < 0) throw new Error("the stack did not answer a SYN");
  const acknowledgment = (stack.view.getUint32(written + TRANSPORT + 4) + 1) | 0;
  stack.tcp(0, port, TcpFlag.Ack, 1001, acknowledgment, 0);
  stack.engine.turn();
  if (stack.flowCount() !== 1) throw new Error("the stack did not establish a connection");
  return { socket, sequence: 1001, acknowledgment };
}

/** Full segments out of the sandbox, in order. */
function dataBurst(): Burst {
  const stack = new BenchStack();
  let { sequence, acknowledgment } = connect(stack, 5000);
  return () => {
    for (let i = 0; i < BURST; i++) {
      stack.tcp(i, 5000, TcpFlag.Ack, sequence, acknowledgment, MSS);
      sequence = (sequence + MSS) | 0;
    }
    stack.pass(0.1);
    const took = stack.engine.turn();
    if (stack.engine.ordered(Op.Send) !== BURST) throw new Error("the stack did not pass the segments on");
    return took;
  };
}

/** ACKs of the sandbox for what it was sent before, one for two segments. */
function acknowledgmentBurst(): Burst {
  const stack = new BenchStack();
  let { socket, sequence, acknowledgment } = connect(stack, 5000);
  return () => {
    for (let i = 0; i < 4; i++) stack.engine.event(EventKind.Data, socket, (BURST / 4) * 2 * MSS);
    stack.pass(0.1);
    stack.engine.turn();
    for (let i = 0; i < BURST; i++) {
      acknowledgment = (acknowledgment + 2 * MSS) | 0;
      stack.tcp(i, 5000, TcpFlag.Ack, sequence, acknowledgment, 0);
    }
    stack.pass(0.1);
    const took = stack.engine.turn();
    if (stack.engine.ordered(Op.Consume) === 0) throw new Error("the stack did not take the ACKs");
    return took;
  };
}

/** SYNs of new connections; they are reset again, unmeasured. */
function synBurst(): Burst {
  const stack = new BenchStack();
  return () => {
    for (let i = 0; i < BURST; i++) stack.syn(i, 5000 + i, 1000);
    stack.pass(0.1);
    const took = stack.engine.turn();
    if (stack.flowCount() !== BURST) throw new Error(`${stack.flowCount()} flows came of ${BURST} SYNs`);
    for (let i = 0; i < BURST; i++) {
      stack.tcp(i, 5000 + i, TcpFlag.Rst, 1001, 0, 0);
    }
    stack.engine.turn();
    if (stack.flowCount() !== 0) throw new Error(`${stack.flowCount()} flows are left of ${BURST} that were reset`);
    return took;
  };
}

/** Datagrams of one flow, all of one size. */
function datagramBurst(): Burst {
  const stack = new BenchStack();
  return () => {
    for (let i = 0; i < BURST; i++) stack.udp(i, 5000, 1200);
    stack.pass(0.1);
    const took = stack.engine.turn();
    if (stack.engine.ordered(Op.SendTo) === 0) throw new Error("the stack did not pass the datagrams on");
    return took;
  };
}

function collector(): () => void {
  setFlagsFromString("--expose-gc");
  const collect: unknown = runInNewContext("gc");
  if (typeof collect !== "function") throw new Error("this Node cannot be told to collect garbage");
  return () => collect();
}

/** Nanoseconds and bytes per frame. */
function measure(burst: Burst, collect: () => void): { ns: number; bytes: number } {
  for (let i = 0; i < WARM_UP; i++) burst();
  const times = Array.from({ length: TURNS }, burst);
  // The least of several, since now and then the engine of JavaScript itself puts something on the heap.
  const heap = Array.from({ length: HEAP_CHECKS }, () => {
    collect();
    const before = process.memoryUsage().heapUsed;
    for (let i = 0; i < HEAP_TURNS; i++) burst();
    return process.memoryUsage().heapUsed - before;
  });
  return { ns: ((median(times) ?? 0) * 1e6) / BURST, bytes: Math.max(0, Math.min(...heap)) / (HEAP_TURNS * BURST) };
}

const collect = collector();
const figures: Record<string, number> = {};
for (const [name, start] of [
  ["data", dataBurst],
  ["ack", acknowledgmentBurst],
  ["syn", synBurst],
  ["udp", datagramBurst],
] as const) {
  const { ns, bytes } = measure(start(), collect);
  figures[name] = ns;
  figures[`${name}-bytes`] = bytes;
}
process.stdout.write(`${JSON.stringify(figures)}\n`);
