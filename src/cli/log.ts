/** Where events are told: to the person on stderr, in one line each, and to a file in JSON for machines (pino, loaded only then). */
import { NetnsError, printable } from "../errors.js";
import type { Log } from "../policy/config.js";
import { warn } from "./output.js";

export interface LogOptions {
  /** Tell errors only. */
  readonly quiet?: boolean | undefined;
  /** Tell everything. */
  readonly verbose?: boolean | undefined;
  /** File to append JSON lines to, everything included. */
  readonly logFile?: string | undefined;
}

type Level = keyof Log;
type Fields = Record<string, unknown>;

export const PREFIX = "netns-rootless: ";

/** One line for the person, whatever the settings. */
export function tell(message: string): void {
  warn(`${PREFIX}${printable(message)}\n`);
}

function toStderr(levels: readonly Level[]): Log {
  const at = (level: Level) => (levels.includes(level) ? (message: string) => tell(message) : () => {});
  return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
}

async function toFile(path: string): Promise<Log> {
  if (path === "") throw new NetnsError("USAGE", "--log-file: the name is empty; give a file in a directory of yours");
  const { pino } = await import("pino");
  try {
    const log = pino({ level: "debug", base: { pid: process.pid } }, pino.destination({ dest: path, sync: true }));
    let failed = false;
    const at = (level: Level) => (message: string, fields?: Fields) => {
      if (failed) return;
      try {
        log[level](fields ?? {}, message);
      } catch (error) {
        // A full disk is no reason to end the command.
        failed = true;
        const reason = error instanceof Error ? error.message : String(error);
        tell(`--log-file ${path}: cannot be written any more (${reason}); the log ends there`);
      }
    };
    return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new NetnsError(
      "USAGE",
      `--log-file ${path}: cannot be written (${reason}); give a file in a directory of yours`,
      {
        cause: error,
      },
    );
  }
}

function both(first: Log, second: Log): Log {
  const at = (level: Level) => (message: string, fields?: Fields) => {
    first[level](message, fields);
    second[level](message, fields);
  };
  return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
}

/** Throws a NetnsError USAGE where the file cannot be written. */
export async function openLog(options: LogOptions): Promise<Log> {
  let levels: readonly Level[] = ["warn", "error"];
  if (options.verbose) levels = ["debug", "info", "warn", "error"];
  else if (options.quiet) levels = ["error"];
  const stderr = toStderr(levels);
  return options.logFile === undefined ? stderr : both(stderr, await toFile(options.logFile));
}
