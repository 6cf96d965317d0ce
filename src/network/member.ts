/**
 * A member of a network: one sandbox, its link, its addresses and names, its published ports.
 *
 * Theory of operation. A member is made by Network.join() and ends in one of three ways: leave() is called, its link goes
 * down (the interface inside was removed, or the namespace has ended), or the network is closed. Then everything of it is gone:
 * its flows (the other side sees a reset), ports, spliced connections, names, addresses, its place in the switch, and the link,
 * whose number is free again. The other members notice nothing. `gone` settles when that is done.
 */
import type { TapOffloads } from "../link/tap.js";
import type { PublishSpec } from "../policy/config.js";
import type { InsideSockets } from "../publish/direct.js";
import type { OpenPort } from "../publish/listeners.js";
import type { Publisher } from "../publish/publisher.js";
import type { Sandbox } from "../sandbox/sandbox.js";
import type { OwnName } from "../services/own-names.js";
import type { PortWatch } from "../watch/port-watch.js";
import type { Address } from "../wire/address.js";
import type { Lease } from "./leases.js";

/** What a network wants of a sandbox that joins it: its first TAP queue is the network's. */
export type Joining = Pick<Sandbox, "taps" | "mac" | "socket" | "discard"> &
  Partial<Pick<Sandbox, "diagnosticSocket">> & {
    readonly offloads: TapOffloads;
  };

/** How a sandbox joins. */
export interface Membership {
  /** Under which the others find it, a label of a name (RFC 1123, 2.1); null: none. */
  readonly name: string | null;
  /** Of Network.lease(); the member's from now on, and given back when it leaves. */
  readonly lease: Lease;
  /** Of Network.openPorts(); default: none. */
  readonly ports?: Publisher;
  /** True: it reaches us and the outside, but no other member, and none reaches it. */
  readonly isolate?: boolean;
  /** Addresses of the host at which every TCP port is published that it listens on, at the same number; null: all addresses. */
  readonly automatic?: readonly (Address | null)[];
  /** More names of it, for all members. */
  readonly names?: readonly OwnName[];
}

/** How a member ended. */
export type Ending = "left" | "down" | "closed";

/** What a network does for its members. */
export interface MemberHost {
  drain(member: Member, milliseconds: number): Promise<void>;
  leave(member: Member): void;
  /** Settles when what was ordered until now has been carried out, or nothing will be any more. Never rejects. */
  settle(): Promise<void>;
}

export class Member {
  /** Number of its link; another's when it is gone. */
  readonly link: number;
  readonly name: string | null;
  readonly lease: Lease;
  /** 6 bytes. */
  readonly mac: Uint8Array;
  readonly isolated: boolean;
  /** All names of it that the network knows. */
  readonly names: readonly OwnName[];
  /** Sockets made inside its namespace. */
  readonly inside: InsideSockets;
  /** Settles when nothing of it is left in the network. Never rejects. */
  readonly gone: Promise<Ending>;
  readonly ports: Publisher;
  /** Tells on which TCP ports it listens. */
  readonly listening: PortWatch;
  readonly #host: MemberHost;
  #ended: (how: Ending) => void = () => {};
  #isGone = false;

  /** Network.join() makes members. */
  constructor(
    host: MemberHost,
    link: number,
    sandbox: Joining,
    membership: Membership,
    ports: Publisher,
    names: readonly OwnName[],
    listening: PortWatch,
  ) {
    this.#host = host;
    this.link = link;
    this.name = membership.name;
    this.lease = membership.lease;
    this.mac = sandbox.mac.slice(0, 6);
    this.isolated = membership.isolate === true;
    this.names = names;
    this.inside = sandbox;
    this.ports = ports;
    this.listening = listening;
    this.gone = new Promise((resolve) => {
      this.#ended = resolve;
    });
  }

  get isGone(): boolean {
    return this.#isGone;
  }

  /** Published ports with the host port that each got. */
  get published(): readonly OpenPort[] {
    return this.ports.ports;
  }

  /** Publishes one more port; host port 0: any free one. Throws a NetnsError: PORT_BUSY, NAMESPACE where the member is gone. */
  addPort(spec: PublishSpec): OpenPort {
    return this.ports.open([spec])[0];
  }

  /**
   * Publishes a port no more: nobody new is let in. TCP connections that were accepted stay until they end, UDP clients are
   * forgotten. Settles when others can have the host's port: true, or false where it was not one of `published`.
   */
  async removePort(port: OpenPort): Promise<boolean> {
    if (!this.ports.remove(port)) return false;
    await this.#host.settle();
    return true;
  }

  /**
   * Waits until everything that the member has sent is with the host's kernel, at most `milliseconds`. For use when its
   * command has ended and its namespace is still held: then every socket inside has been closed.
   */
  drain(milliseconds: number): Promise<void> {
    return this.#host.drain(this, milliseconds);
  }

  /** Ends it at once, with all that it has in the network; see above. Settles with `gone`. */
  async leave(): Promise<void> {
    this.#host.leave(this);
    await this.gone;
  }

  /** The network's to call: nothing is left. */
  end(how: Ending): void {
    this.#isGone = true;
    this.listening.close();
    this.#ended(how);
  }
}
