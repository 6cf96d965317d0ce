import { SERVER } from "../bed.js";
import { iperfInside } from "../iperf3.js";
import { unusedPort } from "../ports.js";
import { program } from "../programs.js";
import type { Row } from "./row.js";

const FLOWS = 10_000;
/** Seconds that the program may take to open them. */
const OPENING = 18;

/** What idle flows cost an active one: its throughput beside them, and alone right before and right after. */
export const idleFlows: Row = {
  id: "idle-flows",
  metrics: [
    {
      id: "beside",
      section: "Start, memory, idle flows",
      title: "TCP out, 1 flow beside 10,000 idle ones",
      unit: "Gbit/s",
      better: "higher",
    },
    {
      id: "share",
      section: "Start, memory, idle flows",
      title: "the same, as a share of what it has alone",
      unit: "%",
      better: "higher",
    },
  ],
  ability: "network",
  mtus: [1500],
  variants: ["same"],
  quick: false,
  length: 1,
  async measure({ bed, seconds, sandbox }) {
    const { shell } = await sandbox();
    const load = { protocol: "tcp", reverse: false, flows: 1, seconds } as const;
    const before = await iperfInside(bed, shell, SERVER, load);
    const port = unusedPort();
    const beside = await bed.serving("the holder of flows", program("server", "hold", SERVER, port), port, () =>
      iperfInside(bed, shell, SERVER, load, { command: program("hold_flows", SERVER, port, FLOWS), seconds: OPENING }),
    );
    const after = await iperfInside(bed, shell, SERVER, load);
    const alone = (before.bitsPerSecond + after.bitsPerSecond) / 2;
    return { beside: beside.bitsPerSecond / 1e9, share: (100 * beside.bitsPerSecond) / alone };
  },
};
