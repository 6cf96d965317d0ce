/**
 * Captures that clients ask a server for: of one sandbox or of all, into a descriptor of theirs.
 *
 *     capture        begins at once (a part says so), and is answered with how it went when it has ended
 *     capture-stop   ends those of the same connection
 *
 * A capture of one sandbox ends with that; every one ends with its connection, unless it `stays`, and with the server. One may be
 * asked for before its sandbox is there, so that it misses nothing; if then none comes, it ends with its connection. Bounds: MOST at once, since each has buffers of some megabytes.
 */
import { CaptureFilter } from "../capture/filter.js";
import type { CaptureSummary } from "../capture/recorder.js";
import { type RunningCapture, startCapture } from "../capture/session.js";
import { NetnsError } from "../errors.js";
import { native } from "../native/binding.js";
import type { Network } from "../network/network.js";
import type { Peer } from "./listener.js";
import type { Resident } from "./resident.js";

const MOST = 32;

/** What a server says of a capture that has ended. */
export interface CaptureReport extends Omit<CaptureSummary, "error"> {
  /** Why the output failed: a code of errno(3), or a text; null: it did not. */
  readonly error: string | null;
}

export class CaptureDesk {
  readonly #network: Network;
  readonly #residents: () => readonly Resident[];
  /** With the end of the connection that asked for it, by which it is known. */
  readonly #running = new Map<RunningCapture, Promise<void>>();
  /** Captures that wait for their sandbox, by its name. */
  readonly #waiting = new Map<string, Set<RunningCapture>>();

  constructor(network: Network, residents: () => readonly Resident[]) {
    this.#network = network;
    this.#residents = residents;
  }

  async begin(fields: Readonly<Record<string, unknown>>, peer: Peer, fds: readonly number[]): Promise<CaptureReport> {
    const [fd, ...others] = fds;
    for (const other of others) native().closeFd(other);
    if (fd === undefined) throw new NetnsError("INTERNAL", "no descriptor came with the request");
    let capture: RunningCapture;
    let name: string | null;
    try {
      name = fields.name === null ? null : String(fields.name);
      if (this.#running.size >= MOST) {
        throw new NetnsError("HOST_LACKS", `there are ${MOST} captures of this network already; end one of them`);
      }
      if (name !== null && fields.awaits !== true && this.#find(name) === undefined) {
        throw new NetnsError("NOT_FOUND", `no sandbox is called ${name} (any more)`);
      }
      capture = startCapture(this.#network, {
        fd,
        nameOf: this.#naming(name),
        filter: typeof fields.filter === "string" ? new CaptureFilter(fields.filter) : null,
        split: fields.split === true,
        snapLength: natural(fields.snapLength),
        count: natural(fields.count),
      });
    } catch (error) {
      native().closeFd(fd);
      throw error;
    }
    this.#running.set(capture, peer.gone);
    if (fields.stays !== true) peer.gone.then(() => capture.stop());
    if (name !== null) this.#endWith(name, capture, peer);
    peer.part({ capturing: true });
    const { error, ...summary } = await capture.ended;
    this.#running.delete(capture);
    return { ...summary, error: error && ("code" in error ? String(error.code) : error.message) };
  }

  /** Ends those of a connection. */
  stopOf(peer: Peer): void {
    for (const [capture, gone] of this.#running) if (gone === peer.gone) capture.stop();
  }

  /** A sandbox has come. */
  arrived(resident: Resident): void {
    const captures = this.#waiting.get(resident.name);
    this.#waiting.delete(resident.name);
    for (const capture of captures ?? []) resident.ended.then(() => capture.stop());
    captures?.clear();
  }

  /** Ends all. Settles when their last packets are written, which their readers may take a while for. */
  async stopAll(): Promise<void> {
    await Promise.all(Array.from(this.#running.keys(), (capture) => capture.stop()));
  }

  #endWith(name: string, capture: RunningCapture, peer: Peer): void {
    const resident = this.#find(name);
    if (resident !== undefined) {
      resident.ended.then(() => capture.stop());
      return;
    }
    const waiting = this.#waiting.get(name) ?? new Set();
    this.#waiting.set(name, waiting.add(capture));
    peer.gone.then(() => {
      if (waiting.has(capture)) capture.stop();
    });
    capture.ended.then(() => {
      waiting.delete(capture);
      if (waiting.size === 0 && this.#waiting.get(name) === waiting) this.#waiting.delete(name);
    });
  }

  #find(name: string): Resident | undefined {
    return this.#residents().find((each) => each.name === name);
  }

  /** Whose frames those of a link are: the sandbox's name; null where they are not wanted. Asked for every frame. */
  #naming(only: string | null): (link: number) => string | null {
    const known: (Resident | undefined)[] = [];
    return (link) => {
      let resident = known[link];
      if (resident === undefined || resident.member.isGone) {
        resident = this.#residents().find(({ member }) => member.link === link && !member.isGone);
        known[link] = resident;
      }
      return resident !== undefined && (only === null || resident.name === only) ? resident.name : null;
    };
  }
}

function natural(value: unknown): number {
  return typeof value === "number" && Number.isInteger(value) && value > 0 ? value : 0;
}
