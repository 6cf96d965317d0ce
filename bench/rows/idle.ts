import { setTimeout as delay } from "node:timers/promises";
import { cpuSeconds, residentBytes, sleeps } from "../processes.js";
import type { Metric, Row } from "./row.js";

const KIND = { section: "Start, memory, idle flows", better: "lower" } as const;
const SETTLE_MS = 500;
const IDLE_MS = 1000;

const METRICS: readonly Metric[] = [
  { ...KIND, id: "idle", unit: "MB", title: "resident memory, idle" },
  { ...KIND, id: "loaded", unit: "MB", title: "resident memory, after the load of a round" },
  { ...KIND, id: "cpu", unit: "%", title: "processor time, idle" },
  { ...KIND, id: "wakes", unit: "1/s", title: "wake-ups, idle" },
];

/** Of the tool's own processes: in a sandbox just made, and in the one that all rows before this one have loaded. */
export const idle: Row = {
  id: "idle",
  metrics: METRICS,
  ability: "network",
  mtus: [1500],
  variants: ["same"],
  quick: true,
  length: 1,
  async measure({ bed, tool, setup, sandbox }) {
    if (tool.role === "limit") return {};
    const loaded = await sandbox();
    const fresh = await tool.start(bed, setup);
    try {
      await delay(SETTLE_MS);
      const [used, slept, since] = [cpuSeconds(fresh.pids), sleeps(fresh.pids), performance.now()];
      await delay(IDLE_MS);
      const seconds = (performance.now() - since) / 1000;
      return {
        idle: residentBytes(fresh.pids) / 1e6,
        loaded: residentBytes(loaded.pids) / 1e6,
        cpu: (100 * (cpuSeconds(fresh.pids) - used)) / seconds,
        wakes: (sleeps(fresh.pids) - slept) / seconds,
      };
    } finally {
      await fresh.close();
    }
  },
};
