import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type Store, writeCheckpoint } from '@fovea/artifacts';
import {
  bullmq,
  connect,
  EVAL_QUEUE,
  ensureRedis,
  type JobData,
  type OwnedRedis,
  prefixOf,
  purgeRun,
  type RunRecord,
  roundRef,
  TRAIN_QUEUE,
} from '@fovea/jobs';
import type { Queue, Worker } from 'bullmq';
import type { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { scorePlan } from '../../../packages/benchmarks/src/score.ts';
import { drawnPlan, drawnSubject, evalConfig } from '../../../packages/benchmarks/src/testing.ts';
import { metrics, testRun } from '../../../packages/jobs/test-fixtures/run.ts';
import { Bell } from './bell.ts';
import { Planner, type PlannerOptions } from './planner.ts';

let dir: string;
let server: OwnedRedis;
let redis: Redis;
let store: Store;
let run: RunRecord;
let queues: Record<'train' | 'eval', Queue>;
const open: { close(): Promise<unknown> }[] = [];

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'fovea-planner-'));
  server = await ensureRedis({ root: dir, runId: 'planner' });
  redis = connect(server.url);
});
afterAll(async () => {
  redis.disconnect();
  await server.stop();
  await rm(dir, { recursive: true, force: true });
});
beforeEach(async () => {
  ({ store, run } = await testRun(path.join(dir, 'store')));
  const { Queue } = bullmq();
  const shared = { connection: redis, prefix: prefixOf(run.id) };
  queues = { train: new Queue(TRAIN_QUEUE, shared), eval: new Queue(EVAL_QUEUE, shared) };
  open.push(queues.train, queues.eval);
});
afterEach(async () => {
  for (const each of open.splice(0)) await each.close();
});

function planner(options: Partial<PlannerOptions> = {}): Planner {
  const made = new Planner({ store, run, runDir: dir, redis, ...options });
  open.push(made);
  return made;
}

async function commit(track: string, ...rounds: number[]): Promise<void> {
  for (const round of rounds) {
    const weights = await store.put(new TextEncoder().encode(`${track} ${round}`));
    const checkpoint = await writeCheckpoint(store, {
      version: 1,
      parent: null,
      track,
      stage: 'align',
      round,
      step: round,
      weights,
      optimizer: null,
      cursor: { step: 0 },
      seed: 3,
      recipe: run.recipeHash,
    });
    await store.writeRef(roundRef(run.id, track, round), {
      checkpoint,
      step: round,
      stage: 'align',
      metrics,
      committedAt: 'x',
    });
  }
}

/** Works on a queue in this process until the test ends. */
function work(queue: 'train' | 'eval', process: (data: JobData) => Promise<unknown>): Worker {
  const { Worker } = bullmq();
  const worker = new Worker(queues[queue].name, (job) => process(job.data), {
    connection: redis,
    prefix: prefixOf(run.id),
  });
  open.push(worker);
  return worker;
}

const ids = async (queue: 'train' | 'eval') => (await queues[queue].getJobs()).map((job) => job.id).sort();
const finished = (worker: Worker, n: number) =>
  new Promise<void>((resolve) => {
    let left = n;
    for (const event of ['completed', 'failed'] as const) worker.on(event, () => --left === 0 && resolve());
  });

test('queues the first round once, however often it looks and whoever looks', async () => {
  for (const each of [planner(), planner()]) {
    for (let i = 0; i < 3; i++) expect(await each.reconcile()).toEqual({ state: 'working' });
  }
  expect(await ids('train')).toEqual(['merge-trunk-0', 'shard-trunk-0-0']);
  expect((await queues.train.getJob('shard-trunk-0-0'))!.data).toMatchObject({
    version: 1,
    session: 1,
    run: run.id,
    base: null,
    round: { stage: 'init', steps: 0 },
  });
  expect(await (await queues.train.getJob('merge-trunk-0'))!.getState()).toBe('waiting-children');
});

test('goes on from what the store holds, with an empty Redis too', async () => {
  await commit('trunk', 0, 1);
  const one = planner();
  await one.reconcile();
  expect(await ids('train')).toEqual(['merge-trunk-2', 'shard-trunk-2-0']);
  await purgeRun(redis, run.id);
  await one.reconcile();
  expect(await ids('train')).toEqual(['merge-trunk-2', 'shard-trunk-2-0']);
  const { checkpoint } = (await store.readRef(roundRef(run.id, 'trunk', 1))) as { checkpoint: string };
  expect((await queues.train.getJob('merge-trunk-2'))!.data.base).toBe(checkpoint);
});

test('starts every role from the end of the trunk, one at a time unless there are more workers', async () => {
  await commit('trunk', 0, 1, 2);
  const { checkpoint } = (await store.readRef(roundRef(run.id, 'trunk', 2))) as { checkpoint: string };
  await planner().reconcile();
  expect(await ids('train')).toEqual(['merge-aligned-0', 'shard-aligned-0-0']);
  await planner({ width: 2 }).reconcile();
  expect(await ids('train')).toEqual(['merge-aligned-0', 'merge-control-0', 'shard-aligned-0-0', 'shard-control-0-0']);
  const shards = await Promise.all(['aligned', 'control'].map((track) => queues.train.getJob(`shard-${track}-0-0`)));
  expect(shards.map((job) => job!.data.base)).toEqual([checkpoint, checkpoint]);
  expect(shards[0]!.priority).toBeLessThan(shards[1]!.priority);
});

test('scores what is committed at once, or after the training where that is wished', async () => {
  await commit('trunk', 0, 1, 2);
  await commit('aligned', 0);
  await planner({ scoreAfter: 'training' }).reconcile();
  expect(await ids('eval')).toEqual([]);
  await planner().reconcile();
  expect(await ids('eval')).toEqual(['score-aligned-0', 'score-trunk-2']);
  expect((await queues.eval.getJob('score-trunk-2'))!.data).toMatchObject({ role: 'baseline', suites: ['retention'] });
});

/** A scorecard in the store: the start's, one as good, or one that hardly sees. */
async function card(role: string, sight: number): Promise<string> {
  const subject = await drawnSubject(1, 24, (input) => (input < 36 ? 1 : sight));
  const checkpoint = role.padEnd(64, '0');
  const scorecard = await scorePlan({
    plan: drawnPlan(),
    subject,
    checkpoint,
    role,
    eval: evalConfig,
    suites: evalConfig.suites,
  });
  return (await store.put(new TextEncoder().encode(JSON.stringify(scorecard)))).sha256;
}

/** A run whose branches stop when retention falls; its evaluation finds the aligned branch as good or bad as told. */
async function gatedRun(sight: number): Promise<() => Promise<void>> {
  const stages = run.recipe.stages.map((stage) =>
    stage.stage === 'align' ? { ...stage, stopOn: { suite: 'retention' as const, drop: 0.01 } } : stage,
  );
  run = { ...run, recipe: { ...run.recipe, stages } };
  await commit('trunk', 0, 1, 2);
  await commit('aligned', 0);
  const [start, now] = [await card('baseline', 1), await card('aligned', sight)];
  return async () => {
    const scored = work('eval', async (data) => {
      if (data.kind !== 'score') return 'reported';
      return {
        checkpoint: data.checkpoint,
        role: data.role,
        round: data.round,
        scorecard: data.track === 'trunk' ? start : now,
      };
    });
    await finished(scored, 2);
  };
}

test('a branch waits for its score, and stops for good where retention fell, while the others go on', async () => {
  const score = await gatedRun(0.02);
  const one = planner();
  expect(await one.reconcile()).toEqual({ state: 'working' });
  expect(await ids('train')).toEqual(['merge-control-0', 'shard-control-0-0']);
  expect(await ids('eval')).toEqual(['score-aligned-0', 'score-trunk-2']);
  await score();
  await one.reconcile();
  expect(await ids('train')).toEqual(['merge-control-0', 'shard-control-0-0']);
  await purgeRun(redis, run.id);
  await planner({ width: 2 }).reconcile();
  expect(await ids('train'), 'until it is scored again').toEqual(['merge-control-0', 'shard-control-0-0']);
});

test('a branch whose retention holds goes on, and one that waits at the end is not reported before', async () => {
  const score = await gatedRun(1);
  await commit('control', 0, 1);
  const one = planner({ scoreAfter: 'training' });
  expect(await one.reconcile()).toEqual({ state: 'working' });
  expect(await ids('train')).toEqual([]);
  expect(await ids('eval')).not.toContain('report');
  await score();
  await one.reconcile();
  expect(await ids('train')).toEqual(['merge-aligned-1', 'shard-aligned-1-0']);
});

test('a shard that fails for good fails the run with its sentence', async () => {
  const { UnrecoverableError } = bullmq();
  const one = planner();
  await one.reconcile();
  const worker = work('train', async () => {
    throw new UnrecoverableError('FoveaError: The picture cat.png cannot be read.');
  });
  await finished(worker, 1);
  expect(await one.reconcile()).toEqual({
    state: 'failed',
    message: 'The picture cat.png cannot be read.',
    user: true,
  });
});

test('a score that fails does not stop the training, and fails the run at its end', async () => {
  await commit('trunk', 0, 1, 2);
  const one = planner();
  await one.reconcile();
  const { UnrecoverableError } = bullmq();
  await finished(
    work('eval', async () => Promise.reject(new UnrecoverableError('no'))),
    1,
  );
  expect(await one.reconcile()).toEqual({ state: 'working' });
  await commit('aligned', 0, 1);
  await commit('control', 0, 1);
  expect(await one.reconcile()).toEqual({ state: 'failed', message: 'no', user: false });
});

test('a round whose ref is taken away after its commit is trained again', async () => {
  const one = planner();
  await one.reconcile();
  await finished(
    work('train', async () => ({})),
    2,
  );
  expect(await ids('train')).toEqual(['merge-trunk-0', 'shard-trunk-0-0']);
  await one.reconcile();
  expect(await ids('train')).toEqual([]);
  await one.reconcile();
  expect(await ids('train')).toEqual(['merge-trunk-0', 'shard-trunk-0-0']);
});

test('the report gets every score, those of before its flow included, and ends the run once its files exist', async () => {
  await commit('trunk', 0, 1, 2);
  await commit('aligned', 0, 1);
  const one = planner();
  await one.reconcile();
  const scores = work('eval', async (data) =>
    data.kind === 'score' ? { role: data.role, round: data.round } : 'reported',
  );
  await finished(scores, 3);
  await commit('control', 0, 1);
  const rest = finished(scores, 3);
  await one.reconcile();
  await rest;
  const report = (await queues.eval.getJob('report'))!;
  const values = Object.values(await report.getChildrenValues<{ role: string; round: number }>());
  expect(values.map(({ role, round }) => `${role} ${round}`).sort()).toEqual([
    'aligned 0',
    'aligned 1',
    'baseline 2',
    'control 0',
    'control 1',
  ]);
  // Its files are not there, so it is written again.
  const again = finished(scores, 1);
  expect(await one.reconcile()).toEqual({ state: 'working' });
  expect(await one.reconcile()).toEqual({ state: 'working' });
  await again;
  for (const name of ['report.html', 'summary.json']) await writeFile(path.join(dir, name), 'x');
  expect(await one.reconcile()).toEqual({ state: 'completed' });
});

test('a run without suites is reported without scores', async () => {
  run = { ...run, recipe: { ...run.recipe, eval: { ...run.recipe.eval, suites: [] } } };
  await commit('trunk', 0, 1, 2);
  await commit('aligned', 0, 1);
  await commit('control', 0, 1);
  await planner().reconcile();
  expect(await ids('eval')).toEqual(['report']);
});

test('a bell that rings while nobody sleeps ends the next sleep at once', async () => {
  const bell = new Bell(60_000);
  bell.ring();
  await bell.wait();
  const sleeping = bell.wait();
  bell.ring();
  await sleeping;
  await new Bell(5).wait();
});
