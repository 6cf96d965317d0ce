/** Time and chance, handed to whoever needs them, so that tests can hold both in their hands. */
export interface Clock {
  /** Monotonic milliseconds, with fractions; the same during one turn. */
  now(): number;
}

export interface Random {
  /** A uniformly distributed integer, 0 to 2^32 - 1, from a cryptographic source outside of tests. */
  uint32(): number;
}
