import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { isUserError, partialRef, readCheckpoint } from '@fovea/artifacts';
import {
  bullmq,
  type EngineProcess,
  type JobDataOf,
  type ProcessContext,
  type RoundRecord,
  type RunRecord,
  readEvents,
  readRound,
  roundFlow,
  shardRef,
} from '@fovea/jobs';
import { planOf } from '@fovea/recipe';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { testContext } from '../../../packages/jobs/test-fixtures/context.ts';
import { merge, shard } from './jobs.ts';

let dir: string;
let context: ProcessContext;
let run: RunRecord;
let engine: EngineProcess;
let close: () => Promise<void>;
beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'fovea-train-jobs-'));
  ({ context, run, engine, close } = await testContext(dir));
});
afterAll(async () => {
  await close();
  await rm(dir, { recursive: true, force: true });
});

const data = (round: number, base: string | null): JobDataOf<'shard'> => ({
  kind: 'shard',
  version: 2,
  run: run.id,
  session: 1,
  round: planOf(run.recipe).get('trunk')![round],
  base,
  shard: { index: 0, of: 1 },
});
const still = () => ({ job: null as never, run, signal: new AbortController().signal });

const QUEUE = 'train-cpu-0g';
const mergeOf = ({ shard: { of }, ...rest }: JobDataOf<'shard'>): JobDataOf<'merge'> => ({
  ...rest,
  kind: 'merge',
  shards: of,
});

/** One round through BullMQ, both jobs worked on in this process. */
async function round(n: number, base: string | null): Promise<RoundRecord> {
  const { FlowProducer, Worker } = bullmq();
  const shared = { connection: context.fleet.redis, prefix: context.fleet.prefix };
  const shardData = data(n, base);
  const flows = new FlowProducer(shared);
  const { job } = await flows.add(roundFlow(QUEUE, mergeOf(shardData), [shardData], 1));
  const worker = new Worker(
    QUEUE,
    (each) =>
      each.name === 'shard'
        ? shard(each.data, { ...still(), job: each }, context, engine)
        : merge(each.data, { ...still(), job: each }, context, engine),
    shared,
  );
  const record = await new Promise<RoundRecord>((resolve, reject) => {
    worker.on('completed', (done, result) => done.id === job.id && resolve(result));
    worker.on('failed', (_, error) => reject(error));
  });
  await worker.close();
  await flows.close();
  return record;
}

test('a round becomes a checkpoint that descends from its base, and says so', async () => {
  const first = await round(0, null);
  const second = await round(1, first.checkpoint);
  expect(await readRound(context.fleet.store, run.id, 'trunk', 1)).toEqual(second);
  const manifest = await readCheckpoint(context.fleet.store, second.checkpoint);
  expect(manifest).toMatchObject({
    parent: first.checkpoint,
    track: 'trunk',
    stage: 'pretrain',
    round: 1,
    step: 10,
    cursor: { step: 10 },
    seed: 3,
    recipe: run.recipeHash,
  });
  expect(second.metrics.loss).toHaveLength(10);
  const { events } = await readEvents(context.fleet, run.id, '0', 1);
  const committed = events.filter((event) => event.type === 'committed');
  expect(committed.map((event) => event.checkpoint)).toEqual([first.checkpoint, second.checkpoint]);
  expect(committed[1]).toMatchObject({
    lossFirst: second.metrics.loss[0],
    lossLast: second.metrics.loss[9],
    steps: 10,
    stage: 'pretrain',
  });
  expect(events.find((event) => event.type === 'progress')).toMatchObject({
    kind: 'train',
    track: 'trunk',
    round: 1,
    stage: 'pretrain',
    step: 1,
    steps: 10,
  });
});

test('what a death after the commit left is taken away by whoever does the job again', async () => {
  const { store } = context.fleet;
  const [first, second] = await Promise.all([0, 1].map((n) => readRound(store, run.id, 'trunk', n)));
  const again = data(1, first!.checkpoint);
  const left = shardRef(run.id, 'trunk', 1, again.shard);
  const partial = partialRef(run.id, again.round, again.shard);
  const { weights, optimizer, step } = await readCheckpoint(store, second!.checkpoint);
  const result = { weights, optimizer, step, metrics: second!.metrics };
  await store.writeRef(left, { base: first!.checkpoint, result });
  await store.writeRef(partial, { base: first!.checkpoint });
  await shard(again, still(), context, engine);
  expect(await store.readRef(partial)).toBeNull();
  expect(await merge(mergeOf(again), still(), context, engine)).toEqual(second);
  expect(await store.readRef(left)).toBeNull();
});

test('a shard of a round that was committed meanwhile leaves nothing', async () => {
  const { store } = context.fleet;
  const { checkpoint } = (await readRound(store, run.id, 'trunk', 0))!;
  await shard(data(1, checkpoint), still(), context, engine);
  expect(await store.listRefs(`runs/${run.id}/shards`)).toEqual([]);
});

test('a loss that is no number is a sentence, not a checkpoint', async () => {
  const { checkpoint } = (await readRound(context.fleet.store, run.id, 'trunk', 1))!;
  await writeFile(path.join(dir, 'train-trunk-2'), 'nan');
  const error = await shard(data(2, checkpoint), still(), context, engine).catch((caught) => caught);
  expect(isUserError(error)).toBe(true);
  expect(error.message).toBe(
    "Training diverged: the loss at step 5 of round 2 of trunk is no number; lower the stage's lr or clip in the recipe.",
  );
});
