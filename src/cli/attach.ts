/** `attach`: a network for a namespace that exists already, until that ends or a signal comes. */
import { attach as attachTo } from "../sandbox/attach.js";
import { HostResolvConf } from "../services/resolv-conf.js";
import { formatAddress } from "../wire/address.js";
import { type ConfineWish, confine } from "./confinement.js";
import { LOAD } from "./load.js";
import { type LogOptions, openLog, tell } from "./log.js";
import { type NetworkSettings, type NetworkWishes, nameserver, networkSettings, parseTarget } from "./options.js";
import { tellCounters, tellPublished } from "./run.js";
import { openSession } from "./session.js";
import { catchSignals } from "./signals.js";

export interface AttachWishes extends NetworkWishes, LogOptions, ConfineWish {}

const DRAIN_MS = 1000;

/** Returns 0 when the namespace has ended, or when a signal told us to. Throws a NetnsError when a part of ours failed. */
export async function attach(target: string, wishes: AttachWishes): Promise<number> {
  const settings = networkSettings(wishes);
  const where = parseTarget(target);
  const log = await openLog(wishes);
  let stop = () => {};
  const stopped = new Promise<void>((resolve) => {
    stop = resolve;
  });
  const release = catchSignals(() => stop());
  try {
    const resolvConf = new HostResolvConf();
    const session = await openSession(settings, (inside) => attachTo(where, inside), log, {
      ...LOAD,
      resolvConf,
    });
    try {
      tellPublished(session.network, log, wishes.quiet === true);
      session.sandbox.start();
      if (wishes.confine !== false) confine(session.sandbox.broker, resolvConf, log);
      if (wishes.quiet !== true) tell(describe(target, settings));
      await Promise.race([stopped, session.sandbox.exited, session.network.failed]);
    } finally {
      await session.end(DRAIN_MS);
      tellCounters(session.network, log);
    }
    return 0;
  } finally {
    release();
  }
}

/** The line that says that the network is up: it is not ours to change the files there, so it names the DNS server too. */
function describe(target: string, settings: NetworkSettings): string {
  const { ifname, v4, v6, serveDns } = settings;
  const subnets = [v4, v6].filter((subnet) => subnet !== null);
  const addresses = subnets.map(({ sandbox, prefix }) => `${formatAddress(sandbox)}/${prefix}`).join(" and ");
  const gateways = subnets.map(({ gateway }) => formatAddress(gateway)).join(" and ");
  const dns = serveDns ? `, nameserver ${formatAddress(nameserver(settings))}` : "";
  return `${ifname} is up in ${target}: ${addresses}, gateway ${gateways}${dns}`;
}
