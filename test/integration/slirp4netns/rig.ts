/**
 * One suite for two programs: Debian's slirp4netns, which says what is right, and ours in its place. A test asks for a namespace
 * that somebody has made, for one of the programs as its network, and looks from inside.
 */
import { setTimeout as sleep } from "node:timers/promises";
import test, { type ExecutionContext } from "ava";
import { Bed, eventually, MAIN, PROGRAMS, type ProgramOptions } from "../../bed/bed.js";
import type { Outcome, Program } from "../../bed/program.js";

export interface Slirp {
  readonly name: "slirp4netns" | "netns-rootless";
  readonly command: readonly string[];
}

export const REAL: Slirp = { name: "slirp4netns", command: ["slirp4netns"] };
export const OURS: Slirp = { name: "netns-rootless", command: [...MAIN, "slirp4netns"] };
export const BOTH: readonly Slirp[] = [REAL, OURS];

/** A test for each of the programs, with a bed of its own. */
export function forBoth(
  title: string,
  body: (t: ExecutionContext, slirp: Slirp, bed: Bed) => Promise<void>,
  programs: readonly Slirp[] = BOTH,
): void {
  for (const slirp of programs) {
    test.serial(`${slirp.name}: ${title}`, async (t) => {
      await body(t, slirp, await Bed.create(t));
    });
  }
}

/** A namespace of the bed's host, with its own user namespace, that a process holds. */
export class Namespace {
  readonly pid: number;
  readonly holder: Program;
  readonly #bed: Bed;

  private constructor(bed: Bed, holder: Program, pid: number) {
    this.#bed = bed;
    this.holder = holder;
    this.pid = pid;
  }

  static async create(bed: Bed): Promise<Namespace> {
    const holder = bed.host(["unshare", "--user", "--map-root-user", "--net", "--mount", "sleep", "4711"]);
    const pid = await holder.pid;
    await eventually(5000, "unshare has made no namespace", async () =>
      (await bed.admin(`cat /proc/${pid}/comm`)).includes("sleep"),
    );
    return new Namespace(bed, holder, pid);
  }

  /** Starts a program inside, as root there. */
  start(command: readonly string[], options: ProgramOptions = {}): Program {
    const enter = ["nsenter", "--preserve-credentials", "-U", "-n", "-m", "-t", String(this.pid), "--"];
    return this.#bed.host([...enter, ...command], { input: "", ...options });
  }

  /** Runs a shell script inside to its end, and gives its output. */
  run(script: string): Promise<string> {
    return this.start(["bash", "-ec", script]).succeed();
  }
}

/** One of the programs while it serves a namespace. */
export class Serving {
  readonly program: Program;
  readonly #bed: Bed;

  private constructor(bed: Bed, program: Program) {
    this.#bed = bed;
    this.program = program;
  }

  /** Starts it with these arguments and waits until it says that it is ready. */
  static async start(bed: Bed, slirp: Slirp, args: readonly (string | number)[]): Promise<Serving> {
    const words = [...slirp.command, "--ready-fd=READY", "--exit-fd=EXIT", ...args.map(String)];
    const program = bed.host(["python3", "-u", `${PROGRAMS}/descriptors.py`, ...words]);
    const serving = new Serving(bed, program);
    await program.until(/^ready 1$/m, 20_000);
    return serving;
  }

  /** Closes the exit descriptor and waits for the end, which gives the exit code. */
  async hangUp(): Promise<number> {
    this.program.write("hangup\n");
    return this.ended();
  }

  /** Waits for its end; negative: the signal that it died of. */
  async ended(): Promise<number> {
    const [, status] = await this.program.until(/^ended (-?\d+)$/m, 20_000);
    return Number(status);
  }

  async kill(signal: number): Promise<number> {
    this.program.write(`kill ${signal}\n`);
    return this.ended();
  }

  /** True if it still serves after a while in which it would have ended. */
  async goesOn(milliseconds = 300): Promise<boolean> {
    await sleep(milliseconds);
    return !/^ended/m.test(this.program.stdout);
  }

  /** One request over the API, as the manual has it: sent, half-closed, read to the end. */
  async ask(path: string, request: unknown): Promise<unknown> {
    const text = typeof request === "string" ? request : JSON.stringify(request);
    return JSON.parse(await this.#bed.host(["nc", "-N", "-w5", "-U", path], { input: text }).succeed());
  }
}

/** Starts one of the programs with what it is to refuse, and waits for its end. */
export function refused(bed: Bed, slirp: Slirp, args: readonly (string | number)[]): Promise<Outcome> {
  return bed.host([...slirp.command, ...args.map(String)], { input: "" }).exit(20_000);
}
