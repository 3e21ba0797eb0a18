// Whether a store still holds what was put into it: every ref can be read, and every blob that is named, directly or by a
// checkpoint, is there and hashes to its name. It changes nothing and may run beside anything.

import { inParallel } from './layout.ts';
import { faultOf, type Keep, listed, READS_AT_ONCE, reach } from './reach.ts';
import { type Store, StoreDamage } from './store.ts';

export interface Verified {
  refs: number;
  /** Blobs that are named and were read. */
  blobs: number;
  /** Their bytes together. */
  bytes: number;
  /** A sentence for each thing that is missing or damaged, sorted; empty if all is well. */
  faults: string[];
}

export interface VerifyOptions {
  /** Checkpoints whose weights and optimiser state retention has let go are not missed; default: none were. */
  keep?: Keep;
  /** Told after each blob how many of how many have been read. */
  report?: (done: number, of: number) => void;
}

/** Reads everything that the store's refs name, blob by blob, against its hash. */
export async function verifyStore(store: Store, { keep, report }: VerifyOptions = {}): Promise<Verified> {
  const sizes = await sizesOf(store);
  const { refs, named, seen, faults } = await reach(store, sizes, keep);
  let done = seen.size;
  let bytes = [...seen].reduce((sum, sha256) => sum + (sizes.get(sha256) ?? 0), 0);
  const rest = [...named].filter(([sha256]) => !seen.has(sha256));
  // One after another: these are the large ones.
  for (const [sha256, from] of rest) {
    try {
      bytes += (await store.get(sha256)).byteLength;
    } catch (error) {
      if (!(error instanceof StoreDamage)) throw error;
      faults.add(faultOf(error, from));
    }
    report?.(++done, named.size);
  }
  return { refs, blobs: named.size, bytes, faults: [...faults].sort() };
}

async function sizesOf(store: Store): Promise<Map<string, number>> {
  const [trash, blobs] = await inParallel(['trash', 'blobs'] as const, READS_AT_ONCE, (area) => listed(store, area));
  return new Map([...trash, ...blobs].map(([sha256, { size }]) => [sha256, size]));
}
