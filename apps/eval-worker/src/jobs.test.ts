import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { encodeSafetensors, writeCheckpoint } from '@fovea/artifacts';
import {
  bullmq,
  type EngineProcess,
  EVAL_QUEUE,
  type JobDataOf,
  type ProcessContext,
  prefixOf,
  type ReportResult,
  readEvents,
  reportFlow,
  scoreJob,
} from '@fovea/jobs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { testContext } from '../../../packages/jobs/test-fixtures/context.ts';
import { report, score } from './jobs.ts';

let dir: string;
let context: ProcessContext;
let engine: EngineProcess;
let close: () => Promise<void>;
let data: JobDataOf<'score'>;
beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'fovea-eval-jobs-'));
  ({ context, engine, close } = await testContext(dir));
  const weights = await context.store.put(
    encodeSafetensors(new Map([['x', { shape: [256], data: new Float32Array(256).fill(0.5) }]])),
  );
  const checkpoint = await writeCheckpoint(context.store, {
    version: 1,
    parent: null,
    track: 'trunk',
    stage: 'projector',
    round: 2,
    step: 20,
    weights,
    optimizer: null,
    cursor: { step: 10 },
    seed: 3,
    recipe: context.run.recipeHash,
  });
  data = {
    kind: 'score',
    version: 1,
    run: context.run.id,
    session: 1,
    checkpoint,
    role: 'baseline',
    track: 'trunk',
    round: 2,
    suites: ['retention'],
  };
});
afterAll(async () => {
  await close();
  await rm(dir, { recursive: true, force: true });
});

const still = () => ({ job: null as never, signal: new AbortController().signal });
const blob = (sha256: string) => path.join(context.store.root, 'blobs', sha256.slice(0, 2), sha256);

test('a checkpoint is scored once per version of the suites, and again where its scorecard was lost', async () => {
  const first = await score(data, still(), context, engine, '1');
  expect(first).toMatchObject({ checkpoint: data.checkpoint, role: 'baseline', round: 2 });
  expect(JSON.parse(await readFile(blob(first.scorecard), 'utf8')).results[0]).toMatchObject({
    suite: 'retention',
    value: 0.5,
  });
  expect(await score(data, still(), context, engine, '1')).toEqual(first);
  await score(data, still(), context, engine, '2');
  expect(await readdir(path.join(context.store.root, 'refs/scores'))).toHaveLength(2);
  await rm(blob(first.scorecard));
  expect(await score(data, still(), context, engine, '1')).toEqual(first);
  const { events } = await readEvents(context.redis, context.run.id, '0', 1);
  const cached = events.flatMap((event) => (event.type === 'scored' ? [event.cached] : []));
  expect(cached).toEqual([false, true, false, false]);
});

test('the report is made of the scores that its flow waited for', async () => {
  const { FlowProducer, Worker } = bullmq();
  const shared = { connection: context.redis, prefix: prefixOf(context.run.id) };
  const flows = new FlowProducer(shared);
  const flow = reportFlow({ kind: 'report', version: 1, run: context.run.id, session: 1 }, [scoreJob(data, 1)]);
  const { job } = await flows.add(flow);
  const worker = new Worker(
    EVAL_QUEUE,
    (each) =>
      each.name === 'score'
        ? score(each.data, { ...still(), job: each }, context, engine, '1')
        : report(each.data, { ...still(), job: each }, context, engine),
    shared,
  );
  const result = await new Promise<ReportResult>((resolve, reject) => {
    worker.on('completed', (done, value) => done.id === job.id && resolve(value));
    worker.on('failed', (_, error) => reject(error));
  });
  await worker.close();
  await flows.close();
  expect(result).toEqual({ report: path.join(dir, 'report.html'), summary: path.join(dir, 'summary.json') });
  expect(JSON.parse(await readFile(result.summary, 'utf8')).evals).toMatchObject([
    { role: 'baseline', checkpoint: data.checkpoint, value: 0.5 },
  ]);
});
