/**
 * The environment as the caller gave it, and what native/launcher/front.c, which started us, left in it: where the launcher is
 * that waits for us, and the certificates that it kept from our own Node, which would load them before anything else.
 */
import type { PreparedLauncher } from "../sandbox/sandbox.js";

const CERTIFICATES = "NODE_EXTRA_CA_CERTS";
const KEPT_CERTIFICATES = "NETNS_ROOTLESS_EXTRA_CA_CERTS";
const LAUNCHER = "NETNS_ROOTLESS_LAUNCHER";

export function restoreEnvironment(env: NodeJS.ProcessEnv = process.env): { prepared: PreparedLauncher | null } {
  const kept = env[KEPT_CERTIFICATES];
  if (kept !== undefined) {
    env[CERTIFICATES] = kept;
    delete env[KEPT_CERTIFICATES];
  }
  const [, channel, pid] = /^(\d+) (\d+)$/.exec(env[LAUNCHER] ?? "") ?? [];
  delete env[LAUNCHER];
  return { prepared: channel && pid ? { channel: Number(channel), pid: Number(pid) } : null };
}
