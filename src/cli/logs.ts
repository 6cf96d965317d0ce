/** `logs`: what a detached command wrote; kept when it has ended, until `rm`, `prune`, or another sandbox of its name. */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { findSandbox, inventory } from "../control/directory.js";
import { type RuntimeDirectory, runtimeDirectory } from "../control/runtime.js";
import { NetnsError } from "../errors.js";
import { native } from "../native/binding.js";

const STDOUT = 1;
const LOOK_MS = 100;
const CHUNK = 65_536;
/** By so many bytes a place in the log is found again. */
const REMEMBERED = 4096;

export async function logs(name: string, options: { follow?: boolean | undefined }): Promise<number> {
  const runtime = runtimeDirectory();
  const fd = await openLogOf(runtime, name);
  try {
    let at = 0;
    let last: Buffer = Buffer.alloc(0);
    const writeNew = async () => {
      for (;;) {
        at = goOnAt(fd, at, last);
        last = last.subarray(Math.max(0, last.length - at)); // what is there of it before that place
        const bytes = Buffer.alloc(CHUNK);
        const length = readSync(fd, bytes, 0, CHUNK, at);
        if (length === 0) return;
        const read = bytes.subarray(0, length);
        at += length;
        last = Buffer.concat([last, read]).subarray(-REMEMBERED);
        await writeOut(read);
      }
    };
    process.stdout.on("error", () => {}); // whoever writes hears of it
    await writeNew();
    while (options.follow && (await isThere(runtime, name))) {
      for (let looks = 0; looks < 10; looks++) {
        if (native().hasReaderGone(STDOUT)) return 0;
        await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
        await writeNew();
      }
    }
    if (options.follow) {
      // What was on its way to the log when the sandbox went.
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
      await writeNew();
    }
    return 0;
  } catch (error) {
    if (!(error instanceof Error && "code" in error) || error instanceof NetnsError) throw error;
    if (error.code === "EPIPE") return 0; // it has seen enough
    throw new NetnsError("HOST_LACKS", `logs ${name}: cannot be read or shown (${error.code}); see errno(3)`);
  } finally {
    closeSync(fd);
  }
}

/**
 * Where to go on in a log that was read up to `at`, the last bytes of which were `last`. Its older half may have been dropped meanwhile,
 * so that they are elsewhere now, or not there any more.
 */
function goOnAt(fd: number, at: number, last: Buffer): number {
  if (readAt(fd, at - last.length, last.length).equals(last)) return at;
  const whole = readAt(fd, 0, fstatSync(fd).size);
  const found = whole.lastIndexOf(last);
  if (found >= 0) return found + last.length;
  // Of what was read, only the end may be left.
  let length = Math.min(last.length, whole.length);
  while (length > 0 && !whole.subarray(0, length).equals(last.subarray(last.length - length))) length--;
  return length;
}

function readAt(fd: number, at: number, most: number): Buffer {
  const bytes = Buffer.alloc(most);
  return bytes.subarray(0, most === 0 ? 0 : readSync(fd, bytes, 0, most, at));
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

/** Whether the sandbox is there, or may be: a server that does not answer just now may hold it. */
async function isThere(runtime: RuntimeDirectory, name: string): Promise<boolean> {
  const { found, silent } = await inventory(runtime);
  return (
    found.some(({ sandboxes }) => sandboxes.some((each) => each.name === name)) ||
    silent.some((each) => each.kind === "network" || each.name === name)
  );
}

function writeOut(bytes: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.write(bytes, (error) => (error ? reject(error) : resolve()));
  });
}
