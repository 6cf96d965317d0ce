import { SERVER } from "../bed.js";
import { iperfInside } from "../iperf3.js";
import { unusedPort } from "../ports.js";
import { figure, parseFigures, program } from "../programs.js";
import type { Metric, Row } from "./row.js";

function metrics(title: string): Metric[] {
  return [
    { id: "delivered", section: "UDP", title: `${title}: delivered`, unit: "1/s", better: "higher" },
    { id: "loss", section: "UDP", title: `${title}: lost of what was sent`, unit: "%", better: "lower" },
  ];
}

const WHERE = { ability: "network", mtus: [1500], variants: ["same"], length: 1 } as const;

/** As many datagrams as the sender can send, one per system call, by iperf3: what arrives, and what does not. */
function udpThroughput(direction: "out" | "in", size: number): Row {
  return {
    ...WHERE,
    id: `udp-${direction}-${size}`,
    metrics: metrics(`UDP ${direction}, ${size} B`),
    quick: direction === "out" && size === 1400,
    async measure({ bed, seconds, sandbox }) {
      const load = { protocol: "udp", size, reverse: direction === "in", flows: 1, seconds } as const;
      const { packets, lost } = await iperfInside(bed, (await sandbox()).shell, SERVER, load);
      return { delivered: (packets - lost) / seconds, loss: (100 * lost) / packets };
    },
  };
}

/** As QUIC programs do it: up to 45 datagrams per system call, with UDP_SEGMENT and UDP_GRO. */
function udpSegments(direction: "out" | "in"): Row {
  const size = 1400;
  return {
    ...WHERE,
    id: `udp-${direction}-segments`,
    metrics: metrics(`UDP ${direction}, ${size} B, UDP_SEGMENT`),
    quick: false,
    async measure({ bed, seconds, sandbox }) {
      const { shell } = await sandbox();
      const port = unusedPort();
      const mode = direction === "out" ? "count" : "segments";
      const server = bed.start("the UDP server", program("server", mode, SERVER, port));
      try {
        await server.says("ready\n", 5000);
        const answer = direction === "out" ? server.line((seconds + 10) * 1000) : null;
        const client = program(
          "client",
          direction === "out" ? "send-segments" : "fetch-segments",
          SERVER,
          port,
          seconds,
        );
        const printed = await shell.output([...client, `${size}`], seconds + 10);
        const figures = parseFigures(answer === null ? printed : await answer);
        return { delivered: figure(figures, "perSecond"), loss: figure(figures, "loss") };
      } finally {
        await bed.stop(server);
      }
    },
  };
}

export const udpRows: readonly Row[] = [
  udpThroughput("out", 64),
  udpThroughput("in", 64),
  udpThroughput("out", 1400),
  udpThroughput("in", 1400),
  udpSegments("out"),
  udpSegments("in"),
];
