// Which checkpoints must stay, by the records of real stores; and a run whose weights were let go and collected is
// recovered like any other.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { collectGarbage, hasCheckpoint, type Store, verifyStore, writeCheckpoint } from '@fovea/artifacts';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { metrics, testRun } from '../test-fixtures/run.ts';
import { recoverRun } from './recover.ts';
import { keptCheckpoints, prunedRef, pruneRound } from './retention.ts';
import { committedRounds, roundRef } from './runs.ts';
import type { RunRecord } from './schemas.ts';

let dir: string;
let store: Store;
let run: RunRecord;
let parents: Record<string, string>;

beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'fovea-retention-'));
  ({ store, run } = await testRun(dir));
  parents = {};
});
afterEach(() => rm(dir, { recursive: true, force: true }));

/** Commits a round with weights and moments of its own; another run of the same recipe gets the same checkpoint. */
async function commit(track: string, round: number, runId = run.id): Promise<string> {
  const parent = parents[`${runId}/${track}`] ?? parents[`${runId}/trunk`] ?? null;
  const put = (what: string) => store.put(new TextEncoder().encode(`${what} ${track} ${round}`));
  const [weights, optimizer] = [await put('weights'), await put('moments')];
  const about = {
    version: 1,
    parent,
    track,
    stage: 'align',
    round,
    step: round,
    cursor: { step: 0 },
    seed: 3,
  } as const;
  const checkpoint = await writeCheckpoint(store, { ...about, weights, optimizer, recipe: run.recipeHash });
  parents[`${runId}/${track}`] = checkpoint;
  const record = { checkpoint, step: round, stage: 'align', metrics, committedAt: 'x' };
  await store.writeRef(roundRef(runId, track, round), record);
  return checkpoint;
}

const prune = (track: string, round: number, checkpoint: string, runId = run.id) =>
  pruneRound(store, { runId, track, round }, checkpoint, new Date('2026-11-02T00:00:00Z'));
/** Takes away at once all that nothing names. */
const collect = async () =>
  collectGarbage(store, { keep: await keptCheckpoints(store), minAge: 0, now: Date.now() + 1000 });
const rounds = async () =>
  Object.fromEntries(
    [...(await committedRounds(store, run))].map(([track, each]) => [track, each.map(({ round }) => round.round)]),
  );

test('what is let go is collected, its record and manifest stay, and the store is whole', async () => {
  const [first, second, third] = [await commit('trunk', 0), await commit('trunk', 1), await commit('trunk', 2)];
  await prune('trunk', 0, first);
  await prune('trunk', 1, second);
  expect((await collect()).removed.blobs).toBe(4);
  expect(await Promise.all([first, second, third].map((id) => hasCheckpoint(store, id)))).toEqual([false, false, true]);
  expect(await store.has(first)).toBe(true);
  expect((await verifyStore(store, { keep: await keptCheckpoints(store) })).faults).toEqual([]);
  expect((await verifyStore(store)).faults).toHaveLength(4);
  expect(await recoverRun(store, run)).toEqual([]);
  expect(await rounds()).toMatchObject({ trunk: [0, 1, 2] });
});

test('the newest of a track stays even where it is marked, and what another run still has', async () => {
  const first = await commit('trunk', 0);
  await prune('trunk', 0, first);
  expect((await collect()).removed.blobs).toBe(0);
  await commit('trunk', 1);
  await commit('trunk', 0, 'twin');
  await commit('trunk', 1, 'twin');
  expect((await collect()).removed.blobs, 'the twin has it').toBe(0);
  await prune('trunk', 0, first, 'twin');
  expect((await collect()).removed.blobs).toBe(2);
  expect(await hasCheckpoint(store, first)).toBe(false);
});

test('a lost round after pruned ones goes back to one that has its weights, or to the start', async () => {
  const ids = [await commit('trunk', 0), await commit('trunk', 1), await commit('trunk', 2)];
  const branch = [await commit('aligned', 0), await commit('aligned', 1)];
  await prune('trunk', 1, ids[1]);
  await prune('aligned', 0, branch[0]);
  await collect();
  const lose = async (what: string) => {
    const { sha256 } = await store.put(new TextEncoder().encode(what));
    await rm(path.join(dir, 'blobs', sha256.slice(0, 2), sha256));
  };
  await lose('weights trunk 2');
  await lose('moments aligned 1');
  expect(await recoverRun(store, run)).toEqual([
    roundRef(run.id, 'trunk', 2),
    roundRef(run.id, 'trunk', 1),
    roundRef(run.id, 'aligned', 1),
    roundRef(run.id, 'aligned', 0),
  ]);
  expect(await rounds()).toMatchObject({ trunk: [0], aligned: [] });
  expect(await store.listRefs(`runs/${run.id}/pruned`)).toEqual([]);
});

test('a marked round that becomes the head again, with its weights still there, is marked no more', async () => {
  const [, second, third] = [await commit('trunk', 0), await commit('trunk', 1), await commit('trunk', 2)];
  await prune('trunk', 1, second);
  const { sha256 } = await store.put(new TextEncoder().encode('weights trunk 2'));
  await rm(path.join(dir, 'blobs', sha256.slice(0, 2), sha256));
  expect(await recoverRun(store, run)).toEqual([roundRef(run.id, 'trunk', 2)]);
  expect(await store.readRef(prunedRef(run.id, 'trunk', 1))).toBeNull();
  parents[`${run.id}/trunk`] = second;
  expect(await commit('trunk', 2), 'as before').toBe(third);
});
