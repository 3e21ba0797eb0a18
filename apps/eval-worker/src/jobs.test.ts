import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { encodeSafetensors, writeCheckpoint } from '@fovea/artifacts';
import {
  type EngineProcess,
  type JobDataOf,
  type ProcessContext,
  type RunRecord,
  readEvents,
  readReport,
} from '@fovea/jobs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { testContext } from '../../../packages/jobs/test-fixtures/context.ts';
import { report, score } from './jobs.ts';

let dir: string;
let context: ProcessContext;
let run: RunRecord;
let engine: EngineProcess;
let close: () => Promise<void>;
let data: JobDataOf<'score'>;
beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'fovea-eval-jobs-'));
  ({ context, run, engine, close } = await testContext(dir));
  const weights = await context.fleet.store.put(
    encodeSafetensors(new Map([['x', { shape: [256], data: new Float32Array(256).fill(0.5) }]])),
  );
  const checkpoint = await writeCheckpoint(context.fleet.store, {
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
    recipe: run.recipeHash,
  });
  data = {
    kind: 'score',
    version: 2,
    run: run.id,
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

const still = () => ({ job: null as never, run, signal: new AbortController().signal });
const blob = (sha256: string) => path.join(context.fleet.store.root, 'blobs', sha256.slice(0, 2), sha256);

test('a checkpoint is scored once per version of the suites, and again where its scorecard was lost', async () => {
  const first = await score(data, still(), context, engine, '1');
  expect(first).toMatchObject({ checkpoint: data.checkpoint, role: 'baseline', round: 2 });
  expect(JSON.parse(await readFile(blob(first.scorecard), 'utf8')).results[0]).toMatchObject({
    suite: 'retention',
    value: expect.closeTo(0.57, 3),
  });
  expect(await score(data, still(), context, engine, '1')).toEqual(first);
  await score(data, still(), context, engine, '2');
  expect(await readdir(path.join(context.fleet.store.root, 'refs/scores'))).toHaveLength(2);
  await rm(blob(first.scorecard));
  expect(await score(data, still(), context, engine, '1')).toEqual(first);
  const { events } = await readEvents(context.fleet, run.id, '0', 1);
  const cached = events.flatMap((event) => (event.type === 'scored' ? [event.cached] : []));
  expect(cached).toEqual([false, true, false, false]);
});

test('the report is made of the scores of the run, and is found in the store', async () => {
  await score(data, still(), context, engine, '1');
  const result = await report({ kind: 'report', version: 2, run: run.id, session: 1 }, still(), context, engine);
  expect(await readReport(context.fleet.store, run.id)).toEqual(result);
  expect(JSON.parse(await readFile(blob(result.summary.sha256), 'utf8')).evals).toMatchObject([
    { role: 'baseline', checkpoint: data.checkpoint, value: expect.closeTo(0.57, 3) },
  ]);
});
