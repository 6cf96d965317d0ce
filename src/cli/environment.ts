/**
 * The environment as the caller gave it, and what native/launcher/front.c, which started us, left in it: where the launcher is
 * that waits for us, the certificates that it kept from our own Node, which would load them before anything else, the number of
 * heaps that it gave to our own Node alone, whether libuv may use io_uring, which ours may not, and the limit of descriptors that
 * Node has raised.
 */
import type { PreparedLauncher } from "../sandbox/sandbox.js";

const CERTIFICATES = "NODE_EXTRA_CA_CERTS";
const KEPT_CERTIFICATES = "NETNS_ROOTLESS_EXTRA_CA_CERTS";
const HEAPS = "MALLOC_ARENA_MAX";
const HEAPS_ARE_OURS = "NETNS_ROOTLESS_ARENA_MAX";
const RINGS = "UV_USE_IO_URING";
const KEPT_RINGS = "NETNS_ROOTLESS_IO_URING";
const LAUNCHER = "NETNS_ROOTLESS_LAUNCHER";
const DESCRIPTORS = "NETNS_ROOTLESS_NOFILE";

/** What the caller's soft limit of descriptors was (RLIMIT_NOFILE); null: not known. */
let callersLimit: number | null = null;
export const descriptorLimit = (): number | null => callersLimit;

export function restoreEnvironment(env: NodeJS.ProcessEnv = process.env): { prepared: PreparedLauncher | null } {
  const kept = env[KEPT_CERTIFICATES];
  if (kept !== undefined) {
    env[CERTIFICATES] = kept;
    delete env[KEPT_CERTIFICATES];
  }
  if (env[HEAPS_ARE_OURS] !== undefined) {
    delete env[HEAPS];
    delete env[HEAPS_ARE_OURS];
  }
  const limit = Number(env[DESCRIPTORS]);
  callersLimit = limit > 0 ? limit : null;
  delete env[DESCRIPTORS];
  const rings = env[KEPT_RINGS];
  if (rings !== undefined) {
    if (rings === "") delete env[RINGS];
    else env[RINGS] = rings;
    delete env[KEPT_RINGS];
  }
  const [, channel, pid] = /^(\d+) (\d+)$/.exec(env[LAUNCHER] ?? "") ?? [];
  delete env[LAUNCHER];
  return { prepared: channel && pid ? { channel: Number(channel), pid: Number(pid) } : null };
}
