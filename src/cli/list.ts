/** `ls`: the sandboxes that are there now. */
import { inventory, type Silent } from "../control/directory.js";
import { runtimeDirectory } from "../control/runtime.js";
import { age, formatPort, shortened, table } from "./listing.js";
import { tell } from "./log.js";
import { print } from "./output.js";

const LONGEST_COMMAND = 40;

export async function list(options: { json?: boolean | undefined; quiet?: boolean | undefined }): Promise<number> {
  const { found, silent } = await inventory(runtimeDirectory());
  const sandboxes = found
    .flatMap((server) => server.sandboxes)
    .sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
  if (options.json) {
    print(`${JSON.stringify(sandboxes, null, 2)}\n`);
  } else if (options.quiet) {
    print(sandboxes.map(({ name }) => `${name}\n`).join(""));
  } else {
    const rows = sandboxes.map(({ name, network, addresses, ports, command, since }) => [
      name,
      network ?? "-",
      addresses.join(" "),
      ports.map(formatPort).join(" ") || "-",
      command === "" ? "-" : shortened(command, LONGEST_COMMAND),
      age(since),
    ]);
    print(table(["NAME", "NETWORK", "ADDRESSES", "PORTS", "COMMAND", "UP"], rows));
  }
  tellSilent(silent);
  return 0;
}

/** What is there and cannot be asked. */
export function tellSilent(silent: readonly Silent[]): void {
  for (const { kind, name } of silent) {
    tell(`the server of the ${kind} ${name} does not answer, so it is not shown; netns-rootless prune ends it`);
  }
}
