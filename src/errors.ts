/**
 * The one error class. Its message is one line for a person: what was wrong, what was expected, and how to mend it.
 */
export type ErrorCode =
  /** The command line or an option is wrong: exit code 2. */
  | "USAGE"
  /** What was named is not there: exit code 2. */
  | "NOT_FOUND"
  /** The host lacks something that we need: exit code 125. */
  | "HOST_LACKS"
  /** A host port is busy or may not be bound. */
  | "PORT_BUSY"
  /** An address, a hardware address or a name of a network is another member's. */
  | "ADDRESS_BUSY"
  /** A sandbox or a network of this name is there already. */
  | "NAME_BUSY"
  /** A network has no more room for a member. */
  | "NETWORK_FULL"
  /** A namespace could not be made or entered. */
  | "NAMESPACE"
  /** The native part is missing or does not fit. */
  | "NATIVE"
  /** A part of ours failed. */
  | "INTERNAL";

/** What somebody typed or sent may hold line feeds and escape sequences; a message stays one line that moves no cursor. */
export function printable(text: string): string {
  return text.replace(/\p{Cc}/gu, (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`);
}

export class NetnsError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(printable(message), options);
    this.name = "NetnsError";
    this.code = code;
  }

  /** 2 for wrong use, else 125 (as docker and podman have it). */
  get exitCode(): number {
    return this.code === "USAGE" || this.code === "NOT_FOUND" ? 2 : 125;
  }
}
