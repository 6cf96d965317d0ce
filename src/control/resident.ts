/**
 * A sandbox that a server holds: a launcher that was handed to it, its place in the network, and its end.
 *
 *     admitting ──▶ running ──(the command, or init, has ended)──▶ draining ──▶ gone
 *                      └──── remove(): killed, nothing is waited for ───────────▲
 *
 * Whatever ends first, the launcher, the link or the network, the rest goes with it. `ended` settles when nothing is left.
 */
import type { Lease } from "../network/leases.js";
import type { Member } from "../network/member.js";
import type { Network } from "../network/network.js";
import type { Log } from "../policy/config.js";
import type { ExitStatus, Sandbox } from "../sandbox/sandbox.js";
import { formatAddress } from "../wire/address.js";
import type { JoinRequest, PortInfo, SandboxInfo } from "./messages.js";

const DRAIN_MS = 10_000;

export interface ResidentParts {
  readonly wish: JoinRequest;
  readonly hostname: string;
  /** Of the network; null: a network of its own. */
  readonly networkName: string | null;
  readonly network: Network;
  readonly sandbox: Sandbox;
  readonly member: Member;
  readonly log: Log;
}

export class Resident {
  /** Settles when nothing of it is left, with how the command ended. Never rejects. */
  readonly ended: Promise<ExitStatus>;
  readonly member: Member;
  readonly name: string;
  readonly #parts: ResidentParts;
  readonly #since = Date.now();
  #hurry: () => void = () => {};
  readonly #hurried: Promise<void>;
  #exited = false;

  constructor(parts: ResidentParts) {
    this.#parts = parts;
    this.member = parts.member;
    this.name = parts.wish.name;
    this.#hurried = new Promise((resolve) => {
      this.#hurry = resolve;
    });
    this.ended = this.#untilEnd();
  }

  /** Hands a signal to the command; one that comes when that has ended stops the wait for what it sent. */
  signal(signal: NodeJS.Signals, fromTerminal: boolean): void {
    if (this.#exited) this.#hurry();
    else this.#parts.sandbox.signal(signal, fromTerminal);
  }

  /** Ends it with all that runs inside, now. Settles with `ended`. */
  async remove(): Promise<void> {
    this.#hurry();
    await this.ended;
  }

  info(): SandboxInfo {
    const { wish, sandbox, member, networkName, hostname } = this.#parts;
    return {
      name: wish.name,
      network: networkName,
      init: sandbox.init,
      addresses: addresses(member.lease),
      mac: Array.from(member.mac, (byte) => byte.toString(16).padStart(2, "0")).join(":"),
      hostname,
      isolated: member.isolated,
      ports: member.published.map(
        ({ spec, address, port }): PortInfo => ({
          protocol: spec.protocol,
          address: formatAddress(address),
          port,
          insidePort: spec.insidePort,
        }),
      ),
      command: wish.command,
      detached: wish.detach,
      since: this.#since,
    };
  }

  async #untilEnd(): Promise<ExitStatus> {
    const { sandbox, member, network, log, wish } = this.#parts;
    let status: ExitStatus = { code: null, signal: 9 };
    try {
      const exited = await Promise.race([sandbox.exited, this.#hurried.then(() => null), network.failed]);
      this.#exited = true;
      if (exited !== null) {
        status = exited;
        await Promise.race([member.drain(DRAIN_MS), this.#hurried, network.failed]);
      }
    } catch (error) {
      log.error(`${wish.name}: ${error instanceof Error ? error.message : String(error)}`);
    }
    this.#exited = true;
    await member.leave();
    await sandbox.release();
    return status;
  }
}

function addresses({ v4, v6 }: Lease): string[] {
  return [v4, v6].filter((address) => address !== null).map((address) => formatAddress(address));
}
