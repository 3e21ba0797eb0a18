// Rounds whose weights were let go. A mark beside the round's record says so; the record itself and the checkpoint's
// manifest stay, so that metrics and lineage do. What takes the blobs away is `collectGarbage`, told by `keptCheckpoints`.

import type { Keep, Store } from '@fovea/artifacts';
import { z } from 'zod';
import { parseRef, roundRef } from './runs.ts';

const markSchema = z.strictObject({ checkpoint: z.string().regex(/^[0-9a-f]{64}$/), at: z.iso.datetime() });

export const prunedRef = (runId: string, track: string, round: number) => `runs/${runId}/pruned/${track}/${round}.json`;

/** Lets a round's weights go. Never the newest of its track: that is what the next round starts from. */
export async function pruneRound(
  store: Store,
  { runId, track, round }: { runId: string; track: string; round: number },
  checkpoint: string,
  now: Date,
): Promise<void> {
  await store.createRef(prunedRef(runId, track, round), markSchema.parse({ checkpoint, at: now.toISOString() }));
}

/** Refs of the marks of a run. */
export async function prunedRounds(store: Store, runId: string): Promise<Set<string>> {
  return new Set(await store.listRefs(`runs/${runId}/pruned`));
}

/**
 * Which checkpoints of a store must stay, by the runs' records: all but those that every run which has them has let go.
 * The newest round of a track stays even where it is marked.
 */
export async function keptCheckpoints(store: Store): Promise<Keep> {
  const refs = await store.listRefs('runs');
  const pruned = refs.filter((ref) => /^runs\/[^/]+\/pruned\/[^/]+\/\d+\.json$/.test(ref));
  const letGo = new Set<string>();
  for (const ref of pruned) {
    const mark = await store.readRef(ref);
    if (mark !== null) letGo.add(parseRef(markSchema, mark, ref).checkpoint);
  }
  if (letGo.size === 0) return () => true;
  for (const ref of heldBy(refs, new Set(pruned))) {
    const record = (await store.readRef(ref)) as { checkpoint?: unknown } | null;
    if (typeof record?.checkpoint === 'string') letGo.delete(record.checkpoint);
  }
  return (checkpoint) => !letGo.has(checkpoint);
}

/** Refs of the records that are not marked, and of the newest of each track. */
function heldBy(refs: readonly string[], pruned: ReadonlySet<string>): string[] {
  const newest = new Map<string, number>();
  const rounds = refs.flatMap((ref) => {
    const [, run, track, round] = /^runs\/([^/]+)\/tracks\/([^/]+)\/(\d+)\.json$/.exec(ref) ?? [];
    return round === undefined ? [] : [{ run, track, round: Number(round) }];
  });
  for (const { run, track, round } of rounds) {
    const place = `${run}/${track}`;
    newest.set(place, Math.max(newest.get(place) ?? 0, round));
  }
  return rounds
    .filter(({ run, track, round }) => {
      return newest.get(`${run}/${track}`) === round || !pruned.has(prunedRef(run, track, round));
    })
    .map(({ run, track, round }) => roundRef(run, track, round));
}
