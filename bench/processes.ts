/**
 * Child processes of the bench: started, watched, measured and ended by their ids. Nothing is ever ended by name.
 */
import { type ChildProcessWithoutNullStreams, execFile, spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";

const run = promisify(execFile);
const STDERR_KEPT = 4096;
const TERM_GRACE_MS = 2000;

/** A started process that remembers the end of its stderr, so that a failure can be explained. */
export class Running {
  readonly child: ChildProcessWithoutNullStreams;
  readonly name: string;
  readonly exited: Promise<void>;
  #ended = false;
  #stderr = "";

  constructor(name: string, argv: readonly string[]) {
    const [file, ...args] = argv;
    if (file === undefined) throw new Error("nothing to start");
    this.name = name;
    // A process group of its own, so that what it leaves running can be ended with it.
    this.child = spawn(file, args, { stdio: "pipe", detached: true });
    this.child.stderr.setEncoding("utf8").on("data", (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-STDERR_KEPT);
    });
    // A program that has gone away closes its stdin; what it had to say is in stderr and in `exited`.
    this.child.stdin.on("error", () => {});
    this.exited = new Promise((resolve) => {
      const ended = () => {
        this.#ended = true;
        resolve();
      };
      this.child.once("exit", ended);
      this.child.once("error", (error) => {
        this.#stderr += error.message;
        ended();
      });
    });
  }

  get pid(): number {
    if (this.child.pid === undefined) throw this.failure("could not be started");
    return this.child.pid;
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** An error that says what this process said last. */
  failure(what: string): Error {
    const said = this.#stderr.trim().split("\n").slice(-3).join(" | ");
    return new Error(`${this.name} ${what}${said === "" ? "" : `: ${said}`}`);
  }

  /** Waits until stdout contains `text`. Rejects when the process ends or `ms` pass before that. */
  async says(text: string, ms: number): Promise<void> {
    let seen = "";
    const heard = new Promise<boolean>((resolve) => {
      this.child.stdout.setEncoding("utf8").on("data", (piece: string) => {
        seen += piece;
        if (seen.includes(text)) resolve(true);
      });
    });
    const result = await within(ms, Promise.race([heard, this.exited.then(() => false)]));
    if (result === true) return;
    throw this.failure(result === false ? "ended before it was ready" : `was not ready after ${ms} ms`);
  }

  /** The next whole line of stdout. Rejects when the process ends or `ms` pass before it. */
  async line(ms: number): Promise<string> {
    let seen = "";
    const read = new Promise<string>((resolve) => {
      this.child.stdout.setEncoding("utf8").on("data", (piece: string) => {
        seen += piece;
        if (seen.includes("\n")) resolve(seen.slice(0, seen.indexOf("\n")));
      });
    });
    const result = await within(ms, Promise.race([read, this.exited.then(() => null)]));
    if (typeof result === "string") return result;
    throw this.failure(result === null ? "ended too early" : `printed nothing for ${ms} ms`);
  }

  /** All of stdout, once the process has ended. Rejects when that takes longer than `ms`. */
  async output(ms: number): Promise<string> {
    let text = "";
    this.child.stdout.setEncoding("utf8").on("data", (piece: string) => {
      text += piece;
    });
    const closed = new Promise<true>((resolve) => this.child.stdout.once("close", () => resolve(true)));
    if ((await within(ms, closed)) === undefined) throw this.failure(`did not end within ${ms} ms`);
    await within(ms, this.exited);
    return text;
  }

  /** SIGTERM; then SIGKILL for what does not listen, and for what it left in its process group. Settles when the process is gone. */
  async stop(): Promise<void> {
    const { pid } = this.child;
    if (pid === undefined) return;
    if (!this.#ended) {
      this.child.stdin.end();
      this.child.kill("SIGTERM");
      await within(TERM_GRACE_MS, this.exited);
    }
    try {
      process.kill(-pid, "SIGKILL");
    } catch {
      // The whole group has ended, as it should.
    }
    await this.exited;
  }
}

/** The promise's value, or undefined when `ms` pass first. The timer does not keep the program alive. */
export async function within<T>(ms: number, promise: Promise<T>): Promise<T | undefined> {
  const timer = new AbortController();
  try {
    return await Promise.race([promise, delay(ms, undefined, { ref: true, signal: timer.signal })]);
  } finally {
    timer.abort();
  }
}

/** First line of what a program prints; null when there is no such program. */
export async function firstLine(file: string, args: readonly string[]): Promise<string | null> {
  try {
    const { stdout, stderr } = await run(file, args, { timeout: 10_000 });
    return `${stdout}${stderr}`.split("\n", 1)[0]?.trim() ?? "";
  } catch {
    return null;
  }
}

/** User and system time in seconds from the text of /proc/PID/stat (proc(5); the command's name may hold any character). */
export function parseCpuSeconds(stat: string, ticksPerSecond: number): number {
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const ticks = Number(fields[11]) + Number(fields[12]);
  if (!Number.isFinite(ticks)) throw new Error(`not the text of a /proc/PID/stat: ${stat.slice(0, 40)}`);
  return ticks / ticksPerSecond;
}

/** USER_HZ: 100 on every architecture that Node runs on. */
const TICKS_PER_SECOND = 100;

/** Processor time that these processes have used so far, all threads, in seconds. */
export function cpuSeconds(pids: readonly number[]): number {
  return pids.reduce(
    (sum, pid) => sum + parseCpuSeconds(readFileSync(`/proc/${pid}/stat`, "utf8"), TICKS_PER_SECOND),
    0,
  );
}

/** A process and all that descend from it now, except those of some names (as in /proc/PID/comm): a tool without its command. */
export function processTree(pid: number, except: readonly string[]): number[] {
  const read = (file: string) => readFileSync(`/proc/${pid}/${file}`, "utf8").trim();
  if (except.includes(read("comm"))) return [];
  // Of every thread: a program in Go starts others from any of its own.
  const threads = readdirSync(`/proc/${pid}/task`);
  const children = threads.flatMap((thread) => read(`task/${thread}/children`).split(" ").filter(Boolean).map(Number));
  return [pid, ...children.flatMap((child) => processTree(child, except))];
}

/** Resident memory of these processes, in bytes; what they share counts for each. */
export function residentBytes(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + parseResidentBytes(readFileSync(`/proc/${pid}/status`, "utf8")), 0);
}

/** VmRSS in bytes from the text of /proc/PID/status. */
export function parseResidentBytes(status: string): number {
  const kilobytes = /^VmRSS:\s*(\d+) kB$/m.exec(status)?.[1];
  if (kilobytes === undefined) throw new Error("no VmRSS in a /proc/PID/status: the process has ended");
  return Number(kilobytes) * 1024;
}

/** How often the threads of these processes have gone to sleep so far: what wakes up must have slept. */
export function sleeps(pids: readonly number[]): number {
  const statuses = pids.flatMap((pid) => {
    const threads = readdirSync(`/proc/${pid}/task`);
    return threads.map((thread) => readFileSync(`/proc/${pid}/task/${thread}/status`, "utf8"));
  });
  return statuses.reduce(
    (sum, status) => sum + Number(/^voluntary_ctxt_switches:\s*(\d+)$/m.exec(status)?.[1] ?? 0),
    0,
  );
}
