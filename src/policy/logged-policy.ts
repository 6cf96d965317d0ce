/**
 * Tells the log of every refusal of another policy, one line each: what `--verbose` shows.
 *
 * Bounded, since whoever is inside can have as much refused as it likes: LINES_PER_SECOND, and then how many were left out.
 */
import type { Clock } from "../flow/clock.js";
import { type Address, formatAddress, isIPv4 } from "../wire/address.js";
import type { Log } from "./config.js";
import type { Policy, Protocol, Verdict } from "./policy.js";

export const LINES_PER_SECOND = 20;

export class LoggedPolicy implements Policy {
  readonly #policy: Policy;
  readonly #log: Log;
  readonly #clock: Clock;
  #second = 0;
  #lines = 0;

  constructor(policy: Policy, log: Log, clock: Clock) {
    this.#policy = policy;
    this.#log = log;
    this.#clock = clock;
  }

  outbound(protocol: Protocol, source: Address, destination: Address, port: number): Verdict {
    const verdict = this.#policy.outbound(protocol, source, destination, port);
    if (verdict.kind === "refuse" && this.#mayTell()) {
      const to = protocol === "icmp" ? formatAddress(destination) : formatTarget(destination, port);
      const line = `refused ${protocol} from ${formatAddress(source)} to ${to}: ${verdict.counter}`;
      this.#log.info(line, { protocol, counter: verdict.counter });
    }
    return verdict;
  }

  #mayTell(): boolean {
    const second = Math.floor(this.#clock.now() / 1000);
    if (second !== this.#second) {
      const leftOut = this.#lines - LINES_PER_SECOND;
      if (leftOut > 0) this.#log.info(`refused ${leftOut} more, not told one by one`);
      this.#second = second;
      this.#lines = 0;
    }
    this.#lines++;
    return this.#lines <= LINES_PER_SECOND;
  }
}

function formatTarget(address: Address, port: number): string {
  const text = formatAddress(address);
  return isIPv4(address) ? `${text}:${port}` : `[${text}]:${port}`;
}
