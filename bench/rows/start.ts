import { figure, parseFigures, program } from "../programs.js";
import type { Metric, Row } from "./row.js";

const RUNS = 5;
const KIND = { section: "Start, memory, idle flows", unit: "ms", better: "lower" } as const;
const SAME: Metric = { ...KIND, id: "time", title: "start to finish of `true`" };
const BARE: Metric = { ...KIND, id: "bare", title: "start to finish of `true`, without options" };

/** From the start of the tool to its end, with a command inside that does nothing. */
export const start: Row = {
  id: "start",
  metrics: [SAME, BARE],
  ability: "launch",
  mtus: [1500],
  variants: ["installed"],
  quick: true,
  length: 1,
  async measure({ bed, tool, setup }) {
    const time = async (command: readonly string[]) =>
      figure(parseFigures(await bed.capture("the clock", program("start_time", RUNS, ...command), 20_000)), "ms");
    const same = { time: await time(tool.launch(bed, setup, ["true"])) };
    return tool.launchBare ? { ...same, bare: await time(tool.launchBare(["true"])) } : same;
  },
};
