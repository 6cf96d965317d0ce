/**
 * The environment as the caller gave it. Node loads the certificates of NODE_EXTRA_CA_CERTS before anything else, which takes
 * longer than everything that we do, and we never use TLS. So scripts/start.sh keeps that variable from our own Node under
 * another name, and here it gets its own back, for the command.
 */
const NAME = "NODE_EXTRA_CA_CERTS";
const KEPT = "NETNS_ROOTLESS_EXTRA_CA_CERTS";

export function restoreEnvironment(env: NodeJS.ProcessEnv = process.env): void {
  const kept = env[KEPT];
  if (kept === undefined) return;
  env[NAME] = kept;
  delete env[KEPT];
}
