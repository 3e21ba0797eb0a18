// Which rounds are let go, the marks in a real store, and collections that take turns.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type Store, writeCheckpoint } from '@fovea/artifacts';
import { committedRounds, type Fleet, type RunRecord, roundRef, scoredRef, updateRun } from '@fovea/jobs';
import { type KeepConfig, recipeSchema } from '@fovea/recipe';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { scorePlan } from '../../../packages/benchmarks/src/score.ts';
import { drawnPlan, drawnSubject, evalConfig } from '../../../packages/benchmarks/src/testing.ts';
import { metrics, testRun, recipe as tiny } from '../../../packages/jobs/test-fixtures/run.ts';
import { Collector, collectionHours } from './collector.ts';
import { type HeldRound, Retention, roundsToPrune } from './retention.ts';

const DAY = 24 * 3_600_000;
let dir: string;
let store: Store;
let run: RunRecord;
let fleet: Fleet;

beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'fovea-retention-'));
  ({ store, run } = await testRun(dir));
  fleet = { store, prefix: 'x' } as Fleet;
});
afterEach(() => rm(dir, { recursive: true, force: true }));

const held = (values: (number | null | 'pending')[]): HeldRound[] =>
  values.map((value, round) => ({
    round,
    isPending: value === 'pending',
    value: typeof value === 'number' ? value : null,
  }));

test.each<[KeepConfig, (number | null | 'pending')[], number[]]>([
  [{ last: null, best: true, every: null }, [null, null, null], []],
  [{ last: 1, best: false, every: null }, [null, null, null], [0, 1]],
  [{ last: 2, best: false, every: null }, [null, null, null], [0]],
  [{ last: 9, best: false, every: null }, [null, null, null], []],
  [{ last: 1, best: false, every: 2 }, [null, null, null, null, null], [0, 2]],
  [{ last: 1, best: true, every: null }, [0.1, 0.5, 0.5, 0.2], [0, 2]],
  [{ last: 1, best: true, every: null }, [null, null, null], [0, 1]],
  [{ last: 1, best: false, every: null }, [0.9, 'pending', 0.5, null], [0, 2]],
  [{ last: 1, best: false, every: null }, [], []],
])('%j of %j lets go of %j', (keep, values, gone) => {
  expect(roundsToPrune(held(values), keep)).toEqual(gone);
});

async function commit(track: string, round: number): Promise<string> {
  const weights = await store.put(new TextEncoder().encode(`${track} ${round}`));
  const about = { version: 1, parent: null, track, stage: 'align', round, step: round, seed: 3 } as const;
  const rest = { weights, optimizer: null, cursor: { step: 0 }, recipe: run.recipeHash };
  const checkpoint = await writeCheckpoint(store, { ...about, ...rest });
  const record = { checkpoint, step: round, stage: 'align', metrics, committedAt: 'x' };
  await store.writeRef(roundRef(run.id, track, round), record);
  return checkpoint;
}

async function note(track: string, round: number, checkpoint: string, value: number): Promise<void> {
  const about = { checkpoint, role: track, eval: evalConfig, suites: ['retention' as const] };
  const card = await scorePlan({ plan: drawnPlan(), subject: await drawnSubject(1, 24, () => 1), ...about });
  const results = card.results.map((each) => ({ ...each, value }));
  const { sha256: scorecard } = await store.put(new TextEncoder().encode(JSON.stringify({ ...card, results })));
  await store.writeRef(scoredRef(run.id, track, round), { checkpoint, role: track, round, scorecard });
}

const marks = async () =>
  (await store.listRefs(`runs/${run.id}/pruned`)).map((ref) => ref.split('/').slice(3).join('/').slice(0, -5));

/** Four rounds of a branch that keeps the newest and the best. */
async function branch(): Promise<string[]> {
  const stages = tiny.stages.map((stage) => (stage.stage === 'align' ? { ...stage, roundSteps: 5 } : stage));
  run = { ...run, recipe: recipeSchema.parse({ ...tiny, stages, keep: { last: 1 } }) };
  await store.writeRef(`runs/${run.id}/run.json`, run);
  for (const round of [0, 1, 2]) await commit('trunk', round);
  return Promise.all([0, 1, 2, 3].map((round) => commit('aligned', round)));
}
const look = async (retention = new Retention(fleet, Date.now)) =>
  retention.look(run, await committedRounds(store, run));

test('rounds are marked once their scores are there, but for the best; the trunk keeps the start of the branches', async () => {
  const ids = await branch();
  const one = new Retention(fleet, Date.now);
  await look(one);
  expect(await marks()).toEqual(['trunk/0', 'trunk/1']);
  await note('aligned', 0, ids[0], 0.4);
  await note('aligned', 1, ids[1], 0.9);
  await look(one);
  expect(await marks()).toEqual(['aligned/0', 'trunk/0', 'trunk/1']);
  await note('aligned', 2, ids[2], 0.7);
  await note('aligned', 3, ids[3], 0.8);
  await look();
  expect(await marks()).toEqual(['aligned/0', 'aligned/2', 'trunk/0', 'trunk/1']);
});

test('a score that is dropped for a newer one is not waited for', async () => {
  await branch();
  run = { ...run, recipe: { ...run.recipe, eval: { ...run.recipe.eval, newestOnly: true } } };
  await look();
  expect(await marks()).toEqual(['aligned/0', 'aligned/1', 'aligned/2', 'trunk/0', 'trunk/1']);
});

test('a scorecard that cannot be read lets nothing of its track go, and fails nobody', async () => {
  const ids = await branch();
  for (const [round, id] of ids.entries()) await note('aligned', round, id, 0.5);
  const { sha256 } = await store.put(new TextEncoder().encode('{}'));
  await store.writeRef(scoredRef(run.id, 'aligned', 2), {
    checkpoint: ids[2],
    role: 'aligned',
    round: 2,
    scorecard: sha256,
  });
  await look();
  expect((await marks()).filter((mark) => mark.startsWith('aligned'))).toEqual([]);
});

test('of several coordinators one collects, and completed runs are marked first', async () => {
  await branch();
  await store.put(new TextEncoder().encode('garbage'));
  await updateRun(store, run.id, { status: 'completed' }, new Date());
  const now = Date.now() + 3 * DAY;
  const collectors = (at: number, hours = 6) =>
    Array.from({ length: 3 }, () => new Collector(store, new Retention(fleet, () => at), () => at, hours));
  const turn = async (at: number, hours?: number) => {
    for (const each of collectors(at, hours)) {
      each.look();
      each.look();
      await each.settled();
    }
  };
  await turn(now, 0);
  expect(await store.listRefs('collections')).toEqual([]);
  await turn(now);
  const [ref, ...others] = await store.listRefs('collections');
  expect(others).toEqual([]);
  expect(await marks()).toEqual(['trunk/0', 'trunk/1']);
  expect(await store.readRef(ref)).toMatchObject({ trashed: { blobs: 3 }, removed: { blobs: 0 } });
  await turn(now + DAY + 1);
  const [next, ...more] = await store.listRefs('collections');
  expect(more).toEqual([]);
  expect(await store.readRef(next)).toMatchObject({ trashed: { blobs: 0 }, removed: { blobs: 3 } });
});

test('the hours between collections come from the environment, or are a sentence', () => {
  expect(collectionHours({})).toBe(6);
  expect(collectionHours({ FOVEA_GC_HOURS: '0' })).toBe(0);
  expect(collectionHours({ FOVEA_GC_HOURS: '0.5' })).toBe(0.5);
  for (const text of ['often', '-1', 'Infinity'])
    expect(() => collectionHours({ FOVEA_GC_HOURS: text })).toThrow(/FOVEA_GC_HOURS is/);
});
