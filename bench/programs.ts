/** The bench's own small programs, where no well-known one measures what is asked. They are Python, and stay where they are. */
import { fileURLToPath } from "node:url";

const PLACE = fileURLToPath(new URL("../../bench/programs/", import.meta.url));

export type ProgramName = "server" | "client" | "hold_flows" | "start_time";

/** The command that runs one of them. -B: it leaves no compiled files beside the sources. */
export function program(name: ProgramName, ...args: readonly (string | number)[]): string[] {
  return ["python3", "-B", `${PLACE}${name}.py`, ...args.map(String)];
}

/** Reads the JSON that one printed: figures by name. Rejects what is none with what was printed. */
export function parseFigures(text: string): ReadonlyMap<string, number> {
  let report: unknown;
  try {
    report = JSON.parse(text);
  } catch (cause) {
    throw new Error(text.trim() === "" ? "it printed nothing" : `it printed: ${text.trim().slice(-200)}`, { cause });
  }
  if (typeof report !== "object" || report === null) throw new Error(`it printed: ${text.trim()}`);
  const entries: [string, unknown][] = Object.entries(report);
  const error = entries.find(([name]) => name === "error");
  if (error !== undefined) throw new Error(String(error[1]));
  return new Map(entries.flatMap(([name, value]) => (typeof value === "number" ? [[name, value]] : [])));
}

/** One of the figures. */
export function figure(figures: ReadonlyMap<string, number>, name: string): number {
  const value = figures.get(name);
  if (value === undefined) throw new Error(`the figure "${name}" is missing`);
  return value;
}
