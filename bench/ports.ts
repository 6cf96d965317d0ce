let next = 5201;

/** A TCP and UDP port that nothing in the bed has used yet, below those that the kernel gives to clients. */
export function unusedPort(): number {
  if (next >= 32_000) throw new Error("no ports are left for this run");
  return next++;
}
