/**
 * Confines a process of ours, in which a network runs: native/engine/confine.cc says what it gives up, docs/decisions/confinement.md why.
 * Never that of a program that imports us.
 */
import { getSystemErrorName } from "node:util";
import { unlinkIfThere } from "../control/directory.js";
import { Broker } from "../host/broker.js";
import { native } from "../native/binding.js";
import type { Log } from "../policy/config.js";
import { startBroker } from "../sandbox/broker-process.js";
import type { HostResolvConf } from "../services/resolv-conf.js";

export interface ConfineWish {
  /** False (`--no-confine`): this process keeps what its user may do. */
  readonly confine?: boolean | undefined;
}

/**
 * From now on, for good. Everything that is loaded, opened or started has to be so before; what comes after it can do without,
 * or asks the broker. Where the kernel does not let us, we go on without, and say so.
 * @param channel a socket to a broker (Sandbox.broker, startBroker)
 * @param resolvConf is read through the broker then
 * @returns that broker, or null where we are not confined
 */
export function confine(channel: number, resolvConf: HostResolvConf, log: Log): Broker | null {
  const result = native().confine();
  if (result !== 0) {
    log.info(`this process is not confined (${getSystemErrorName(result)}): netns-rootless doctor tells why`);
    return null;
  }
  const broker = new Broker(channel);
  resolvConf.readThrough(broker);
  return broker;
}

/** The same for a process that listens at a socket in the file system, and what removes that at its end. */
export function confineServer(
  { confine: wished }: ConfineWish,
  socket: string,
  lock: string,
  resolvConf: HostResolvConf,
  log: Log,
): () => void {
  const broker = wished === false ? null : confine(startBroker({ sockets: [socket], lock }), resolvConf, log);
  return () => (broker === null ? unlinkIfThere(socket) : broker.removeSockets());
}
