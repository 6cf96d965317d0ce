/**
 * Tells the log of every refusal of another policy, one line each: what `--verbose` shows.
 *
 * Bounded, since whoever is inside can have as much refused as it likes: LINES_PER_SECOND, and then how many were left out.
 */
import type { Clock } from "../flow/clock.js";
import { type Address, formatAddress, isIPv4 } from "../wire/address.js";
import type { Log } from "./config.js";
import { LineLimit } from "./line-limit.js";
import type { Policy, Protocol, Verdict } from "./policy.js";

export class LoggedPolicy implements Policy {
  readonly #policy: Policy;
  readonly #log: Log;
  readonly #limit: LineLimit;

  constructor(policy: Policy, log: Log, clock: Clock) {
    this.#policy = policy;
    this.#log = log;
    this.#limit = new LineLimit(
      () => clock.now(),
      (lines) => log.info(`refused ${lines} more, not told one by one`),
    );
  }

  outbound(protocol: Protocol, source: Address, destination: Address, port: number): Verdict {
    const verdict = this.#policy.outbound(protocol, source, destination, port);
    if (verdict.kind === "refuse" && this.#limit.mayTell()) {
      const to = protocol === "icmp" ? formatAddress(destination) : formatTarget(destination, port);
      const line = `refused ${protocol} from ${formatAddress(source)} to ${to}: ${verdict.counter}`;
      this.#log.info(line, { protocol, counter: verdict.counter });
    }
    return verdict;
  }
}

function formatTarget(address: Address, port: number): string {
  const text = formatAddress(address);
  return isIPv4(address) ? `${text}:${port}` : `[${text}]:${port}`;
}
