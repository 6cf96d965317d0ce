/**
 * `run`: a command in a network of its own.
 *
 * Theory of operation. Options are checked, then network and namespace are opened, then the command is started; only then
 * does anything of it run. Signals to us go to the command; one that comes before its start ends us instead, and one that
 * comes after its end stops the wait for what it sent (DRAIN_MS). The command's exit code is ours, 128 + n where signal n
 * ended it. If a part of ours fails, the command is ended with it: it would have no network any more.
 */
import { hostname as hostName } from "node:os";
import type { OpenNetwork } from "../network/network.js";
import type { Log } from "../policy/config.js";
import { hosts, resolvConf, resolverSettings } from "../sandbox/files.js";
import { launch } from "../sandbox/launch.js";
import type { ExitStatus, InsideNetwork, PreparedLauncher, Sandbox } from "../sandbox/sandbox.js";
import { formatAddress } from "../wire/address.js";
import { collectGarbage } from "./garbage.js";
import { type LogOptions, openLog, tell } from "./log.js";
import { type NetworkSettings, type NetworkWishes, nameserver, networkSettings } from "./options.js";
import { openSession } from "./session.js";
import { catchSignals, signalExitCode } from "./signals.js";

export interface RunWishes extends NetworkWishes, LogOptions {
  readonly root?: boolean | undefined;
}

const DRAIN_MS = 10_000;

/** Returns the exit code. Throws a NetnsError when the command could not be started, or lost its network. */
export async function run(
  command: readonly string[],
  wishes: RunWishes,
  prepared: PreparedLauncher | null = null,
): Promise<number> {
  const settings = networkSettings(wishes);
  const log = await openLog(wishes);
  let sandbox: Sandbox | null = null;
  let early: NodeJS.Signals | null = null;
  let ended = false;
  let hurry = () => {};
  const hurried = new Promise<void>((resolve) => {
    hurry = resolve;
  });
  const release = catchSignals((signal, fromTerminal) => {
    if (ended) hurry();
    else if (sandbox === null) early ??= signal;
    else sandbox.signal(signal, fromTerminal);
  });
  try {
    const session = await openSession(
      settings,
      (inside) => launchCommand(command, settings, { root: wishes.root, prepared }, inside),
      log,
      collectGarbage,
    );
    let drain = 0;
    try {
      if (early !== null) return signalExitCode(early);
      sandbox = session.sandbox;
      tellPublished(session.network, log, wishes.quiet === true);
      sandbox.start();
      const status = await Promise.race([sandbox.exited, session.network.failed]);
      drain = DRAIN_MS;
      return exitCode(status);
    } finally {
      ended = true;
      await session.end(drain, hurried);
      tellCounters(session.network, log);
    }
  } finally {
    release();
  }
}

export interface LaunchWishes {
  readonly root?: boolean | undefined;
  readonly env?: NodeJS.ProcessEnv | undefined;
  readonly prepared?: PreparedLauncher | null;
}

/** Makes the namespace for a command, with the files and names that belong to these settings. */
export async function launchCommand(
  command: readonly string[],
  settings: NetworkSettings,
  options: LaunchWishes,
  inside: InsideNetwork,
): Promise<Sandbox> {
  const subnets = [inside.v4, inside.v6].filter((subnet) => subnet !== null);
  return launch({
    network: inside,
    command,
    env: options.env ?? process.env,
    root: options.root === true,
    prepared: options.prepared ?? null,
    hostname: settings.hostname,
    resolvConf: settings.serveDns
      ? resolvConf({ nameserver: formatAddress(nameserver(settings)), ...resolverSettings(settings.search) })
      : null,
    hosts: hosts({ hostname: settings.hostname ?? hostName(), subnets }),
  });
}

/** Tells which port was chosen where that was left to us, and all of them to the log. */
export function tellPublished(network: OpenNetwork, log: Log, quiet: boolean): void {
  for (const { spec, address, port } of network.published) {
    const host = formatAddress(address);
    const line = `${host.includes(":") ? `[${host}]` : host}:${port} -> ${spec.insidePort}/${spec.protocol}`;
    if (spec.hostPort === 0 && !quiet) tell(line);
    else log.info(line);
  }
}

/** For `--verbose` and the log: where everything went. What never happened is left out, but not what is still open. */
export function tellCounters(network: OpenNetwork, log: Log): void {
  for (const [name, value] of Object.entries(network.counters())) {
    if (value !== 0 || name.endsWith(".open")) log.debug(`counter ${name} ${value}`);
  }
}

function exitCode({ code, signal }: ExitStatus): number {
  if (code !== null) return code;
  return 128 + (signal ?? 0);
}
