/** `runSandbox`: what `run` does, for programs. */
import { NetnsError } from "../errors.js";
import type { Log } from "../policy/config.js";
import type { ExitStatus } from "../sandbox/sandbox.js";
import { formatAddress } from "../wire/address.js";
import { type NetworkWishes, networkSettings } from "./options.js";
import { launchCommand } from "./run.js";
import { openSession, type Session } from "./session.js";

export interface SandboxOptions extends NetworkWishes {
  /** Program and arguments. Its stdin, stdout and stderr are this process's. */
  readonly command: readonly string[];
  /** Default: process.env. */
  readonly env?: NodeJS.ProcessEnv;
  /** Be root inside. */
  readonly root?: boolean;
  /** Default: tells nobody. */
  readonly log?: Log;
}

export interface PublishedPort {
  readonly protocol: "tcp" | "udp";
  /** Address and port on the host. */
  readonly address: string;
  readonly port: number;
  readonly insidePort: number;
}

export interface RunningSandbox {
  /** What is published now: of `[ADDR:]auto` and `hostIp`, what the sandbox listens on now. */
  readonly published: readonly PublishedPort[];
  /** Settles when the command has ended and nothing of the sandbox is left. Rejects with a NetnsError when a part of ours failed. */
  readonly exited: Promise<ExitStatus>;
  /** Sends a signal to the command. */
  signal(signal: NodeJS.Signals): void;
  /** Ends the command (SIGKILL) and everything else in the sandbox, and waits for it. */
  close(): Promise<void>;
}

const DRAIN_MS = 10_000;

/** Starts a command in a network of its own. Rejects with a NetnsError when an option is wrong, a port is busy, or the host cannot do it. */
export async function runSandbox(options: SandboxOptions): Promise<RunningSandbox> {
  const { command } = options;
  if (command.length === 0) throw new NetnsError("USAGE", "command is empty; expected a program and its arguments");
  const settings = networkSettings(options);
  const session = await openSession(
    settings,
    (inside) => launchCommand(command, settings, options, inside),
    options.log,
  );
  const exited = untilEnd(session);
  exited.catch(() => {});
  session.sandbox.start();
  return {
    get published() {
      return session.network.published.map(({ spec, address, port }) => ({
        protocol: spec.protocol,
        address: formatAddress(address),
        port,
        insidePort: spec.insidePort,
      }));
    },
    exited,
    signal: (signal) => session.sandbox.signal(signal, false),
    async close() {
      session.sandbox.signal("SIGKILL", false);
      await exited.then(
        () => {},
        () => {},
      );
    },
  };
}

async function untilEnd(session: Session): Promise<ExitStatus> {
  let drain = 0;
  try {
    const status = await Promise.race([session.sandbox.exited, session.network.failed]);
    drain = DRAIN_MS;
    return status;
  } finally {
    await session.end(drain);
  }
}
