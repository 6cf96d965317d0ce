/** `rm`: ends sandboxes, with all that runs in them. */
import { connectServer, type Found, inventory, noSandbox, unlinkIfThere } from "../control/directory.js";
import { inParallel } from "../control/parallel.js";
import { type RuntimeDirectory, runtimeDirectory } from "../control/runtime.js";
import { NetnsError } from "../errors.js";
import { tellSilent } from "./list.js";
import { tell } from "./log.js";
import { print } from "./output.js";

/** Servers that are spoken to at a time, and sandboxes of one that are ended at a time. */
const MOST = 32;
const FAILED = 125;

/** Prints the names of those that it ended. Returns the exit code: 2 where one was not there, 125 where a server did not answer. */
export async function remove(names: readonly string[], options: { all?: boolean | undefined }): Promise<number> {
  const runtime = runtimeDirectory();
  const { all = false } = options;
  if (all === names.length > 0) {
    throw new NetnsError("USAGE", "rm: expected either names or --all, for example netns-rootless rm web");
  }
  const there = await inventory(runtime);
  if (all) tellSilent(there.silent);
  let code = all && there.silent.length > 0 ? FAILED : 0;
  const failed = (error: unknown) => {
    if (!(error instanceof NetnsError)) throw error;
    tell(error.message);
    code = Math.max(code, error.exitCode);
  };
  const known = new Set(there.found.flatMap(({ sandboxes }) => sandboxes.map(({ name }) => name)));
  const chosen = all ? known : new Set(names);
  for (const name of chosen) if (!known.has(name)) failed(noSandbox(name, there));
  await inParallel(there.found, MOST, async (server) => {
    const ours = server.sandboxes.map(({ name }) => name).filter((name) => chosen.has(name));
    if (ours.length > 0) await removeOf(runtime, server, ours, failed).catch(failed);
  });
  return code;
}

/** One that ended by itself meanwhile is ended, too. */
async function removeOf(
  runtime: RuntimeDirectory,
  server: Found,
  names: readonly string[],
  failed: (error: unknown) => void,
): Promise<void> {
  const client = await connectServer(runtime, server.kind, server.name);
  await inParallel(names, MOST, async (name) => {
    try {
      await client?.request("remove", { name });
    } catch (error) {
      const hasEnded = client?.isEnded || (error instanceof NetnsError && error.code === "NOT_FOUND");
      if (!hasEnded) {
        failed(error);
        return;
      }
    }
    unlinkIfThere(runtime.log(name));
    print(`${name}\n`);
  });
  client?.close();
}
