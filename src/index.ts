/** A program in a network of its own, from JavaScript. The command line does the same: see the README. */
export type { NetworkWishes } from "./cli/options.js";
export { type PublishedPort, type RunningSandbox, runSandbox, type SandboxOptions } from "./cli/sandbox.js";
export { type ErrorCode, NetnsError } from "./errors.js";
export type { Log } from "./policy/config.js";
export type { ExitStatus } from "./sandbox/sandbox.js";
