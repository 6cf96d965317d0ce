import { type Bed, SERVER } from "../bed.js";
import { iperfInside } from "../iperf3.js";
import { commandInBed } from "../tools/ours.js";
import type { Row } from "./row.js";

/** What looking at packets costs a flow: its throughput while it is captured, and after, as shares of what it was before. */
export const capture: Row = {
  id: "capture",
  metrics: [
    {
      id: "during",
      section: "Networks of several sandboxes",
      title: "TCP out, 1 flow, while a capture is written to /dev/null, as a share of before",
      unit: "%",
      better: "higher",
    },
    {
      id: "after",
      section: "Networks of several sandboxes",
      title: "the same after the capture has ended",
      unit: "%",
      better: "higher",
    },
  ],
  ability: "capture",
  mtus: [1500],
  variants: ["same"],
  quick: false,
  length: 1,
  async measure({ bed, tool, setup, seconds }) {
    const named = await tool.named?.(bed, setup);
    if (named === undefined) return {};
    const load = { protocol: "tcp", reverse: false, flows: 1, seconds } as const;
    const throughput = async () => (await iperfInside(bed, named.shell, SERVER, load)).bitsPerSecond;
    try {
      await throughput(); // a process that has just begun is slower
      const before = await throughput();
      const during = await captured(bed, named.name, throughput);
      const after = await throughput();
      return { during: (100 * during) / before, after: (100 * after) / before };
    } finally {
      await named.close();
    }
  },
};

async function captured(bed: Bed, name: string, measure: () => Promise<number>): Promise<number> {
  const command = [...commandInBed(bed), "capture", name, "-w", "/dev/null"];
  const running = bed.start("capture", ["sh", "-c", 'exec "$@" 2>&1', "sh", ...command]);
  try {
    await running.says("capturing", 5000);
    return await measure();
  } finally {
    await bed.stop(running);
  }
}
