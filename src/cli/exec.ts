/** `exec`: one more command in a sandbox. We become the launcher, which enters the namespaces: its exit code is then ours. */
import { findSandbox } from "../control/directory.js";
import { runtimeDirectory } from "../control/runtime.js";
import { NetnsError } from "../errors.js";
import { launcherPath, native } from "../native/binding.js";
import { descriptorLimit } from "./environment.js";

/** Returns only where it fails: throws a NetnsError. */
export async function exec(name: string, command: readonly string[]): Promise<never> {
  const { client, sandbox } = await findSandbox(runtimeDirectory(), name);
  client.close();
  if (sandbox.init === null) throw new NetnsError("NAMESPACE", `${name}: the process that holds it is not known`);
  const { pid, start } = sandbox.init;
  const limit = descriptorLimit();
  const target = ["--pid", String(pid), "--start", start, ...(limit === null ? [] : ["--nofile", String(limit)])];
  const env = Object.entries(process.env).map(([key, value]) => `${key}=${value}`);
  const error = native().execute(launcherPath(), ["exec", ...target, "--", ...command], env);
  throw new NetnsError(
    "NATIVE",
    `cannot execute ${launcherPath()} (errno ${-error}): build it with npm ci, or install the package again`,
  );
}
