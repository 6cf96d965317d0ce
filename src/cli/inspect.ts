/** `inspect`: all that is to be known of one sandbox, as JSON. */
import { findSandbox } from "../control/directory.js";
import { runtimeDirectory } from "../control/runtime.js";
import { print } from "./output.js";

export async function inspect(name: string): Promise<number> {
  const { client, sandbox, server } = await findSandbox(runtimeDirectory(), name);
  client.close();
  const { subnets, mtu, server: pid, counters } = server.network;
  print(`${JSON.stringify({ ...sandbox, subnets, mtu, server: pid, counters }, null, 2)}\n`);
  return 0;
}
