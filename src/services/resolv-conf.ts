/**
 * Where the host's resolvers stand written: its /etc/resolv.conf, opened by us as long as we may, and by a broker after that. A broker that has
 * no time for us changes nothing: what was read last holds until the next look.
 */
import type { Broker } from "../host/broker.js";
import { type ResolvConfFile, resolvConfFile } from "./resolvers.js";

export class HostResolvConf implements ResolvConfFile {
  readonly #file: ResolvConfFile;
  #broker: Pick<Broker, "resolvConf"> | null = null;
  /** What was read last. */
  #text = "";

  constructor(file: ResolvConfFile = resolvConfFile()) {
    this.#file = file;
    this.#remember(() => file.read());
  }

  /** From now on it is read through that one: this process may open no file any more. */
  readThrough(broker: Pick<Broker, "resolvConf">): void {
    this.#broker = broker;
  }

  /** A broker is not asked for times and sizes: the file is short, and its text tells for certain whether it is another. */
  stamp(): string | null {
    if (this.#broker === null) return this.#file.stamp();
    const broker = this.#broker;
    this.#remember(() => broker.resolvConf());
    return this.#text;
  }

  read(): string {
    return this.#broker === null ? this.#file.read() : this.#text;
  }

  #remember(read: () => string): void {
    try {
      this.#text = read();
    } catch {
      // There is none, or nobody who could say.
    }
  }
}
