/**
 * Publishes every TCP port on which a sandbox listens, at the same number on the host, for as long as it listens:
 * `--publish auto` and `--host-ip`.
 *
 * Theory of operation. After every look of the watch (port-watch.ts), what is open and not listened on any more is closed, and
 * what is listened on and not open is tried. A port that the host refuses (busy, below 1024, no such address) is told once with
 * the reason, and tried again every RETRY_MS while the program listens; when it has stopped and listens again, that is told anew.
 * A port that was published by hand to the same number is left alone: it is there already.
 *
 * TCP only. A TCP server says what it is by listen(). A UDP server only binds, as many clients do: DHCP's at 68, NTP's at 123,
 * a resolver's at any port; and what is opened to everybody by a guess would be theirs.
 *
 * Bounds: MAX_OPEN ports at once; that there are more is told once. LINES_PER_SECOND of the log (policy/line-limit.ts).
 */
import { NetnsError } from "../errors.js";
import type { Log, PublishSpec } from "../policy/config.js";
import { LineLimit } from "../policy/line-limit.js";
import type { OpenPort } from "../publish/listeners.js";
import { type Address, equalAddress } from "../wire/address.js";

/** Of one place on the host. */
export const MAX_OPEN = 1024;
const RETRY_MS = 1000;

/** Opens and closes published ports of a sandbox that runs. */
export interface PortOpener {
  /** Throws a NetnsError (PORT_BUSY). */
  addPort(spec: PublishSpec): OpenPort;
  removePort(port: OpenPort): unknown;
  /** All that are open now. */
  readonly published: readonly OpenPort[];
}

export interface AutoPublishOptions {
  /** Where on the host; null: at all of its addresses. */
  readonly host: Address | null;
  readonly ports: PortOpener;
  readonly log: Log;
  /** Milliseconds, of any beginning. */
  readonly now: () => number;
}

export class AutoPublish {
  readonly #options: AutoPublishOptions;
  readonly #open = new Map<number, OpenPort>();
  /** Ports that the host refused, and when to try again. */
  readonly #refused = new Map<number, number>();
  readonly #limit: LineLimit;
  #toldLimit = false;

  constructor(options: AutoPublishOptions) {
    this.#options = options;
    this.#limit = new LineLimit(options.now, (lines) =>
      options.log.warn(`${lines} more ports came or went, not told one by one`),
    );
  }

  /** For PortWatch.watch(). */
  readonly look = (listening: ReadonlySet<number>): void => {
    const { ports } = this.#options;
    for (const [port, open] of this.#open) {
      if (listening.has(port)) continue;
      ports.removePort(open);
      this.#open.delete(port);
      this.#tell("info", `port ${port}: the sandbox does not listen any more, closed on the host`);
    }
    for (const port of this.#refused.keys()) if (!listening.has(port)) this.#refused.delete(port);
    for (const port of listening) if (!this.#open.has(port)) this.#try(port);
  };

  #try(port: number): void {
    const { host, ports, log, now } = this.#options;
    const again = this.#refused.get(port);
    if (again !== undefined && now() < again) return;
    if (this.#open.size >= MAX_OPEN) {
      if (!this.#toldLimit) log.warn(`the sandbox listens on more than ${MAX_OPEN} ports: the rest is not published`);
      this.#toldLimit = true;
      return;
    }
    if (this.#byHand(port)) return;
    try {
      this.#open.set(port, ports.addPort({ protocol: "tcp", host, hostPort: port, insidePort: port }));
      this.#refused.delete(port);
      this.#tell("info", `port ${port}: the sandbox listens, opened on the host`);
    } catch (error) {
      if (!(error instanceof NetnsError)) throw error;
      if (error.code === "NAMESPACE") return; // the sandbox has ended just now
      if (again === undefined) {
        this.#tell("warn", `${reason(error)}; it is tried again for as long as the sandbox listens there`);
      }
      this.#refused.set(port, now() + RETRY_MS);
    }
  }

  #tell(level: "info" | "warn", line: string): void {
    if (this.#limit.mayTell()) this.#options.log[level](line);
  }

  #byHand(port: number): boolean {
    const { host, ports } = this.#options;
    return ports.published.some(
      ({ spec, port: hostPort }) =>
        spec.protocol === "tcp" &&
        spec.insidePort === port &&
        hostPort === port &&
        (spec.host === null || host === null || equalAddress(spec.host, host)),
    );
  }
}

/** What was wrong, without the advice to choose another port: there is nothing to choose. */
function reason({ message }: NetnsError): string {
  return message.split("; ")[0];
}
