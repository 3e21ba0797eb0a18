// Removes the blobs that nothing names: mark from the refs, then sweep, in two looks that are `minAge` apart.
//
// Why no blob is lost that a ref names, though others put and name blobs all the while and nobody holds a lock:
// whoever writes a ref does so within `minAge` of putting, reading or asking for the blobs in it (a day, by default, and
// workers' clocks differ by minutes at most). The first look only moves a blob to the trash, where get and has still
// find it. The second, `minAge` or more later, marks anew before it removes anything; a ref that was to come when the
// blob was moved has come by then, and the blob goes back to its place instead. So it does not matter at what instant
// between mark and sweep the blob was put again: the copy in the trash is as good as the one that was swept.

import { FoveaError } from './errors.ts';
import { inParallel } from './layout.ts';
import { type Keep, listed, READS_AT_ONCE, reach } from './reach.ts';
import type { Store, StoredBlob } from './store.ts';

export const DAY_MS = 24 * 60 * 60 * 1000;

export interface GarbageOptions {
  /**
   * In milliseconds; a day by default. A blob that was put within it stays where it is, and one that was moved to the
   * trash within it stays there. 0 says that nothing uses the store now: what is not named goes at once.
   */
  minAge?: number;
  /** Milliseconds since 1970. */
  now?: number;
  /** Retention: the checkpoints whose weights and optimiser state must stay; all by default. */
  keep?: Keep;
  /** Only says what would be done. */
  dryRun?: boolean;
}

export interface Count {
  blobs: number;
  /** In bytes. */
  bytes: number;
}

export interface Garbage {
  refs: number;
  /** Named, and in their places. */
  kept: Count;
  /** Not named, but young. */
  young: Count;
  /** Moved to the trash, to be removed a `minAge` later. */
  trashed: Count;
  /** In the trash since less than `minAge`. */
  waiting: Count;
  /** Brought back from the trash, as something names them. */
  restored: Count;
  /** Removed for good: the space that was freed. */
  removed: Count;
  /** Files or uploads that were left half written by what died, and removed. */
  broken: number;
}

/** Looks over the store once. Throws a FoveaError, having changed nothing, where damage hides what is named. */
export async function collectGarbage(store: Store, options: GarbageOptions = {}): Promise<Garbage> {
  const { minAge = DAY_MS, now = Date.now(), keep, dryRun = false } = options;
  // In this order: what is put or moved after it was listed is not swept, what is named after the mark is not removed.
  const trash = await listed(store, 'trash');
  const blobs = await listed(store);
  const sizes = new Map([...trash, ...blobs].map(([sha256, { size }]) => [sha256, size]));
  const { refs, named, faults, blind } = await reach(store, sizes, keep);
  if (blind) {
    throw new FoveaError(
      `Nothing was removed from the store at ${store.root}, as damage hides what is in use: ${[...faults].sort()[0]} \`fovea store verify\` lists all.`,
    );
  }
  const isOld = ({ storedAt }: StoredBlob) => storedAt <= now - minAge;
  const none = (): Count => ({ blobs: 0, bytes: 0 });
  const [kept, young, trashed, waiting, restored, removed] = [none(), none(), none(), none(), none(), none()];
  const act = async (count: Count, { size }: StoredBlob, action?: () => Promise<void>) => {
    count.blobs++;
    count.bytes += size;
    if (!dryRun) await action?.();
  };
  await inParallel(trash.values(), READS_AT_ONCE, async (blob) => {
    const { sha256 } = blob;
    if (named.has(sha256) && !blobs.has(sha256)) return act(restored, blob, () => store.moveBlob(sha256, 'blobs'));
    return isOld(blob) ? act(removed, blob, () => store.removeBlob(sha256)) : act(waiting, blob);
  });
  await inParallel(blobs.values(), READS_AT_ONCE, async (blob) => {
    const { sha256 } = blob;
    if (named.has(sha256)) return act(kept, blob);
    if (!isOld(blob)) return act(young, blob);
    if (minAge > 0) return act(trashed, blob, () => store.moveBlob(sha256, 'trash'));
    await act(removed, blob, () => store.moveBlob(sha256, 'trash').then(() => store.removeBlob(sha256)));
  });
  const broken = dryRun ? 0 : await store.tidy(now - minAge);
  return { refs, kept, young, trashed, waiting, restored, removed, broken };
}
