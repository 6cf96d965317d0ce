/** Where the host's resolvers stand written: its /etc/resolv.conf, opened by us as long as we may, and by a broker after that. */
import type { Broker } from "../host/broker.js";
import { type ResolvConfFile, resolvConfFile } from "./resolvers.js";

export class HostResolvConf implements ResolvConfFile {
  readonly #file = resolvConfFile();
  #broker: Broker | null = null;
  /** What the broker said last. */
  #text = "";

  /** From now on it is read through that one: this process may open no file any more. */
  readThrough(broker: Broker): void {
    this.#broker = broker;
  }

  /** A broker is not asked for times and sizes: the file is short, and its text tells for certain whether it is another. */
  stamp(): string | null {
    if (this.#broker === null) return this.#file.stamp();
    this.#text = this.#broker.resolvConf();
    return this.#text;
  }

  read(): string {
    return this.#broker === null ? this.#file.read() : this.#text;
  }
}
