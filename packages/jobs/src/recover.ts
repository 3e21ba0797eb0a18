// What is checked before a run is resumed: that its committed rounds still have their blobs. A round whose blobs are gone
// is forgotten and trained again, which gives the same checkpoint; a damaged one is a sentence, since only a person can
// say whether there is a good copy.

import { hasCheckpoint, type Store, verifyCheckpoint } from '@fovea/artifacts';
import { committedRounds, roundRef } from './runs.ts';
import type { RunRecord } from './schemas.ts';

/** Drops the refs of rounds that lost their blobs, and verifies the head of every track. Returns what was dropped. */
export async function recoverRun(store: Store, run: RunRecord): Promise<string[]> {
  const dropped: string[] = [];
  for (const [track, committed] of await committedRounds(store, run)) {
    const has = await Promise.all(committed.map(({ record }) => hasCheckpoint(store, record.checkpoint)));
    const lost = has.indexOf(false);
    const kept = lost < 0 ? committed : committed.slice(0, lost);
    for (const { round } of committed.slice(kept.length).reverse()) {
      const ref = roundRef(run.id, track, round.round);
      await store.removeRef(ref);
      dropped.push(ref);
    }
    const head = kept.at(-1);
    if (head) await verifyCheckpoint(store, head.record.checkpoint);
  }
  return dropped;
}
