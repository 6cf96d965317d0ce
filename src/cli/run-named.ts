/**
 * `run` with a name, or in a network with others: as `run` is, but that others can see the sandbox and do things to it.
 *
 * With `--network` the network's server holds the sandbox and we wait in front of it; otherwise this process is its server.
 * Signals to us go to the command; one that comes before its start ends us instead, one that comes after its end stops the wait for
 * what it sent.
 */
import { type RunningCapture, startCapture } from "../capture/session.js";
import type { CaptureReport } from "../control/captures.js";
import { assertNameIsFree, unlinkIfThere } from "../control/directory.js";
import { checkName } from "../control/names.js";
import { type RuntimeDirectory, runtimeDirectory } from "../control/runtime.js";
import { NetnsError } from "../errors.js";
import { launch } from "../sandbox/launch.js";
import type { ExitStatus, PreparedLauncher } from "../sandbox/sandbox.js";
import { HostResolvConf } from "../services/resolv-conf.js";
import { confineServer } from "./confinement.js";
import { create } from "./create.js";
import { formatPort } from "./listing.js";
import { LOAD } from "./load.js";
import { openLog, tell } from "./log.js";
import { joinRequest, joinServer, type NamedWishes, networkWishes } from "./named.js";
import { openCaptureFile, requestCapture } from "./pcap.js";
import { exitCode, tellCounters } from "./run.js";
import { openServer } from "./served.js";
import { catchSignals, type SignalHandler, signalExitCode } from "./signals.js";

/** Returns the exit code. Throws a NetnsError. */
export async function runNamed(
  command: readonly string[],
  wishes: NamedWishes,
  given: ReadonlySet<string>,
  prepared: PreparedLauncher | null,
): Promise<number> {
  if (wishes.detach) return create(wishes.name ?? null, command, wishes, given, prepared);
  const name = wishes.name === undefined ? `run-${process.pid}` : checkName("--name", wishes.name);
  const runtime = runtimeDirectory();
  return wishes.network === undefined
    ? runHere(runtime, name, command, wishes, prepared)
    : runThere(runtime, name, command, wishes, given, prepared);
}

/** What is done with signals before there is a command. */
function catchEarly(): { early: () => NodeJS.Signals | null; hand: (to: SignalHandler) => void; release: () => void } {
  let early: NodeJS.Signals | null = null;
  let handler: SignalHandler = (signal) => {
    early ??= signal;
  };
  const release = catchSignals((signal, fromTerminal) => handler(signal, fromTerminal));
  return {
    early: () => early,
    hand: (to) => {
      handler = to;
    },
    release,
  };
}

async function runThere(
  runtime: RuntimeDirectory,
  name: string,
  command: readonly string[],
  wishes: NamedWishes,
  given: ReadonlySet<string>,
  prepared: PreparedLauncher | null,
): Promise<number> {
  const signals = catchEarly();
  try {
    let end: (status: ExitStatus) => void = () => {};
    const ended = new Promise<ExitStatus>((resolve) => {
      end = resolve;
    });
    const request = joinRequest(name, command, wishes);
    const file = wishes.pcap === undefined ? null : openCaptureFile("--pcap", wishes.pcap);
    let captured: Promise<CaptureReport> | null = null;
    const { client, info } = await joinServer(
      runtime,
      request,
      wishes,
      given,
      prepared,
      (event) => {
        if (event.event === "ended") end({ code: event.code as number | null, signal: event.signal as number | null }); // by server.ts
      },
      async (at) => {
        const capture = file && requestCapture(at, name, file, { stays: false });
        captured = capture?.ended ?? null;
        await capture?.begun;
      },
    ).finally(() => file?.close());
    signals.hand((signal, fromTerminal) => {
      client.request("signal", { name, signal, fromTerminal }).catch(() => {}); // it has ended meanwhile
    });
    const early = signals.early();
    if (early !== null) {
      client.close();
      return signalExitCode(early);
    }
    if (wishes.quiet !== true) {
      for (const port of info.ports) if (isChosen(wishes, port.port)) tell(formatPort(port));
    }
    const lost = client.ended.then(() => {
      throw new NetnsError(
        "INTERNAL",
        `the server of the network ${wishes.network} has ended, and the sandbox with it; see netns-rootless ls`,
      );
    });
    const status = await Promise.race([ended, lost]);
    const report = await Promise.race([captured, lost]);
    if (file !== null && report !== null) file.tell(report, await openLog(wishes));
    client.close();
    return exitCode(status);
  } finally {
    signals.release();
  }
}

async function runHere(
  runtime: RuntimeDirectory,
  name: string,
  command: readonly string[],
  wishes: NamedWishes,
  prepared: PreparedLauncher | null,
): Promise<number> {
  const signals = catchEarly();
  const log = await openLog(wishes);
  const request = joinRequest(name, command, wishes);
  const socket = runtime.socket("sandbox", name);
  const file = wishes.pcap === undefined ? null : openCaptureFile("--pcap", wishes.pcap);
  const resolvConf = new HostResolvConf();
  try {
    const { server, network } = await openServer({
      kind: "sandbox",
      name,
      stays: true, // it ends with us
      wishes: networkWishes(wishes),
      log,
      own: { ...LOAD, resolvConf },
    });
    let removeSocket = () => {};
    let capture: RunningCapture | null = null;
    try {
      await runtime.locked(async () => {
        await assertNameIsFree(runtime, name);
        const error = server.listen(socket);
        if (error !== 0) throw new NetnsError("HOST_LACKS", `cannot listen at ${socket} (errno ${-error})`);
        removeSocket = () => unlinkIfThere(socket);
      });
      const early = signals.early();
      if (early !== null) return signalExitCode(early);
      if (file !== null) capture = startCapture(network, { fd: file.fd, nameOf: () => name });
      const resident = await server.admit(request, (inside) =>
        launch({ ...inside, command, env: process.env, prepared }),
      );
      const late = signals.early();
      if (late !== null) return signalExitCode(late);
      removeSocket = confineServer(wishes, socket, runtime.lock, resolvConf, log);
      if (wishes.quiet !== true) {
        for (const port of resident.info().ports) if (isChosen(wishes, port.port)) tell(formatPort(port));
      }
      signals.hand((signal, fromTerminal) => resident.signal(signal, fromTerminal));
      return exitCode(await Promise.race([resident.ended, network.failed]));
    } finally {
      removeSocket();
      await server.close();
      if (file !== null && capture !== null) file.tell(await capture.stop(), log);
      tellCounters(network, log);
    }
  } finally {
    signals.release();
  }
}

/** Whether the host port was left to us: those that were named need not be told. */
function isChosen({ publish = [] }: NamedWishes, port: number): boolean {
  return (
    publish.some((spec) => /(^|:)0:/.test(spec)) && !publish.some((spec) => new RegExp(`(^|:)${port}[:-]`).test(spec))
  );
}
