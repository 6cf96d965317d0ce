/** `port add`, `ls` and `rm`: published ports of sandboxes that run. */
import { findSandbox, inventory } from "../control/directory.js";
import type { SandboxInfo } from "../control/messages.js";
import { requestSandbox } from "../control/parts.js";
import { runtimeDirectory } from "../control/runtime.js";
import { NetnsError } from "../errors.js";
import { formatAddress, parseAddress } from "../wire/address.js";
import { formatPort, table } from "./listing.js";
import { parsePublish } from "./options.js";
import { print } from "./output.js";

/** Prints the ports that came, so that one chosen by the kernel is known. */
export async function addPorts(name: string, specs: readonly string[]): Promise<number> {
  for (const spec of specs) parsePublish(spec);
  const { client, sandbox } = await findSandbox(runtimeDirectory(), name);
  const before = new Set(sandbox.ports.map(formatPort));
  try {
    for (const spec of specs) {
      const { ports } = await requestSandbox(client, "port-add", { name, spec });
      for (const port of ports.map(formatPort)) {
        if (!before.has(port)) print(`${port}\n`);
        before.add(port);
      }
    }
  } finally {
    client.close();
  }
  return 0;
}

export async function listPorts(name: string | undefined, options: { json?: boolean | undefined }): Promise<number> {
  const runtime = runtimeDirectory();
  let sandboxes: readonly SandboxInfo[];
  if (name === undefined) {
    sandboxes = (await inventory(runtime)).found.flatMap((server) => server.sandboxes);
  } else {
    const { client, sandbox } = await findSandbox(runtime, name);
    client.close();
    sandboxes = [sandbox];
  }
  const ports = sandboxes.flatMap((sandbox) => sandbox.ports.map((port) => ({ sandbox: sandbox.name, ...port })));
  if (options.json) {
    print(`${JSON.stringify(ports, null, 2)}\n`);
    return 0;
  }
  const rows = ports.map(({ sandbox, protocol, address, port, insidePort }) => [
    sandbox,
    `${address.includes(":") ? `[${address}]` : address}:${port}`,
    String(insidePort),
    protocol,
  ]);
  print(table(["NAME", "HOST", "INSIDE", "PROTOCOL"], rows));
  return 0;
}

export async function removePorts(name: string, specs: readonly string[]): Promise<number> {
  const wanted = specs.map(parseRemoval);
  const { client } = await findSandbox(runtimeDirectory(), name);
  try {
    for (const each of wanted) await client.request("port-remove", { name, ...each });
  } finally {
    client.close();
  }
  return 0;
}

/** `5000`, `127.0.0.1:5000`, `5000:3000`, each with /tcp or /udp or for both. */
function parseRemoval(text: string): { port: number; protocol: string | null; address: string | null } {
  const match = /^(?:(\[[^\]]*\]|\d+\.\d+\.\d+\.\d+):)?(\d{1,5})(?::\d{1,5})?(?:\/(tcp|udp))?$/.exec(text);
  const port = Number(match?.[2]);
  try {
    if (match === null || port < 1 || port > 65_535) throw new RangeError("port");
    const address = match[1] === undefined ? null : formatAddress(parseAddress(match[1].replace(/[[\]]/g, "")));
    return { port, protocol: match[3] ?? null, address };
  } catch {
    throw new NetnsError(
      "USAGE",
      `port rm ${text}: expected [ADDR:]HOSTPORT[/tcp|udp], for example 5000, 127.0.0.1:5000 or 53/udp`,
    );
  }
}
