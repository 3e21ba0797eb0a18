import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type Store, writeCheckpoint } from '@fovea/artifacts';
import {
  type JobBook as Book,
  bullmq,
  connect,
  ensureRedis,
  type Fleet,
  JobBook,
  type JobData,
  type OwnedRedis,
  purge,
  type RunRecord,
  reportRef,
  roundRef,
  scoredRef,
  shardRef,
  type WorkerInfo,
} from '@fovea/jobs';
import type { EvalGate } from '@fovea/recipe';
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
let fleet: Fleet;
let book: Book;
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
  fleet = { redis, store, prefix: run.id };
  const shared = { connection: redis, prefix: run.id };
  queues = { train: new Queue('train-cpu-0g', shared), eval: new Queue('eval-cpu-0g', shared) };
  book = new JobBook(fleet, () => undefined);
  open.push(queues.train, queues.eval, book);
});
afterEach(async () => {
  for (const each of open.splice(0)) await each.close();
});

const planner = (options: Partial<PlannerOptions> = {}): Planner => new Planner({ fleet, book, run, ...options });

/** So many idle workers of the least kind. */
const workers = (n: number, role: 'train' | 'eval' = 'train', memory = 0): WorkerInfo[] =>
  Array.from({ length: n }, (_, i) => ({
    name: `${role}-${memory}-${i}`,
    host: 'here',
    pid: i,
    role,
    device: 'cpu',
    memory,
    engines: {},
    startedAt: '',
    seenAt: '',
    job: null,
  }));
/** A job's id without its run and session. */
const short = (id = '') => id.replace(/^.*\.\d+\./, '');
const idOf = (name: string) => `${run.id}.${run.session}.${name}`;

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
    prefix: run.id,
  });
  open.push(worker);
  return worker;
}

const ids = async (queue: 'train' | 'eval') => (await queues[queue].getJobs()).map((job) => short(job.id)).sort();
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
  expect((await queues.train.getJob(idOf('shard-trunk-0-0')))!.data).toMatchObject({
    version: 2,
    session: 1,
    run: run.id,
    base: null,
    round: { stage: 'init', steps: 0 },
  });
  expect(await (await queues.train.getJob(idOf('merge-trunk-0')))!.getState()).toBe('waiting-children');
});

test('goes on from what the store holds, with an empty Redis too', async () => {
  await commit('trunk', 0, 1);
  const one = planner();
  await one.reconcile();
  expect(await ids('train')).toEqual(['merge-trunk-2', 'shard-trunk-2-0']);
  await purge(redis, fleet.prefix);
  await one.reconcile();
  expect(await ids('train')).toEqual(['merge-trunk-2', 'shard-trunk-2-0']);
  const { checkpoint } = (await store.readRef(roundRef(run.id, 'trunk', 1))) as { checkpoint: string };
  expect((await queues.train.getJob(idOf('merge-trunk-2')))!.data.base).toBe(checkpoint);
});

test('starts every role from the end of the trunk, one at a time unless there are more workers', async () => {
  await commit('trunk', 0, 1, 2);
  const { checkpoint } = (await store.readRef(roundRef(run.id, 'trunk', 2))) as { checkpoint: string };
  await planner().reconcile();
  expect(await ids('train')).toEqual(['merge-aligned-0', 'shard-aligned-0-0']);
  await planner().reconcile(workers(2));
  expect(await ids('train')).toEqual(['merge-aligned-0', 'merge-control-0', 'shard-aligned-0-0', 'shard-control-0-0']);
  const shards = await Promise.all(
    ['aligned', 'control'].map((track) => queues.train.getJob(idOf(`shard-${track}-0-0`))),
  );
  expect(shards.map((job) => job!.data.base)).toEqual([checkpoint, checkpoint]);
  expect(shards[0]!.priority).toBeLessThan(shards[1]!.priority);
});

test('a run that may train so many rounds waits after them, scored but not reported', async () => {
  await commit('trunk', 0, 1, 2);
  const one = planner();
  one.rank({ priority: 1, rounds: 1 });
  await one.reconcile();
  expect(await ids('train')).toEqual(['merge-aligned-0', 'shard-aligned-0-0']);
  await commit('aligned', 0);
  await commit('control', 0);
  const scores = work('eval', async (data) => note(data));
  const scored = finished(scores, 3);
  expect(await one.reconcile()).toEqual({ state: 'working' });
  await scored;
  expect(await one.reconcile()).toEqual({ state: 'working' });
  expect(await ids('eval')).not.toContain('report');
  one.rank({ priority: 1 });
  await one.reconcile();
  expect(await ids('train')).toContain('merge-aligned-1');
});

test('scores what is committed at once, or after the training where that is wished', async () => {
  await commit('trunk', 0, 1, 2);
  await commit('aligned', 0);
  await planner({ scoreAfter: 'training' }).reconcile();
  expect(await ids('eval')).toEqual([]);
  await planner().reconcile();
  expect(await ids('eval')).toEqual(['score-aligned-0', 'score-trunk-2']);
  expect((await queues.eval.getJob(idOf('score-trunk-2')))!.data).toMatchObject({
    role: 'baseline',
    suites: ['retention'],
  });
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

/** Writes a score down as the eval worker does. */
async function note(data: JobData, scorecard = '0'.repeat(64)): Promise<void> {
  if (data.kind !== 'score') return;
  const { checkpoint, role, track, round } = data;
  await store.writeRef(scoredRef(run.id, track, round), { checkpoint, role, round, scorecard });
}

const stopOn = (): RunRecord['recipe'] => {
  const stages = run.recipe.stages.map((stage) =>
    stage.stage === 'align' ? { ...stage, stopOn: { suite: 'retention' as const, drop: 0.01 } } : stage,
  );
  return { ...run.recipe, stages };
};

const gated = (gate: Partial<EvalGate>) => (): RunRecord['recipe'] => ({
  ...run.recipe,
  eval: { ...run.recipe.eval, gates: [{ suite: 'retention', metric: 'top1', maxDrop: 1, ...gate }] },
});

/** A run whose branches stop when retention falls; its evaluation finds the aligned branch as good or bad as told. */
async function gatedRun(sight: number, recipe = stopOn): Promise<() => Promise<void>> {
  run = { ...run, recipe: recipe() };
  await commit('trunk', 0, 1, 2);
  await commit('aligned', 0);
  const [start, now] = [await card('baseline', 1), await card('aligned', sight)];
  return async () => {
    const scored = work('eval', async (data) => {
      if (data.kind !== 'score') return 'reported';
      return note(data, data.track === 'trunk' ? start : now);
    });
    await finished(scored, 2);
  };
}

test.each([
  ['stopOn', stopOn],
  ['a gate of the evaluation', gated({ split: 'id' })],
  ['a gate on any split', gated({ maxDrop: 0.5 })],
])(
  'a branch waits for its score, and stops for good where retention fell by %s, while the others go on',
  async (_, recipe) => {
    const score = await gatedRun(0.02, recipe);
    const one = planner();
    expect(await one.reconcile()).toEqual({ state: 'working' });
    expect(await ids('train')).toEqual(['merge-control-0', 'shard-control-0-0']);
    expect(await ids('eval')).toEqual(['score-aligned-0', 'score-trunk-2']);
    await score();
    await one.reconcile();
    expect(await ids('train')).toEqual(['merge-control-0', 'shard-control-0-0']);
    await purge(redis, fleet.prefix);
    await planner().reconcile(workers(2));
    expect(await ids('train'), 'by the store alone').toEqual(['merge-control-0', 'shard-control-0-0']);
  },
);

test('a gate that allows as much lets the branch go on', async () => {
  const score = await gatedRun(0.02, gated({ maxDrop: 100 }));
  const one = planner();
  await one.reconcile();
  await score();
  await one.reconcile();
  expect(await ids('train')).toContain('merge-aligned-1');
});

test('a gate on what was not scored ends the run in a sentence', async () => {
  const score = await gatedRun(1, gated({ split: 'V9' }));
  const one = planner();
  await one.reconcile();
  await score();
  await expect(one.reconcile()).rejects.toThrow(
    /The gate on top1 of retention, split "V9", finds no such scores; scored are .*retention\/id top1/,
  );
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
  one.noticed(idOf('score-trunk-2'));
  expect(await one.reconcile()).toEqual({
    state: 'failed',
    message:
      "The score of round 2 of trunk could not be done: no; the whole error stands in the run's log; mend its cause, then resume the run.",
    user: false,
  });
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

test('the report is queued when no score is missing, and ends the run once the store has it', async () => {
  await commit('trunk', 0, 1, 2);
  await commit('aligned', 0, 1);
  await commit('control', 0, 1);
  const one = planner();
  await one.reconcile();
  expect(await ids('eval')).not.toContain('report');
  const scores = work('eval', async (data) => note(data));
  await finished(scores, 5);
  const reported = finished(scores, 1);
  expect(await one.reconcile()).toEqual({ state: 'working' });
  await reported;
  // It left nothing, so it is written again.
  const again = finished(scores, 1);
  expect(await one.reconcile()).toEqual({ state: 'working' });
  await again;
  const blob = await store.put(new TextEncoder().encode('x'));
  await store.writeRef(reportRef(run.id), { report: blob, summary: blob });
  expect(await one.reconcile()).toEqual({ state: 'completed' });
});

test('a score that its worker called stale is queued anew, but not for ever', async () => {
  await commit('trunk', 0, 1, 2);
  await commit('aligned', 0, 1);
  await commit('control', 0, 1);
  const one = planner();
  const { UnrecoverableError } = bullmq();
  const worker = work('eval', async () => Promise.reject(new UnrecoverableError('Stale: its data is of version 1')));
  for (let i = 0; i < 6; i++) {
    const refused = finished(worker, 5);
    one.doubt();
    expect(await one.reconcile()).toEqual({ state: 'working' });
    await refused;
  }
  one.doubt();
  expect(await one.reconcile()).toMatchObject({ state: 'failed', message: expect.stringContaining('version 1') });
});

test('a coordinator that comes second leaves the round of the first whole', async () => {
  let isFirst = true;
  /** Another coordinator queues the round between this one's look and its deed. */
  class Overtaken extends JobBook {
    override async find(data: JobData) {
      const found = await super.find(data);
      if (isFirst) {
        isFirst = false;
        await planner().reconcile();
      }
      return found;
    }
  }
  const overtaken = new Overtaken(fleet, () => undefined);
  open.push(overtaken);
  await planner({ book: overtaken }).reconcile();
  expect(await ids('train')).toEqual(['merge-trunk-0', 'shard-trunk-0-0']);
  const merge = await queues.train.getJob(idOf('merge-trunk-0'));
  expect(await merge?.getState()).toBe('waiting-children');
});

test('a shard that its worker called stale is queued anew, with the merge that failed with it', async () => {
  const one = planner();
  await one.reconcile();
  const { UnrecoverableError } = bullmq();
  const worker = work('train', async () => Promise.reject(new UnrecoverableError('Stale: its data is of version 1')));
  await finished(worker, 1);
  await worker.close();
  for (let i = 0; i < 3; i++) expect(await one.reconcile()).toEqual({ state: 'working' });
  expect(await ids('train')).toEqual(['merge-trunk-0', 'shard-trunk-0-0']);
  expect(await queues.train.getFailedCount()).toBe(0);
});

test('a merge that found too few shards tells what the shards failed of', async () => {
  run = { ...run, recipe: { ...run.recipe, shards: { ...run.recipe.shards, min: 2, max: 2 } } };
  await commit('trunk', 0);
  const one = planner();
  await one.reconcile(workers(2));
  const { UnrecoverableError } = bullmq();
  const worker = work('train', async ({ kind }) => {
    throw new UnrecoverableError(kind === 'shard' ? 'FoveaError: The disk is full.' : 'fewer than the quorum');
  });
  await finished(worker, 3);
  expect(await one.reconcile(workers(2))).toEqual({ state: 'failed', message: 'The disk is full.', user: true });
});

test('scores that Redis lost, or that wait where nobody works, are found when all is doubted, and only then', async () => {
  await commit('trunk', 0, 1, 2);
  await commit('aligned', 0, 1);
  await commit('control', 0, 1);
  const one = planner();
  await one.reconcile();
  const all = ['score-aligned-0', 'score-aligned-1', 'score-control-0', 'score-control-1', 'score-trunk-2'];
  expect(await ids('eval')).toEqual(all);
  await (await queues.eval.getJob(idOf('score-control-0')))!.remove();
  await one.reconcile();
  expect(await ids('eval')).toHaveLength(4);
  one.doubt();
  await one.reconcile();
  expect(await ids('eval')).toEqual(all);
  one.doubt();
  await one.reconcile(workers(1, 'eval', 8));
  expect(await ids('eval')).toEqual([]);
  const served = (await book.queue('eval-cpu-8g').getJobs()).map((job) => short(job.id)).sort();
  expect(served).toEqual(all);
  expect(await book.soundness(run.id, ['eval-cpu-8g'])).toEqual(new Map(all.map((name) => [idOf(name), true])));
});

test('a round is cut by the workers that are there, once and for all', async () => {
  run = { ...run, recipe: { ...run.recipe, shards: { ...run.recipe.shards, min: 2, max: 3 } } };
  await commit('trunk', 0);
  await planner().reconcile(workers(1));
  expect(await ids('train'), 'too few').toEqual([]);
  await planner().reconcile([...workers(2), ...workers(5, 'eval')]);
  expect(await ids('train')).toEqual(['merge-trunk-1', 'shard-trunk-1-0', 'shard-trunk-1-1']);
  await purge(redis, fleet.prefix);
  await planner().reconcile(workers(3));
  expect(await ids('train'), 'as before').toEqual(['merge-trunk-1', 'shard-trunk-1-0', 'shard-trunk-1-1']);
  await commit('trunk', 1);
  await planner().reconcile(workers(9));
  expect((await ids('train')).filter((id) => id.includes('trunk-2'))).toEqual([
    'merge-trunk-2',
    'shard-trunk-2-0',
    'shard-trunk-2-1',
    'shard-trunk-2-2',
  ]);
});

test('a late shard is left out once there is a quorum and its deadline has passed', async () => {
  const shards = { ...run.recipe.shards, min: 2, max: 2, quorum: 1, deadline: 60 };
  run = { ...run, recipe: { ...run.recipe, shards } };
  await commit('trunk', 0);
  let now = Date.now();
  const one = planner({ now: () => now });
  await one.reconcile(workers(2));
  let arrive = () => {};
  const late = new Promise<void>((resolve) => {
    arrive = resolve;
  });
  const worker = work('train', async (data) => {
    if (data.kind !== 'shard') return 'merged';
    if (data.shard.index === 1) return late;
    await store.writeRef(shardRef(run.id, 'trunk', 1, data.shard), { base: data.base, result: {} });
  });
  worker.concurrency = 2;
  await finished(worker, 1);
  await one.reconcile(workers(2));
  const merge = (await queues.train.getJob(idOf('merge-trunk-1')))!;
  expect(await merge.getState()).toBe('waiting-children');
  now += 61_000;
  const merged = finished(worker, 1);
  await one.reconcile(workers(2));
  await merged;
  expect(await merge.getState()).toBe('completed');
  arrive();
});

test('a job goes to a worker that has what it needs, and moves when only others come', async () => {
  run = { ...run, recipe: { ...run.recipe, engine: { ...run.recipe.engine, memory: 20 } } };
  const one = planner();
  await one.reconcile(workers(3, 'train', 16));
  const waiting = book.queue('train-cpu-24g');
  expect((await waiting.getJobs()).map(({ id }) => short(id)).sort()).toEqual(['merge-trunk-0', 'shard-trunk-0-0']);
  await one.reconcile([...workers(3, 'train', 16), ...workers(1, 'train', 80)]);
  await one.reconcile([...workers(3, 'train', 16), ...workers(1, 'train', 80)]);
  expect(await waiting.getJobs()).toEqual([]);
  expect(await book.queue('train-cpu-80g').getJobs()).toHaveLength(2);
});

test('where only the newest is to be scored, older ones that wait are dropped, and the last never is', async () => {
  run = { ...run, recipe: { ...run.recipe, eval: { ...run.recipe.eval, newestOnly: true } } };
  await commit('trunk', 0, 1, 2);
  await commit('aligned', 0);
  const one = planner();
  await one.reconcile();
  expect(await ids('eval')).toEqual(['score-aligned-0', 'score-trunk-2']);
  await commit('aligned', 1);
  await one.reconcile();
  expect(await ids('eval')).toEqual(['score-aligned-1', 'score-trunk-2']);
  await commit('control', 0, 1);
  const scores = work('eval', async (data) => note(data));
  await finished(scores, 2);
  const last = finished(scores, 1);
  await one.reconcile();
  await last;
  await one.reconcile();
  expect(await ids('eval')).toContain('report');
  expect((await store.listRefs(`runs/${run.id}/scores`)).map((ref) => ref.split('/').at(-1))).toEqual([
    'aligned-1.json',
    'control-1.json',
    'trunk-2.json',
  ]);
});

test('a queue can be told how many jobs may be worked on at once', async () => {
  await book.limit('eval-cpu-0g', 1);
  await commit('trunk', 0, 1, 2);
  await commit('aligned', 0, 1);
  await planner().reconcile();
  let now = 0;
  let most = 0;
  const each = async (data: JobData) => {
    most = Math.max(most, ++now);
    await new Promise((resolve) => setTimeout(resolve, 50));
    now--;
    await note(data);
  };
  const both = [work('eval', each), work('eval', each)];
  let left = 3;
  await new Promise<void>((resolve) => {
    for (const worker of both) worker.on('completed', () => --left === 0 && resolve());
  });
  expect(most).toBe(1);
  expect((await book.counts()).find(({ queue }) => queue === 'eval-cpu-0g')?.limit).toBe(1);
  await book.limit('eval-cpu-0g', null);
  expect((await book.counts()).find(({ queue }) => queue === 'eval-cpu-0g')?.limit).toBeNull();
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
