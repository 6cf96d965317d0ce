/** `logs`: what a detached command wrote; kept when it has ended, until `rm`, `prune`, or another sandbox of its name. */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { findSandbox } from "../control/directory.js";
import { type RuntimeDirectory, runtimeDirectory } from "../control/runtime.js";
import { NetnsError } from "../errors.js";

const LOOK_MS = 100;
const CHUNK = 65_536;

export async function logs(name: string, options: { follow?: boolean | undefined }): Promise<number> {
  const runtime = runtimeDirectory();
  const fd = await openLogOf(runtime, name);
  try {
    let at = 0;
    const writeNew = async () => {
      const { size } = fstatSync(fd);
      if (size < at) at = 0; // its older half was dropped
      const bytes = Buffer.alloc(CHUNK);
      for (let length = 1; length > 0; ) {
        length = readSync(fd, bytes, 0, CHUNK, at);
        at += length;
        if (length > 0) await writeOut(Buffer.from(bytes.subarray(0, length)));
      }
    };
    await writeNew();
    while (options.follow && (await isThere(runtime, name))) {
      for (let looks = 0; looks < 10; looks++) {
        await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
        await writeNew();
      }
    }
    return 0;
  } finally {
    closeSync(fd);
  }
}

async function openLogOf(runtime: RuntimeDirectory, name: string): Promise<number> {
  try {
    return openSync(runtime.log(name), "r");
  } catch {
    const { client, sandbox } = await findSandbox(runtime, name); // says that there is none
    client.close();
    const why = sandbox.detached ? "its log is gone" : "it writes to the terminal that it was started in";
    throw new NetnsError("NOT_FOUND", `${name} has no log: ${why}`);
  }
}

async function isThere(runtime: RuntimeDirectory, name: string): Promise<boolean> {
  try {
    (await findSandbox(runtime, name)).client.close();
    return true;
  } catch {
    return false;
  }
}

function writeOut(bytes: Buffer): Promise<void> {
  return new Promise((resolve) => {
    process.stdout.write(bytes, () => resolve());
  });
}
