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

  /** What a program prints until it ends, stdout and stderr. It is ended with the shell, and after `seconds`, which rejects. */
  async output(argv: readonly string[], seconds: number): Promise<string> {
    const bounded = ["setpriv", "--pdeathsig", "TERM", "timeout", "--foreground", "-k", "1", `${seconds}`, ...argv];
    const { status, stdout } = await this.run(`${bounded.join(" ")} 2>&1`, (seconds + 3) * 1000);
    if (status === 124 || status === 137) throw new Error(`${argv[0]} did not end within ${seconds} s`);
    return stdout;
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

/** Waits until something listens on a TCP port of the shell's namespace, IPv4. Rejects with `why` after five seconds. */
export async function awaitListener(shell: Shell, port: number, why: () => Error): Promise<void> {
  const local = `:${port.toString(16).toUpperCase().padStart(4, "0")} 00000000:0000 0A`;
  const script = `for try in $(seq 250); do grep -q "${local}" /proc/net/tcp && break; sleep 0.02; done; [ $try != 250 ]`;
  if ((await shell.run(script)).status !== 0) throw why();
}

/** Starts a server inside and calls `use` once it listens on a TCP port there; then ends it. Its words are kept in `log`. */
export async function servingInside<T>(
  shell: Shell,
  argv: readonly string[],
  port: number,
  log: string,
  use: () => Promise<T>,
): Promise<T> {
  const pid = Number(await shell.must(`setpriv --pdeathsig KILL ${argv.join(" ")} </dev/null >${log} 2>&1 & echo $!`));
  try {
    await awaitListener(shell, port, () => new Error(`${argv[0]} does not listen inside`));
    return await use();
  } finally {
    await shell.run(`kill -9 ${pid}; wait ${pid} 2>/dev/null`);
  }
}
