import { SERVER } from "../bed.js";
import { iperfInside } from "../iperf3.js";
import { cpuSeconds } from "../processes.js";
import type { Row } from "./row.js";

/** Bytes per second through long TCP connections, by iperf3, and the tool's processor time for them. */
function tcpThroughput(direction: "out" | "in", flows: number): Row {
  const title = `TCP ${direction}, ${flows} ${flows === 1 ? "flow" : "flows"}`;
  return {
    id: flows === 1 ? `tcp-${direction}` : `tcp-${direction}-${flows}`,
    metrics: [
      { id: "throughput", section: "TCP throughput", title, unit: "Gbit/s", better: "higher" },
      {
        id: "cpu",
        section: "Processor seconds of the tool's own processes per GB carried",
        title,
        unit: "s/GB",
        better: "lower",
      },
    ],
    ability: "network",
    mtus: [1500, 65520],
    variants: flows === 1 ? ["same", "installed"] : ["same"],
    quick: flows === 1,
    length: flows === 1 ? 2 : 1,
    async measure({ bed, seconds, sandbox }) {
      const { shell, pids } = await sandbox();
      const before = cpuSeconds(pids);
      const load = { protocol: "tcp", reverse: direction === "in", flows, seconds } as const;
      const { bitsPerSecond, bytes } = await iperfInside(bed, shell, SERVER, load);
      const throughput = bitsPerSecond / 1e9;
      const used = cpuSeconds(pids) - before;
      return pids.length === 0 || bytes === 0 ? { throughput } : { throughput, cpu: (used * 1e9) / bytes };
    },
  };
}

export const tcpThroughputRows: readonly Row[] = [1, 4, 32].flatMap((flows) => [
  tcpThroughput("out", flows),
  tcpThroughput("in", flows),
]);
