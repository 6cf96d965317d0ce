/**
 * A shell that lives in a namespace and runs one script after the other, so that a namespace is entered once and not per
 * measurement. Each script is followed by a line with a marker and its exit status; a shell ends when its stdin does, thus
 * also when the bench is killed.
 */
import { type Running, within } from "./processes.js";

export interface Finished {
  readonly status: number;
  readonly stdout: string;
}

const MARKER = "__netns_bench_done__";

export class Shell {
  readonly #running: Running;
  #output = "";
  #notify: () => void = () => {};

  /** `running` is a process whose stdin and stdout are those of a `sh`. */
  constructor(running: Running) {
    this.#running = running;
    running.child.stdout.setEncoding("utf8").on("data", (text: string) => {
      this.#output += text;
      this.#notify();
    });
  }

  /** Runs a script, one at a time, without stdin. Rejects when the shell ends, or when `ms` pass (then the shell is of no more use). */
  async run(script: string, ms = 10_000): Promise<Finished> {
    this.#output = "";
    this.#running.child.stdin.write(`{ ${script}\n} </dev/null\nprintf '\\n${MARKER} %s\\n' $?\n`);
    const done = new Promise<Finished>((resolve) => {
      this.#notify = () => {
        const finished = parseOutput(this.#output);
        if (finished !== null) resolve(finished);
      };
    });
    const result = await within(ms, Promise.race([done, this.#running.exited.then(() => null)]));
    if (result === undefined)
      throw this.#running.failure(`did not finish within ${ms} ms: ${script.split("\n", 1)[0]}`);
    if (result === null) throw this.#running.failure("ended too early");
    return result;
  }

  /** Runs a script that must succeed and returns what it printed. */
  async must(script: string, ms?: number): Promise<string> {
    const { status, stdout } = await this.run(script, ms);
    if (status !== 0) throw this.#running.failure(`failed with ${status} at: ${script.split("\n", 1)[0]}`);
    return stdout;
  }
}

/** What a script printed, once the line with its status has arrived; else null. */
export function parseOutput(output: string): Finished | null {
  const match = new RegExp(`\\n${MARKER} (\\d+)\\n$`).exec(output);
  return match === null ? null : { status: Number(match[1]), stdout: output.slice(0, match.index) };
}
