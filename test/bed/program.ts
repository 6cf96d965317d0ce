/**
 * A program that runs in the bed, and what it printed. Every wait has an end: a program that does not answer in time is
 * killed, and the error shows what it printed until then.
 */
import type { ChildProcess } from "node:child_process";
import type { Readable } from "node:stream";

export interface Outcome {
  /** Exit code, or null when a signal ended it. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export type Stream = "stdout" | "stderr";

export class Program {
  readonly command: string;
  /** Process id as programs of the bed see it. */
  readonly pid: Promise<number>;
  readonly #child: ChildProcess;
  readonly #printed: Record<Stream, Buffer[]> = { stdout: [], stderr: [] };
  readonly #watchers = new Set<() => void>();
  readonly #exit: Promise<Outcome>;
  readonly #kill: (pid: number) => void;
  #ended = false;

  /** `child` announces its process id on descriptor 3, in a line. `kill` ends a process of the bed. */
  constructor(command: readonly string[], child: ChildProcess, kill: (pid: number) => void) {
    this.command = command.join(" ");
    this.#child = child;
    this.#kill = kill;
    for (const name of ["stdout", "stderr"] as const) {
      child[name]?.on("data", (chunk: Buffer) => {
        this.#printed[name].push(chunk);
        this.#wake();
      });
    }
    child.stdin?.on("error", () => {}); // A program that ends without reading its input is no error of ours.
    this.pid = announced(child.stdio[3] as Readable, this.command);
    this.pid.catch(() => {});
    this.#exit = new Promise((resolve, reject) => {
      child.on("error", reject);
      child.on("close", (code, signal) => {
        this.#ended = true;
        this.#wake();
        resolve({ code, signal, stdout: this.stdout, stderr: this.stderr });
      });
    });
    this.#exit.catch(() => {});
  }

  get stdout(): string {
    return Buffer.concat(this.#printed.stdout).toString();
  }

  get stderr(): string {
    return Buffer.concat(this.#printed.stderr).toString();
  }

  get ended(): boolean {
    return this.#ended;
  }

  write(text: string): void {
    this.#child.stdin?.write(text);
  }

  /** Closes the program's standard input. */
  end(text = ""): void {
    this.#child.stdin?.end(text);
  }

  /** Waits for a text in what the program prints. */
  async until(pattern: RegExp, within = 10_000, stream: Stream = "stdout"): Promise<RegExpMatchArray> {
    const deadline = Date.now() + within;
    for (;;) {
      const match = this[stream].match(pattern);
      if (match !== null) return match;
      const left = deadline - Date.now();
      if (this.#ended || left <= 0) throw new Error(this.#report(`did not print ${pattern} on ${stream}`, within));
      await this.#next(left);
    }
  }

  /** Waits for the end of the program. */
  async exit(within = 30_000): Promise<Outcome> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        this.pid.then(this.#kill, () => {});
        reject(new Error(this.#report("did not end", within)));
      }, within);
    });
    try {
      return await Promise.race([this.#exit, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Waits for an end with exit code 0 and gives what was printed on standard output. */
  async succeed(within = 30_000): Promise<string> {
    const { code, signal, stdout } = await this.exit(within);
    if (code !== 0) throw new Error(this.#report(`ended with ${signal ?? code}`, within));
    return stdout;
  }

  #report(what: string, within: number): string {
    const tail = (text: string) => (text.length > 4000 ? `...${text.slice(-4000)}` : text);
    return `${this.command}: ${what} (${within} ms allowed)\n--- stdout\n${tail(this.stdout)}\n--- stderr\n${tail(this.stderr)}`;
  }

  #next(within: number): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.#watchers.delete(done);
        resolve();
      };
      const timer = setTimeout(done, within);
      this.#watchers.add(done);
    });
  }

  #wake(): void {
    for (const wake of [...this.#watchers]) wake();
  }
}

function announced(stream: Readable, command: string): Promise<number> {
  return new Promise((resolve, reject) => {
    let text = "";
    stream.on("data", (chunk: Buffer) => {
      text += chunk.toString();
      if (text.includes("\n")) resolve(Number.parseInt(text, 10));
    });
    stream.on("error", reject);
    stream.on("close", () => reject(new Error(`${command}: did not start`)));
  });
}
