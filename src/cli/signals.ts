/** Signals to us, which are meant for the command. */
import { closeSync, openSync } from "node:fs";
import { constants } from "node:os";

const FORWARDED = ["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2"] as const;
/** Those that the terminal sends, to the whole foreground process group: the command has them already. */
const FROM_TERMINAL: ReadonlySet<NodeJS.Signals> = new Set(["SIGINT", "SIGQUIT"]);

export type SignalHandler = (signal: NodeJS.Signals, fromTerminal: boolean) => void;

/** From now on `handler` gets the signals; returns what ends that. */
export function catchSignals(handler: SignalHandler): () => void {
  const terminal = hasControllingTerminal();
  const caught = FORWARDED.map((signal) => {
    const listener = () => handler(signal, terminal && FROM_TERMINAL.has(signal));
    process.on(signal, listener);
    return () => process.off(signal, listener);
  });
  return () => {
    for (const release of caught) release();
  };
}

/** From now on the first of each signal goes unheard; returns what ends that. */
export function ignoreSignals(): () => void {
  const unheard = () => {};
  for (const signal of FORWARDED) process.once(signal, unheard);
  return () => {
    for (const signal of FORWARDED) process.off(signal, unheard);
  };
}

/** The exit code of a program that a signal ended, as a shell has it. */
export function signalExitCode(signal: NodeJS.Signals): number {
  return 128 + constants.signals[signal];
}

function hasControllingTerminal(): boolean {
  try {
    closeSync(openSync("/dev/tty", "r"));
    return true;
  } catch {
    return false;
  }
}
