// What is checked before a run is resumed: that its committed rounds still have their blobs. A round whose blobs are gone
// is forgotten and trained again, which gives the same checkpoint, unless retention let them go; a damaged one is a
// sentence, since only a person can say whether there is a good copy.

import { hasCheckpoint, type Store, verifyCheckpoint } from '@fovea/artifacts';
import { prunedRef, prunedRounds } from './retention.ts';
import { committedRounds, roundRef } from './runs.ts';
import type { RunRecord } from './schemas.ts';

/**
 * Drops the refs of rounds that lost their blobs, and of the pruned ones before them that nothing could start from, and
 * verifies the head of every track. Returns what was dropped.
 */
export async function recoverRun(store: Store, run: RunRecord): Promise<string[]> {
  const dropped: string[] = [];
  const pruned = await prunedRounds(store, run.id);
  for (const [track, committed] of await committedRounds(store, run)) {
    const has = await Promise.all(committed.map(({ record }) => hasCheckpoint(store, record.checkpoint)));
    const isLetGo = ({ round }: (typeof committed)[number]) => pruned.has(prunedRef(run.id, track, round.round));
    const lost = committed.findIndex((each, i) => !has[i] && !isLetGo(each));
    const length = has.lastIndexOf(true, lost < 0 ? has.length : lost) + 1;
    for (const { round } of committed.slice(length).reverse()) {
      await store.removeRef(prunedRef(run.id, track, round.round));
      const ref = roundRef(run.id, track, round.round);
      await store.removeRef(ref);
      dropped.push(ref);
    }
    const head = committed[length - 1];
    if (!head) continue;
    if (isLetGo(head)) await store.removeRef(prunedRef(run.id, track, head.round.round));
    await verifyCheckpoint(store, head.record.checkpoint);
  }
  return dropped;
}
