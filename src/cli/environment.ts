/**
 * The environment as the caller gave it, and what native/launcher/front.c, which started us, left in it: where the launcher is
 * that waits for us, the certificates that it kept from our own Node, which would load them before anything else, and the
 * number of heaps that it gave to our own Node alone.
 */
import type { PreparedLauncher } from "../sandbox/sandbox.js";

const CERTIFICATES = "NODE_EXTRA_CA_CERTS";
const KEPT_CERTIFICATES = "NETNS_ROOTLESS_EXTRA_CA_CERTS";
const HEAPS = "MALLOC_ARENA_MAX";
const HEAPS_ARE_OURS = "NETNS_ROOTLESS_ARENA_MAX";
const LAUNCHER = "NETNS_ROOTLESS_LAUNCHER";

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
  const [, channel, pid] = /^(\d+) (\d+)$/.exec(env[LAUNCHER] ?? "") ?? [];
  delete env[LAUNCHER];
  return { prepared: channel && pid ? { channel: Number(channel), pid: Number(pid) } : null };
}
