/**
 * The one error class. Its message is one line for a person: what was wrong, what was expected, and how to mend it.
 */
export type ErrorCode =
  /** The command line or an option is wrong: exit code 2. */
  | "USAGE"
  /** The host lacks something that we need: exit code 125. */
  | "HOST_LACKS"
  /** A host port is busy or may not be bound. */
  | "PORT_BUSY"
  /** A namespace could not be made or entered. */
  | "NAMESPACE"
  /** The native part is missing or does not fit. */
  | "NATIVE"
  /** A part of ours failed. */
  | "INTERNAL";

export class NetnsError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = "NetnsError";
    this.code = code;
  }

  /** 2 for wrong use, else 125 (as docker and podman have it). */
  get exitCode(): number {
    return this.code === "USAGE" ? 2 : 125;
  }
}
