/** Calls `action` for each item, for at most `most` of them at a time: each may need a descriptor. Rejects with the first failure. */
export async function inParallel<T>(
  items: readonly T[],
  most: number,
  action: (item: T) => Promise<void>,
): Promise<void> {
  const waiting = items.values();
  const work = async () => {
    for (const item of waiting) await action(item);
  };
  await Promise.all(Array.from({ length: Math.min(most, items.length) }, work));
}

/** Waits until `work` has settled, or until that takes too long. */
export async function settledWithin(milliseconds: number, work: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, milliseconds);
  });
  await Promise.race([work, late]).finally(() => clearTimeout(timer));
}
