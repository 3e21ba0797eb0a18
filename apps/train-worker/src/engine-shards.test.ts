// The train engine as a worker sees it, in a process of its own: a round in shards and their merge, and a stop by SIGTERM
// that leaves where to go on.

import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { openStore, partialRef, type Store, writeCheckpoint } from '@fovea/artifacts';
import {
  deltaResultSchema,
  EngineProcess,
  type MergeRequest,
  type TrainRequest,
  type TrainResult,
  trainResultSchema,
} from '@fovea/jobs';
import { planOf, type Round, recipeSchema } from '@fovea/recipe';
import { afterAll, beforeAll, expect, it } from 'vitest';

const small = { width: 16, layers: 1, heads: 2 };
const recipe = recipeSchema.parse({
  name: 'engine',
  data: { kind: 'emoji-world', imageSize: 16, concepts: 4, trainStyles: ['noto'] },
  encoder: { patchSize: 8, projection: 8, ...small },
  denoiser: { patchSize: 8, ...small },
  engine: { threads: 1 },
  shards: { max: 2, outer: { kind: 'nesterov' }, delta: 'int8' },
  stages: [{ stage: 'pretrain', steps: 800, roundSteps: 800, batch: 4, lr: 1e-3, warmup: 0 }],
});
const [init, round] = planOf(recipe).get('trunk') as Round[];

let folder: string;
let store: Store;
let engine: EngineProcess;
let base: string;
let rest: Omit<TrainRequest, 'round' | 'base'>;
beforeAll(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'fovea-engine-'));
  store = await openStore(path.join(folder, 'store'));
  engine = new EngineProcess({
    entry: new URL('./engine.ts', import.meta.url),
    hangTimeoutMs: 60_000,
    graceMs: 15_000,
  });
  const where = { storeRoot: store.root, cacheDir: path.join(folder, 'cache'), recipe, recipeDir: folder };
  rest = { kind: 'train', ...where, runId: 'engine' };
  base = await commit(init, null, trainResultSchema.parse(await engine.run({ ...rest, round: init, base: null })));
});
afterAll(async () => {
  await engine.close();
  await rm(folder, { recursive: true, force: true });
});

const commit = ({ track, stage, round }: Round, parent: string | null, { metrics: _metrics, ...made }: TrainResult) =>
  writeCheckpoint(store, {
    ...{ version: 1, parent, track, stage, round, cursor: { step: 0 }, seed: 0, recipe: 'a'.repeat(64) },
    ...made,
  });

it('computes shards, and merges them into a checkpoint', { timeout: 120_000 }, async () => {
  const shards: MergeRequest['shards'] = [];
  for (const index of [0, 1]) {
    const answer = await engine.run({ ...rest, round, base, shard: { index, of: 2 } });
    shards.push({ index, of: 2, result: deltaResultSchema.parse(answer) });
  }
  const request = { ...rest, kind: 'merge', round, base, shards } as MergeRequest;
  const merged = trainResultSchema.parse(await engine.run(request));
  expect(merged.metrics.loss).toHaveLength(800);
  expect(merged.metrics.probe.after).toBeLessThan(merged.metrics.probe.before);
  expect(merged.inner).toEqual(shards.map(({ result }) => result.inner));
  expect(merged.step).toBe(800);
  await commit(round, base, merged);
});

it('leaves where it was when it is told to end, and the next process goes on to the same bits', {
  timeout: 120_000,
}, async () => {
  const shard = { index: 1, of: 2 };
  const request = { ...rest, round, base, shard };
  const whole = deltaResultSchema.parse(await engine.run(request));
  const ref = partialRef('engine', round, shard);
  expect(await store.readRef(ref)).toBeNull();
  const stop = new AbortController();
  const stopped = engine.run(request, {
    signal: stop.signal,
    // The first step's progress comes once the shard is under way.
    onProgress: ({ step }) => step > 0 && stop.abort(new Error('preempted')),
  });
  await expect(stopped).rejects.toThrow('preempted');
  const { loss } = (await store.readRef(ref)) as { loss: number[] };
  expect(loss.length).toBeGreaterThan(0);
  expect(loss.length).toBeLessThan(400);
  const { metrics, ...made } = deltaResultSchema.parse(await engine.run(request));
  const { metrics: _metrics, ...wanted } = whole;
  expect(made).toEqual(wanted);
  expect(metrics.loss).toEqual(whole.metrics.loss);
});
