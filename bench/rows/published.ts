import { type Side, UPLINK } from "../bed.js";
import { iperfToPublished } from "../iperf3.js";
import { cpuSeconds } from "../processes.js";
import type { Row } from "./row.js";

/** Bytes per second from a client outside, through a published port, to a server inside. */
function published(id: string, title: string, client: Side, address: string): Row {
  return {
    id,
    metrics: [
      { id: "throughput", section: "Published ports", title, unit: "Gbit/s", better: "higher" },
      {
        id: "cpu",
        section: "Processor seconds of the tool's own processes per GB carried",
        title,
        unit: "s/GB",
        better: "lower",
      },
    ],
    ability: "published",
    mtus: [1500],
    variants: ["same", "installed"],
    quick: client === "host",
    length: 1,
    async measure({ bed, seconds, sandbox }) {
      const { shell, port, pids } = await sandbox();
      const before = cpuSeconds(pids);
      const load = { protocol: "tcp", reverse: false, flows: 1, seconds } as const;
      const { bitsPerSecond, bytes } = await iperfToPublished(bed, shell, { client, address, port }, load);
      const throughput = bitsPerSecond / 1e9;
      const used = cpuSeconds(pids) - before;
      return pids.length === 0 || bytes === 0 ? { throughput } : { throughput, cpu: (used * 1e9) / bytes };
    },
  };
}

export const publishedRows: readonly Row[] = [
  published("published-loopback", "published port, from the host's loopback", "host", "127.0.0.1"),
  published("published-machine", "published port, from another machine", "machine", UPLINK),
];
