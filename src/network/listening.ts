/** What a member's sandbox listens on: how it is learned (watch/), and that it is published by itself. */
import type { Counters } from "../flow/counters.js";
import { native } from "../native/binding.js";
import type { Log } from "../policy/config.js";
import { AutoPublish } from "../watch/auto-publish.js";
import { Listeners } from "../watch/listeners.js";
import { PortWatch } from "../watch/port-watch.js";
import type { Address } from "../wire/address.js";
import type { Lease } from "./leases.js";
import type { Joining, Member } from "./member.js";

/** Costs nothing until somebody watches. */
export function watchPorts(sandbox: Joining, { v4, v6 }: Lease, counters: Counters): PortWatch {
  return new PortWatch({
    addresses: [v4, v6].filter((address) => address !== null),
    counters,
    open: async () => {
      const fd = await sandbox.diagnosticSocket?.();
      if (fd === undefined) throw new Error("this sandbox gives no such socket");
      const listeners = new Listeners(fd, native());
      return { read: () => listeners.read(), close: () => sandbox.discard(fd) };
    },
    every: (milliseconds, call) => {
      const timer = setInterval(call, milliseconds);
      timer.unref();
      return () => clearInterval(timer);
    },
  });
}

/** Publishes every TCP port that the member listens on, at the same number of `host` (null: all addresses), until it ends. */
export function publishListening(member: Member, host: Address | null, log: Log): void {
  const now = (): number => process.uptime() * 1000; // the network's clock stands still while nothing happens
  member.listening.watch(new AutoPublish({ host, ports: member, log, now }).look);
}
