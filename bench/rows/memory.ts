import { setTimeout as delay } from "node:timers/promises";
import { residentBytes } from "../processes.js";
import type { Metric, Row } from "./row.js";

const KIND = { section: "Start, memory, idle flows", unit: "MB", better: "lower" } as const;
const SETTLE_MS = 1000;

const METRICS: readonly Metric[] = [
  { ...KIND, id: "idle", title: "resident memory, idle" },
  { ...KIND, id: "loaded", title: "resident memory, after the load of a round" },
];

/** Of the tool's own processes: in a sandbox just made, and in the one that all rows before this one have loaded. */
export const memory: Row = {
  id: "memory",
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
      return { idle: residentBytes(fresh.pids) / 1e6, loaded: residentBytes(loaded.pids) / 1e6 };
    } finally {
      await fresh.close();
    }
  },
};
