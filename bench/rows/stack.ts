import { fileURLToPath } from "node:url";
import { figure, parseFigures } from "../programs.js";
import type { Metric, Row } from "./row.js";

const PROGRAM = fileURLToPath(new URL("../micro/main.js", import.meta.url));
const FRAMES = [
  ["data", "TCP data"],
  ["ack", "TCP ACK"],
  ["syn", "TCP SYN"],
  ["udp", "UDP"],
] as const;

const METRICS: readonly Metric[] = FRAMES.flatMap(([id, frame]) => [
  { id, section: "The stack alone, per frame", title: frame, unit: "ns", better: "lower" },
  {
    id: `${id}-bytes`,
    section: "The stack alone, per frame",
    title: `${frame}: allocated`,
    unit: "B",
    better: "lower",
  },
]);

/** What one frame costs in TypeScript, without kernels, sockets and sandboxes: ours only. */
export const stack: Row = {
  id: "stack",
  metrics: METRICS,
  ability: "stack",
  mtus: [1500],
  variants: ["installed"],
  quick: false,
  length: 1,
  async measure({ bed }) {
    const figures = parseFigures(await bed.capture("the stack", [process.execPath, PROGRAM], 30_000));
    return Object.fromEntries(METRICS.map(({ id }) => [id, figure(figures, id)]));
  },
};
