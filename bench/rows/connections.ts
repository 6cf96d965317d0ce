import { SERVER, UPLINK } from "../bed.js";
import { unusedPort } from "../ports.js";
import { figure, parseFigures, program } from "../programs.js";
import { servingInside } from "../shell.js";
import type { Metric, Row } from "./row.js";

const KIND = { section: "Connections and HTTP requests", unit: "1/s", better: "higher" } as const;
const OUT: Metric = { ...KIND, id: "rate", title: "connect, request, close: out" };
const IN: Metric = { ...KIND, id: "rate", title: "connect, request, close: in, from another machine" };

/** One after the other: connect, one byte there, one byte back, close. */
export const connectionsOut: Row = {
  id: "connect-out",
  metrics: [OUT],
  ability: "network",
  mtus: [1500],
  variants: ["same"],
  quick: true,
  length: 1,
  async measure({ bed, seconds, sandbox }) {
    const { shell } = await sandbox();
    const port = unusedPort();
    const rate = await bed.serving("the server", program("server", "answer", SERVER, port), port, async () => {
      const client = program("client", "connect", SERVER, port, seconds);
      return figure(parseFigures(await shell.output(client, seconds + 5)), "perSecond");
    });
    return { rate };
  },
};

/** The same from another machine to a published port. */
export const connectionsIn: Row = {
  id: "connect-in",
  metrics: [IN],
  ability: "published",
  mtus: [1500],
  variants: ["same"],
  quick: false,
  length: 1,
  async measure({ bed, seconds, sandbox }) {
    const { shell, port } = await sandbox();
    const log = `${bed.directory}/server.log`;
    const rate = await servingInside(shell, program("server", "answer", "0.0.0.0", port), port, log, async () => {
      const client = program("client", "connect", UPLINK, port, seconds);
      const printed = await bed.capture("the client", client, (seconds + 5) * 1000, "machine");
      return figure(parseFigures(printed), "perSecond");
    });
    return { rate };
  },
};
