import { figure, parseFigures, program } from "../programs.js";
import type { Row } from "./row.js";

const RUNS = 5;

/** From the start of the tool to its end, with a command inside that does nothing. */
export const start: Row = {
  id: "start",
  metrics: [
    {
      id: "time",
      section: "Start, memory, idle flows",
      title: "start to finish of `true`",
      unit: "ms",
      better: "lower",
    },
  ],
  ability: "launch",
  mtus: [1500],
  variants: ["installed"],
  quick: true,
  length: 1,
  async measure({ bed, tool, setup }) {
    const command = program("start_time", RUNS, ...tool.launch(bed, setup, ["true"]));
    return { time: figure(parseFigures(await bed.capture("the clock", command, 20_000)), "ms") };
  },
};
