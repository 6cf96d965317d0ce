import { parseIperf } from "../iperf3.js";
import { servingInside } from "../shell.js";
import type { Row } from "./row.js";

const PORT = 5201;
/** Seconds that the client may take beyond its measuring time. */
const GRACE_SECONDS = 6;

/** Bytes per second between two sandboxes of one network. The limit is what two namespaces reach over a pair of veth. */
export const members: Row = {
  id: "members",
  metrics: [
    {
      id: "throughput",
      section: "Networks of several sandboxes",
      title: "TCP between two members, 1 flow",
      unit: "Gbit/s",
      better: "higher",
    },
  ],
  ability: "members",
  mtus: [1500],
  variants: ["same"],
  quick: false,
  length: 1,
  async measure({ bed, tool, setup, seconds }) {
    const pair = await tool.pair?.(bed, setup);
    if (pair === undefined) return {};
    const { client, server, address, close } = pair;
    try {
      const serve = ["iperf3", "-s", "-1", "-B", "0.0.0.0", "-p", `${PORT}`];
      const log = `${bed.directory}/iperf3-member.log`;
      return await servingInside(server, serve, PORT, log, async () => {
        const load = ["iperf3", "-4", "-c", address, "-p", `${PORT}`, "-J", "-t", `${seconds}`];
        const { bitsPerSecond } = parseIperf(await client.output(load, seconds + GRACE_SECONDS));
        return { throughput: bitsPerSecond / 1e9 };
      });
    } finally {
      await close();
    }
  },
};
