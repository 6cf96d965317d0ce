/**
 * slirp4netns's executable: a network for a namespace that somebody else made, under slirp4netns's command line and contract.
 *
 * Theory of operation. The options are checked, then the network is opened and the namespace entered; what slirp4netns prints
 * while it starts is printed, the API's socket is made, the process is confined (as `run` is, whether that is wished for or not), and then the ready
 * descriptor gets its "1". The end comes when the exit descriptor hangs up (exit code 0), by a signal, of which the process
 * then dies as slirp4netns would, or when a part of ours fails (1). That the target process ends is no end: slirp4netns goes
 * on for whoever is still in the namespace.
 *
 *     checked ──▶ network open, interface made ──▶ API listens ──▶ confined ──▶ ready ──▶ hangup │ signal │ failure
 */
import { closeSync, writeSync } from "node:fs";
import { constants, networkInterfaces } from "node:os";
import { resolve } from "node:path";
import { NetnsError } from "../../errors.js";
import { prepareTap } from "../../link/tap.js";
import { native } from "../../native/binding.js";
import type { Member } from "../../network/member.js";
import type { Log } from "../../policy/config.js";
import { attach } from "../../sandbox/attach.js";
import { startBroker } from "../../sandbox/broker-process.js";
import type { InsideNetwork, Sandbox } from "../../sandbox/sandbox.js";
import { HostResolvConf } from "../../services/resolv-conf.js";
import { type Address, isIPv4 } from "../../wire/address.js";
import { sharesPrefix } from "../../wire/prefix.js";
import { confine } from "../confinement.js";
import { LOAD } from "../load.js";
import { openLog } from "../log.js";
import { print, warn } from "../output.js";
import { type OwnProcess, openSession, type Session } from "../session.js";
import { version } from "../version.js";
import { parseSlirp, Refusal, type SlirpOptions, thisHost } from "./options.js";
import { type SlirpSettings, slirpSettings } from "./settings.js";
import { startText, USAGE, versionText } from "./text.js";

/** What the namespace has sent may still leave for this long when the exit descriptor has hung up. */
const DRAIN_MS = 1000;
const EBADF = 9;

type Ending = "hangup" | NodeJS.Signals;

/** Returns the exit code; where a signal ended us, of that. */
export async function slirp4netns(words: readonly string[]): Promise<number> {
  try {
    const request = parseSlirp(words, thisHost(networkInterfaces));
    if (request.kind === "run") return await serve(request.options);
    print(request.kind === "help" ? USAGE : versionText(version()));
    return 0;
  } catch (error) {
    if (error instanceof Refusal) {
      if (error.message !== "") warn(`${error.message}\n`);
      if (error.usage) print(USAGE);
      return 1;
    }
    if (error instanceof NetnsError) {
      warn(`slirp4netns: ${error.message}\n`);
      return 1;
    }
    throw error;
  }
}

async function serve(options: SlirpOptions): Promise<number> {
  for (const line of options.warnings) print(`${line}\n`);
  const end = awaitEnd(options.exitFd);
  const settings = slirpSettings(options);
  const log = await openLog({});
  const resolvConf = new HostResolvConf();
  const session = await open(options, settings, log, { ...LOAD, resolvConf });
  let ending: Ending;
  let api: Api | null = null;
  try {
    session.sandbox.exited.catch(end.fail);
    session.network.failed.catch(end.fail);
    tellStart(options, settings);
    if (options.apiSocket !== null) api = await openApi(options.apiSocket, settings, session.member);
    const { broker } = session.sandbox;
    // The API's socket is to go with us, and a confined process removes no file.
    const sockets = options.apiSocket === null ? [] : [resolve(options.apiSocket)];
    const own = broker < 0 || sockets.length > 0;
    const confined = confine(own ? startBroker({ sockets }) : broker, resolvConf, log);
    if (confined === null && (options.sandbox || options.seccomp)) {
      throw new NetnsError("HOST_LACKS", "this host does not let a process be confined, see netns-rootless doctor");
    }
    if (options.readyFd !== null) tellReady(options.readyFd);
    ending = await end.come;
  } catch (error) {
    api?.close();
    await session.end(0);
    throw error;
  }
  api?.close();
  await session.end(ending === "hangup" ? DRAIN_MS : 0);
  if (ending === "hangup") return 0;
  end.release();
  return dieOf(ending);
}

function open(options: SlirpOptions, settings: SlirpSettings, log: Log, own: OwnProcess): Promise<Session> {
  const { target } = options;
  const enter =
    target.kind === "tapfd"
      ? async () => handedTap(target.fd)
      : (inside: InsideNetwork) => attach(target, inside, settings.attach);
  return openSession(settings.network, enter, log, own);
}

/**
 * A TAP that somebody opened for us, in a namespace that we do not know: it is no sandbox that we could do anything else to. Its
 * hardware address is learned from what it sends.
 */
function handedTap(fd: number): Sandbox {
  const { uso, plain = false } = prepareTap(fd);
  const none = () => Promise.reject(new NetnsError("NAMESPACE", "the namespace of this TAP is not known"));
  return {
    taps: [fd],
    broker: -1,
    mac: Uint8Array.of(0x52, 0x55, 0x0a, 0x00, 0x02, 0x64),
    offloads: { tso4: !plain, tso6: !plain, uso, plain },
    notes: [],
    init: null,
    output: null,
    start: () => {},
    socket: none,
    diagnosticSocket: none,
    discard: (socket) => native().closeFd(socket),
    signal: () => {},
    exited: new Promise(() => {}),
    release: () => Promise.resolve(),
  };
}

interface Api {
  close(): void;
}

/** Loaded only where it is wished for. */
async function openApi(path: string, { network: { v4, v6 } }: SlirpSettings, member: Member): Promise<Api> {
  const { ApiSocket } = await import("../../control/slirp4netns/server.js");
  const { answer } = await import("../../control/slirp4netns/requests.js");
  const { Forwards } = await import("../../control/slirp4netns/forwards.js");
  const forwards = new Forwards(({ protocol, hostAddress, hostPort, guestAddress, guestPort }) => {
    const spec = { protocol, host: hostAddress, hostPort, insidePort: guestPort, inside: guestAddress };
    const port = member.addPort(spec);
    return () => member.removePort(port);
  });
  const guest = {
    v4: v4.sandbox,
    v6: v6?.sandbox ?? null,
    isInside: (address: Address) =>
      isIPv4(address)
        ? sharesPrefix(address, v4.network, 96 + v4.prefix)
        : v6 !== null && sharesPrefix(address, v6.network, v6.prefix),
  };
  const socket = await ApiSocket.open(path, (request) => answer(request, forwards, guest));
  return {
    close() {
      socket.close();
      forwards.close();
    },
  };
}

/** From now on the end is waited for: a signal, the hangup, or what is handed to `fail`. */
function awaitEnd(exitFd: number | null): {
  readonly come: Promise<Ending>;
  fail(error: unknown): void;
  /** Gives the signals back. */
  release(): void;
} {
  let settle: (ending: Ending) => void = () => {};
  let fail: (error: unknown) => void = () => {};
  const come = new Promise<Ending>((resolve, reject) => {
    settle = resolve;
    fail = reject;
  });
  come.catch(() => {});
  const listener = (signal: NodeJS.Signals) => settle(signal);
  for (const signal of DEADLY) process.on(signal, listener);
  if (exitFd !== null && native().watchHangup(exitFd, () => settle("hangup")) === -EBADF) settle("hangup");
  return {
    come,
    fail,
    release: () => {
      for (const signal of DEADLY) process.off(signal, listener);
    },
  };
}

const DEADLY = ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"] as const;

/** Whoever waits for us shall see the signal. Where it does not come, the exit code says the same. */
function dieOf(signal: NodeJS.Signals): Promise<number> {
  process.kill(process.pid, signal);
  return new Promise((resolve) => setTimeout(() => resolve(128 + constants.signals[signal]), 1000));
}

/** The lines that slirp4netns's two processes print, of which some callers wait for one. */
function tellStart({ tapName, target }: SlirpOptions, settings: SlirpSettings): void {
  const fd = target.kind === "tapfd" ? target.fd : 3;
  if (tapName !== null) warn(`sent tapfd=${fd} for ${tapName}\n`);
  warn(`received tapfd=${fd}\n`);
  print(startText(settings));
}

function tellReady(fd: number): void {
  try {
    writeSync(fd, "1");
    closeSync(fd);
  } catch {
    // Whoever gave it has gone, or gave none: slirp4netns says nothing either.
  }
}
