import { SERVER } from "../bed.js";
import { unusedPort } from "../ports.js";
import { figure, parseFigures, program } from "../programs.js";
import type { Row } from "./row.js";

/** One byte there and back, again and again, one at a time: from the sandbox to a server outside. */
function roundTrip(protocol: "tcp" | "udp"): Row {
  const name = protocol.toUpperCase();
  return {
    id: `${protocol}-round-trip`,
    metrics: [
      { id: "p50", section: "Round trips", title: `${name} round trip, p50`, unit: "µs", better: "lower" },
      { id: "p99", section: "Round trips", title: `${name} round trip, p99`, unit: "µs", better: "lower" },
    ],
    ability: "network",
    mtus: [1500],
    variants: ["same"],
    quick: protocol === "tcp",
    length: 1,
    async measure({ bed, seconds, sandbox }) {
      const { shell } = await sandbox();
      const port = unusedPort();
      const server = bed.start("the echo server", program("server", `echo-${protocol}`, SERVER, port));
      try {
        await server.says("ready\n", 5000);
        const client = program("client", `round-trip-${protocol}`, SERVER, port, seconds);
        const figures = parseFigures(await shell.output(client, seconds + 5));
        return { p50: figure(figures, "p50"), p99: figure(figures, "p99") };
      } finally {
        await bed.stop(server);
      }
    },
  };
}

export const roundTripRows: readonly Row[] = [roundTrip("tcp"), roundTrip("udp")];
