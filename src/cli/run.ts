/**
 * `run`: a command in a network of its own.
 *
 * Theory of operation. Options are checked, then network and namespace are opened, then the command is started; only then
 * does anything of it run, and this process is confined. Signals to us go to the command; one that comes before its start ends us instead, and one that
 * comes after its end stops the wait for what it sent (DRAIN_MS). The command's exit code is ours, 128 + n where signal n
 * ended it. If a part of ours fails, the command is ended with it: it would have no network any more.
 */
import { hostname as hostName } from "node:os";
import { NetnsError } from "../errors.js";
import type { OpenNetwork } from "../network/solo.js";
import type { Log } from "../policy/config.js";
import { hosts, resolvConf, resolverSettings } from "../sandbox/files.js";
import { launch } from "../sandbox/launch.js";
import type { ExitStatus, InsideNetwork, PreparedLauncher, Sandbox } from "../sandbox/sandbox.js";
import { HostResolvConf } from "../services/resolv-conf.js";
import { formatAddress } from "../wire/address.js";
import { type ConfineWish, confine } from "./confinement.js";
import { LOAD } from "./load.js";
import { type LogOptions, openLog, tell } from "./log.js";
import { type NetworkSettings, type NetworkWishes, nameserver, networkSettings } from "./options.js";
import type { CaptureFile } from "./pcap.js";
import { openSession, type Session } from "./session.js";
import { catchSignals, signalExitCode } from "./signals.js";

export interface RunWishes extends NetworkWishes, LogOptions, ConfineWish {
  readonly root?: boolean | undefined;
  /** File for a capture of what enters and leaves the sandbox. */
  readonly pcap?: string | undefined;
}

const DRAIN_MS = 10_000;

/** Returns the exit code. Throws a NetnsError when the command could not be started, or lost its network. */
export async function run(
  command: readonly string[],
  wishes: RunWishes,
  prepared: PreparedLauncher | null = null,
): Promise<number> {
  const settings = networkSettings(wishes);
  if (wishes.pcap !== undefined && settings.shards > 1) {
    throw new NetnsError("USAGE", "--pcap: a network of several shards cannot be captured; leave out --shards");
  }
  const file = wishes.pcap === undefined ? null : (await import("./pcap.js")).openCaptureFile("--pcap", wishes.pcap);
  const log = await openLog(wishes);
  const resolvConf = new HostResolvConf();
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
      { ...LOAD, resolvConf },
    ).catch((error: unknown) => {
      file?.close();
      throw error;
    });
    const finishCapture = file && (await beginCapture(file, session, settings.ifname, log));
    let drain = 0;
    try {
      if (early !== null) return signalExitCode(early);
      sandbox = session.sandbox;
      tellPublished(session.network, log, wishes.quiet === true);
      sandbox.start();
      // While the command begins, and before we have read anything of it.
      if (wishes.confine !== false) confine(sandbox.broker, resolvConf, log);
      const status = await Promise.race([sandbox.exited, session.network.failed]);
      drain = DRAIN_MS;
      return exitCode(status);
    } finally {
      ended = true;
      await session.end(drain, hurried);
      await finishCapture?.();
      tellCounters(session.network, log);
    }
  } finally {
    release();
  }
}

/** Begins a capture of all that is in a network. Returns what ends it, when all is over. */
async function beginCapture(
  file: CaptureFile,
  session: Session,
  ifname: string,
  log: Log,
): Promise<() => Promise<void>> {
  const { captured } = session.network;
  if (captured === null) return async () => file.close();
  const { startCapture } = await import("../capture/session.js");
  const capture = startCapture(captured, { fd: file.fd, nameOf: () => ifname });
  return async () => file.tell(await capture.stop(), log);
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
export function tellCounters(network: Pick<OpenNetwork, "counters">, log: Log): void {
  for (const [name, value] of Object.entries(network.counters())) {
    if (value !== 0 || name.endsWith(".open")) log.debug(`counter ${name} ${value}`);
  }
}

/** As a shell has it. */
export function exitCode({ code, signal }: ExitStatus): number {
  if (code !== null) return code;
  return 128 + (signal ?? 0);
}
