/**
 * `capture`: the packets of a sandbox, or of all in a network, to a file or to a program that reads them.
 *
 * The server writes them (control/captures.ts), into a descriptor that goes to it with the request. We wait, and have it end the capture by a
 * signal; a second one ends us at once. A reader that has seen enough and goes is the ordinary end of a pipe, which is looked for now and
 * then: the server would notice with the next packet only.
 */
import { closeSync } from "node:fs";
import { isatty } from "node:tty";
import { CaptureFilter } from "../capture/filter.js";
import type { CaptureReport } from "../control/captures.js";
import type { Client } from "../control/client.js";
import { findNetwork, findSandbox } from "../control/directory.js";
import type { CaptureRequest } from "../control/messages.js";
import { runtimeDirectory } from "../control/runtime.js";
import { NetnsError } from "../errors.js";
import { native } from "../native/binding.js";
import { tell } from "./log.js";
import { openCaptureFile } from "./pcap.js";
import { catchSignals, signalExitCode } from "./signals.js";

export interface CaptureWishes {
  readonly network?: string | undefined;
  /** File; `-` or none: standard output. */
  readonly write?: string | undefined;
  readonly count?: string | undefined;
  readonly filter?: string | undefined;
  readonly split?: boolean | undefined;
  readonly snaplen?: string | undefined;
  readonly quiet?: boolean | undefined;
}

const STDOUT = 1;
const LOOK_MS = 250;
const LONGEST_PACKET = 65_549;

/** Returns the exit code. Throws a NetnsError. */
export async function capture(name: string | undefined, wishes: CaptureWishes): Promise<number> {
  const request = captureRequest(name, wishes);
  assertNoTerminal(wishes.write);
  // First: a file of that name keeps what is in it where there is nothing to capture.
  const client = await findServer(name, wishes.network);
  try {
    const file = output(wishes.write);
    try {
      return await follow(client, request, file.fd, name ?? `the network ${wishes.network}`, wishes.quiet === true);
    } finally {
      file.close();
    }
  } finally {
    client.close();
  }
}

/** Throws a NetnsError (USAGE). */
function captureRequest(name: string | undefined, wishes: CaptureWishes): CaptureRequest {
  const { network, filter, count, snaplen, split } = wishes;
  if ((name === undefined) === (network === undefined)) {
    throw new NetnsError("USAGE", "capture: expected the name of a sandbox, or --network NET for all of a network");
  }
  if (filter !== undefined) new CaptureFilter(filter);
  return {
    name: name ?? null,
    awaits: false,
    stays: false,
    filter: filter ?? null,
    split: split === true,
    snapLength: natural("--snaplen", snaplen, LONGEST_PACKET),
    count: natural("--count", count, Number.MAX_SAFE_INTEGER),
  };
}

function natural(option: string, text: string | undefined, most: number): number {
  if (text === undefined) return 0;
  const value = /^\d{1,15}$/.test(text) ? Number(text) : 0;
  if (value > 0 && value <= most) return value;
  throw new NetnsError("USAGE", `${option} ${text}: expected a whole number from 1 to ${most}`);
}

function isStdout(file: string | undefined): boolean {
  return file === undefined || file === "-";
}

/** Throws a NetnsError (USAGE). */
function assertNoTerminal(file: string | undefined): void {
  if (!isStdout(file) || !isatty(STDOUT)) return;
  throw new NetnsError(
    "USAGE",
    "capture: a terminal cannot show packets; write them to a file with -w FILE, or into a program: | tshark -i -",
  );
}

function output(file: string | undefined): { fd: number; close: () => void } {
  if (file === undefined || isStdout(file)) return { fd: STDOUT, close: () => {} };
  const { fd } = openCaptureFile("--write", file);
  return { fd, close: () => closeSync(fd) };
}

async function findServer(name: string | undefined, network: string | undefined): Promise<Client> {
  const runtime = runtimeDirectory();
  if (name !== undefined) return (await findSandbox(runtime, name)).client;
  return findNetwork(runtime, network ?? "");
}

async function follow(
  client: Client,
  request: CaptureRequest,
  fd: number,
  what: string,
  quiet: boolean,
): Promise<number> {
  let stopping = false;
  const interrupted = new Promise<NodeJS.Signals>((resolve) => {
    const release = catchSignals((signal) => {
      if (stopping) resolve(signal);
      stopping = true;
      client.request("capture-stop").catch(() => {}); // it has ended meanwhile
    });
    client.ended.then(release);
  });
  const look = setInterval(() => {
    if (!native().hasReaderGone(fd)) return;
    clearInterval(look);
    client.request("capture-stop").catch(() => {});
  }, LOOK_MS);
  try {
    const report = client.request("capture", { ...request }, [fd], () => {
      if (!quiet) tell(`capturing ${what}; ended by Ctrl-C`);
    }) as Promise<CaptureReport>; // by captures.ts
    const outcome = await Promise.race([report, interrupted]);
    if (typeof outcome === "string") return signalExitCode(outcome);
    return tellReport(outcome, quiet);
  } finally {
    clearInterval(look);
    client.close();
  }
}

function tellReport({ written, dropped, error }: CaptureReport, quiet: boolean): number {
  if (!quiet) tell(`${written} packets captured`);
  if (dropped > 0) tell(`${dropped} frames are missing: they came faster than they were read`);
  if (error === null || error === "EPIPE") return 0;
  throw new NetnsError("HOST_LACKS", `the capture ended early: ${error}`);
}
