// The sweeper against a real store and a real Redis; the test does what runs do, by writing their records and scores. A
// new sweeper for every look, so that nothing is known but what the store holds.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { openStore } from '@fovea/artifacts';
import type { Scorecard } from '@fovea/benchmarks';
import {
  cancelSweep,
  connect,
  ensureRedis,
  type Fleet,
  listRuns,
  type OwnedRedis,
  openSweeps,
  pauseRun,
  readControl,
  readRun,
  resumeRun,
  type SweepRecord,
  scoredRef,
  submitSweep,
  sweepStatus,
  trialRef,
  trialsOf,
  updateRun,
} from '@fovea/jobs';
import { parseSweep, pointsOf, recipeHash, recipeSchema, rungsOf } from '@fovea/recipe';
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { scorePlan } from '../../../packages/benchmarks/src/score.ts';
import { drawnPlan, drawnSubject, evalConfig } from '../../../packages/benchmarks/src/testing.ts';
import { RECIPE_TEXT, recipe as tiny } from '../../../packages/jobs/test-fixtures/run.ts';
import { Sweeper } from './sweeper.ts';

let dir: string;
let server: OwnedRedis;
let redis: Redis;
let fleet: Fleet;
let card: Scorecard;
let stores = 0;
const NOW = Date.parse('2026-11-20T10:00:00Z');

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'fovea-sweeper-'));
  server = await ensureRedis({ root: dir, runId: 'sweeper' });
  redis = connect(server.url);
  const subject = await drawnSubject(1, 24, () => 1);
  const about = { checkpoint: '', role: 'aligned', eval: evalConfig, suites: ['retention' as const] };
  card = await scorePlan({ plan: drawnPlan(), subject, ...about });
});
afterAll(async () => {
  redis.disconnect();
  await server.stop();
  await rm(dir, { recursive: true, force: true });
});
beforeEach(async () => {
  fleet = { redis, store: await openStore(path.join(dir, `store-${stores++}`)), prefix: 'sweeps' };
});

const recipe = recipeSchema.parse({
  ...tiny,
  stages: tiny.stages.map((each) => (each.stage === 'align' ? { ...each, roundSteps: 5, roles: ['aligned'] } : each)),
});
const metric = { suite: 'retention', split: 'id', metric: 'top1', against: null };
const lr = 'stages.align.lr';

function submit(fields: object, seeds = [3]): Promise<SweepRecord> {
  const sweep = parseSweep(JSON.stringify({ name: 'try', recipe: 'tiny', metric, parallel: 2, ...fields }), 'try.yaml');
  const resolved = { recipe, recipeDir: dir, recipeText: RECIPE_TEXT, recipeSource: 'tiny.yaml' };
  const points = pointsOf(sweep).map((point) => ({ ...point, resolved }));
  return submitSweep(fleet, { sweep, seeds, rungs: rungsOf(sweep, recipe), points }, new Date(NOW));
}

const look = () => new Sweeper(fleet, () => NOW).look(null);
const runsOf = async ({ id }: SweepRecord) =>
  (await listRuns(fleet.store)).map((run) => run.id.slice(id.length + 1)).sort();

/** A run's scorecard after so many rounds: a real one, but for the value. */
async function reach(run: string, rounds: number, value: number): Promise<void> {
  const checkpoint = `${run}${rounds}`.replace(/[^0-9a-f]/g, '').padEnd(64, '0');
  const results = card.results.map((each) => ({ ...each, value }));
  const { sha256 } = await fleet.store.put(new TextEncoder().encode(JSON.stringify({ ...card, checkpoint, results })));
  const scored = { checkpoint, role: 'aligned', round: rounds - 1, scorecard: sha256 };
  await fleet.store.writeRef(scoredRef(run, 'aligned', rounds - 1), scored);
}

const end = (run: string, status: 'completed' | 'failed') =>
  updateRun(
    fleet.store,
    run,
    { status, error: status === 'failed' ? { message: 'x', user: true } : null },
    new Date(NOW),
  );

test('runs of a grid are started in order, as many as may go on at once, whoever looks', async () => {
  const sweep = await submit({ space: { [lr]: [1e-4, 1e-3] }, priority: 7 }, [3, 4]);
  await Promise.all([look(), look()]);
  expect(await runsOf(sweep)).toEqual(['p0-s3', 'p0-s4']);
  const run = await readRun(fleet.store, `${sweep.id}-p0-s4`);
  expect(run).toMatchObject({ status: 'submitted', recipe: { seed: 4 }, recipeSource: 'tiny.yaml' });
  expect(run.recipeHash).toBe(recipeHash({ ...recipe, seed: 4 }));
  expect(await readControl(fleet.store, run.id)).toMatchObject({ wants: 'run', priority: 7 });
  expect(await readControl(fleet.store, run.id)).not.toHaveProperty('rounds');
  expect(await fleet.store.readRef(trialRef(sweep.id, 1))).toEqual({
    run: run.id,
    point: 0,
    values: { [lr]: 1e-4 },
    seed: 4,
  });
  await end(run.id, 'completed');
  await end(`${sweep.id}-p0-s3`, 'failed');
  await look();
  expect(await runsOf(sweep)).toEqual(['p0-s3', 'p0-s4', 'p1-s3', 'p1-s4']);
  for (const name of ['p1-s3', 'p1-s4']) await end(`${sweep.id}-${name}`, 'completed');
  await look();
  expect(await sweepStatus(fleet.store, sweep.id)).toBe('completed');
  expect(await openSweeps(fleet.store)).toEqual([]);
});

test('a run whose start was cut short is started once', async () => {
  const sweep = await submit({ space: { [lr]: [1e-4] } });
  const [{ n, ...trial }] = trialsOf(sweep);
  await fleet.store.createRef(trialRef(sweep.id, n), trial);
  await look();
  await look();
  expect(await runsOf(sweep)).toEqual(['p0-s3']);
});

test('halving pauses, promotes and ends by what the store holds', async () => {
  const space = { [lr]: { min: 1e-5, max: 1e-2, log: true } };
  const sweep = await submit({ space, search: { kind: 'asha', samples: 4, eta: 2 } });
  expect(sweep.rungs).toEqual([1, 2, 4]);
  const id = (point: number) => `${sweep.id}-p${point}-s3`;
  const control = (point: number) => readControl(fleet.store, id(point));
  await look();
  expect(await runsOf(sweep)).toEqual(['p0-s3', 'p1-s3']);
  expect(await control(0)).toMatchObject({ wants: 'run', rounds: 1 });
  await reach(id(0), 1, 0.3);
  await look();
  expect(await control(0)).toMatchObject({ wants: 'pause', rounds: 1 });
  expect(await runsOf(sweep)).toEqual(['p0-s3', 'p1-s3', 'p2-s3']);
  await reach(id(1), 1, 1);
  await look();
  expect(await control(1), 'best of two').toMatchObject({ wants: 'run', rounds: 2 });
  await reach(id(2), 1, 0.02);
  await look();
  expect(await control(2)).toMatchObject({ wants: 'pause', rounds: 1 });
  await reach(id(1), 2, 1);
  await reach(id(3), 1, 0.01);
  await look();
  // Two of four go on from the first rung: p1, which has, and p0, which was paused.
  expect(await control(0)).toMatchObject({ wants: 'run', rounds: 2, session: 2 });
  expect(await control(1)).toMatchObject({ wants: 'pause', rounds: 2 });
  expect(await control(3)).toMatchObject({ wants: 'pause', rounds: 1 });
  await reach(id(0), 2, 0.3);
  await look();
  expect(await control(1), 'to its end').toMatchObject({ wants: 'run' });
  expect(await control(1)).not.toHaveProperty('rounds');
  await reach(id(1), 4, 1);
  await look();
  expect(await sweepStatus(fleet.store, sweep.id), 'its report is to come').toBe('running');
  await end(id(1), 'completed');
  await look();
  expect(await sweepStatus(fleet.store, sweep.id)).toBe('completed');
  await resumeRun(fleet, id(0));
  expect(await control(0), 'a person lets it go on to its end').not.toHaveProperty('rounds');
});

test('a run that an operator has paused makes room, and the sweep waits for it', async () => {
  const sweep = await submit({ space: { [lr]: [1e-4, 1e-3, 1e-2] }, parallel: 1 });
  await look();
  await pauseRun(fleet, `${sweep.id}-p0-s3`);
  for (const point of [1, 2]) {
    await look();
    await end(`${sweep.id}-p${point}-s3`, 'completed');
  }
  await look();
  expect(await sweepStatus(fleet.store, sweep.id)).toBe('running');
  await end(`${sweep.id}-p0-s3`, 'completed');
  await look();
  expect(await sweepStatus(fleet.store, sweep.id)).toBe('completed');
});

test('a cancelled sweep cancels what goes on, and only looks at sweeps that it heard of', async () => {
  const [one, two] = [await submit({ name: 'one' }), await submit({ name: 'two' })];
  await new Sweeper(fleet, () => NOW).look(new Set([`${two.id}-p0-s3`, 'other-run']));
  expect((await listRuns(fleet.store)).map(({ id }) => id)).toEqual([`${two.id}-p0-s3`]);
  await cancelSweep(fleet, two.id);
  await look();
  expect(await readControl(fleet.store, `${two.id}-p0-s3`)).toMatchObject({ wants: 'cancel' });
  expect(await sweepStatus(fleet.store, two.id)).toBe('cancelling');
  await updateRun(fleet.store, `${two.id}-p0-s3`, { status: 'cancelled' }, new Date(NOW));
  await look();
  expect(await sweepStatus(fleet.store, two.id)).toBe('cancelled');
  expect(await openSweeps(fleet.store)).toEqual([one.id]);
});
