import { readFileSync } from "node:fs";
import { cpus, loadavg, release, totalmem } from "node:os";

export interface Machine {
  readonly kernel: string;
  readonly cpu: string;
  readonly cpus: number;
  readonly memoryGb: number;
  readonly node: string;
  /** The host's default congestion control, which "as installed" gets. */
  readonly congestion: string;
  /** Load average of the last minute: what else the machine did before the run. */
  readonly load: number;
}

export function describeMachine(): Machine {
  return {
    kernel: release(),
    cpu: cpus()[0]?.model.trim() ?? "unknown",
    cpus: cpus().length,
    memoryGb: Math.round(totalmem() / 1e8) / 10,
    node: process.version,
    congestion: readFileSync("/proc/sys/net/ipv4/tcp_congestion_control", "utf8").trim(),
    load: Math.round((loadavg()[0] ?? 0) * 100) / 100,
  };
}

/** Congestion controls that the kernel has now. */
export function availableCongestion(): string[] {
  return readFileSync("/proc/sys/net/ipv4/tcp_available_congestion_control", "utf8").trim().split(/\s+/);
}
