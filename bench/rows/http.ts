import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Bed, SERVER } from "../bed.js";
import { unusedPort } from "../ports.js";
import type { Row } from "./row.js";

/** wrk in the sandbox, nginx outside: a small answer to as many requests as fit. */
function http(connections: number, keepAlive: boolean): Row {
  const many = connections === 1 ? "1 connection" : `${connections} connections`;
  const title = `HTTP, ${many}, ${keepAlive ? "kept alive" : "one request each"}`;
  return {
    id: `http-${connections}${keepAlive ? "" : "-close"}`,
    metrics: [{ id: "rate", section: "Connections and HTTP requests", title, unit: "1/s", better: "higher" }],
    ability: "network",
    mtus: [1500],
    variants: ["same"],
    quick: connections === 32 && keepAlive,
    length: 1,
    async measure({ bed, seconds, sandbox }) {
      const { shell } = await sandbox();
      const port = unusedPort();
      const rate = await bed.serving("nginx", nginx(bed, port), port, async () => {
        const header = keepAlive ? [] : ["-H", "'Connection: close'"];
        const client = ["wrk", "-t1", `-c${connections}`, `-d${seconds}s`, ...header, `http://${SERVER}:${port}/`];
        return parseWrk(await shell.output(client, seconds + 5));
      });
      return { rate };
    },
  };
}

export const httpRows: readonly Row[] = [http(1, true), http(1, false), http(32, true), http(32, false)];

/** The command of an nginx of one process that keeps all its files in the bed's directory. */
function nginx(bed: Bed, port: number): string[] {
  const configuration = join(bed.directory, `nginx-${port}.conf`);
  const paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${name};`);
  writeFileSync(
    configuration,
    `daemon off; master_process off; pid nginx-${port}.pid; error_log stderr;
events { worker_connections 1024; }
http {
  access_log off; keepalive_requests 1000000000; ${paths.join(" ")}
  server { listen ${SERVER}:${port}; location / { return 200 "It works.\\n"; } }
}
`,
  );
  return ["nginx", "-p", bed.directory, "-c", configuration, "-e", "stderr"];
}

/** Requests per second from what wrk prints. Rejects a run with errors, which would make a wrong rate. */
export function parseWrk(text: string): number {
  const rate = /^Requests\/sec:\s+([\d.]+)$/m.exec(text)?.[1];
  if (rate === undefined) throw new Error(`wrk: ${text.trim().slice(-200) || "it printed nothing"}`);
  const bad = /^\s*(Socket errors: .*|Non-2xx or 3xx responses: .*)$/m.exec(text)?.[1];
  if (bad !== undefined) throw new Error(`wrk: ${bad}`);
  if (Number(rate) === 0) throw new Error("wrk: no request was answered");
  return Number(rate);
}
