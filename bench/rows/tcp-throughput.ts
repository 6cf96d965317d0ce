import { runIperf } from "../iperf3.js";
import { cpuSeconds } from "../processes.js";
import type { Row } from "./row.js";

/** Bytes per second through long TCP connections, by iperf3. */
function tcpThroughput(id: string, title: string, direction: "out" | "in", flows: number): Row {
  return {
    id,
    title,
    unit: "Gbit/s",
    better: "higher",
    mtus: [1500, 65520],
    async measure({ bed, sandbox, seconds, warmUp }) {
      const before = cpuSeconds(sandbox.pids);
      const { bitsPerSecond, bytes } = await runIperf(bed, sandbox.shell, { direction, flows, seconds, warmUp });
      const used = cpuSeconds(sandbox.pids) - before;
      return {
        value: bitsPerSecond / 1e9,
        cpuPerGb: sandbox.pids.length === 0 || bytes === 0 ? null : (used * 1e9) / bytes,
      };
    },
  };
}

export const tcpOut = tcpThroughput("tcp-out", "TCP out, 1 flow", "out", 1);
export const tcpIn = tcpThroughput("tcp-in", "TCP in, 1 flow", "in", 1);
