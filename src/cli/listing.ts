/** Tables and words for people, alike in all commands. */
import type { PortInfo } from "../control/messages.js";

/** Rows below a head, in columns as wide as their longest cell, two blanks between them. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [head, ...rows];
  const widths = head.map((_, column) => Math.max(...lines.map((line) => width(line[column] ?? ""))));
  return lines
    .map((line) => line.map((cell, column) => cell + " ".repeat(widths[column] - width(cell))).join("  "))
    .map((line) => `${line.trimEnd()}\n`)
    .join("");
}

function width(text: string): number {
  return [...text].length;
}

/** `0.0.0.0:6000->8080/tcp`. */
export function formatPort({ protocol, address, port, insidePort }: PortInfo): string {
  return `${address.includes(":") ? `[${address}]` : address}:${port}->${insidePort}/${protocol}`;
}

/** How long ago that was, as one number: `5s`, `3m`, `2h`, `4d`. */
export function age(since: number, now = Date.now()): string {
  const seconds = Math.max(0, Math.floor((now - since) / 1000));
  if (seconds < 120) return `${seconds}s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)}h`;
  return `${Math.floor(seconds / 86_400)}d`;
}

/** A text that somebody chose, with nothing in it that moves the cursor, no longer than `most`. */
export function shortened(text: string, most: number): string {
  const shown = [...text.replace(/\p{Cc}/gu, "?")];
  return shown.length > most ? `${shown.slice(0, most - 1).join("")}…` : shown.join("");
}
