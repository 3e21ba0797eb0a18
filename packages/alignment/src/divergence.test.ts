// Training whose numbers go bad, through the real trainer and store: the step is stopped before its update, the error
// names the first bad tensor and the mend, and nothing new is committed.

import { mkdtemp, readdir, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { openStore, type Store, writeCheckpoint } from '@fovea/artifacts';
import type { Dataset } from '@fovea/data';
import { planOf, type Recipe, type Round, recipeSchema } from '@fovea/recipe';
import { philox } from '@fovea/tensor/random';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Trainer } from './train-round.ts';

/** Pictures of noise; those in `broken` (by index in the stream) hold a NaN. */
const pictures = (broken: number[] = []): Dataset => ({
  kind: 'emoji-world',
  classes: ['red ball', 'blue ball', 'red cube'],
  imageSize: 8,
  trainSize: Number.POSITIVE_INFINITY,
  async trainBatch({ seed, stream, first, size }) {
    const labels = Int32Array.from({ length: size }, (_, i) => (first + i) % 3);
    const pixels = new Float32Array(size * 192);
    for (let i = 0; i < size; i++) {
      const rng = philox(seed, stream, 0, first + i);
      for (let j = 0; j < 192; j++) pixels[i * 192 + j] = 0.3 * rng.uniform() + (j >> 6 === labels[i] ? 0.3 : 0);
      if (stream === 'pretrain' && broken.includes(first + i)) pixels[i * 192 + 7] = Number.NaN;
    }
    return { pixels, labels, samples: [...labels].map((label) => ({ label, style: 'test', factors: null })) };
  },
});

const small = { width: 8, layers: 1, heads: 2 };
const optimiser = { steps: 8, batch: 4, lr: 3e-3, warmup: 2, roundSteps: 8 };
const recipeOf = (stage: object): Recipe =>
  recipeSchema.parse({
    name: 'test',
    data: { kind: 'emoji-world', imageSize: 8 },
    encoder: { patchSize: 4, projection: 6, ...small },
    denoiser: { patchSize: 4, ...small },
    engine: { threads: 1 },
    stages: [{ stage: 'pretrain', ...optimiser, ...stage }],
  });

/** The align stage alone, from random weights. */
const alignOnly = (contrastive: number): Recipe => {
  const { stages, ...rest } = recipeOf({});
  const align = { stage: 'align', ...optimiser, contrastive, roles: ['aligned'] };
  return recipeSchema.parse({ ...rest, stages: [...stages, { stage: 'projector', ...optimiser }, align] });
};

describe('a step that goes bad', () => {
  let folder: string;
  let store: Store;
  beforeAll(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'fovea-diverge-'));
    store = await openStore(folder);
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  async function train(recipe: Recipe, dataset: Dataset, track: 'trunk' | 'aligned' = 'trunk') {
    const trainer = new Trainer({ store, openDataset: async () => dataset });
    const plan = planOf(recipe);
    const [init, first] = plan.get('trunk') as Round[];
    const round = track === 'trunk' ? first : (plan.get(track) as Round[])[0];
    const run = (round: Round, base: string | null) =>
      trainer.train({ runId: 'run', recipe, recipeDir: folder, round, base }, () => {}, new AbortController().signal);
    try {
      const { weights, step } = await run(init, null);
      const { track, stage, round: number } = init;
      const cursor = { step: 0 };
      const manifest = { version: 1 as const, parent: null, track, stage, round: number, step, weights, cursor };
      const id = await writeCheckpoint(store, { ...manifest, optimizer: null, seed: 0, recipe: 'a'.repeat(64) });
      const before = await readdir(folder, { recursive: true });
      const result = await run(round, id).catch((error: Error) => error);
      return { result, wrote: (await readdir(folder, { recursive: true })).length - before.length };
    } finally {
      await trainer.dispose();
    }
  }

  it('names the batch where a pixel is NaN, and writes nothing', async () => {
    const { result, wrote } = await train(recipeOf({}), pictures([9]));
    expect(result).toMatchObject({ name: 'FoveaError' });
    expect((result as Error).message).toBe(
      "Step 3 of stage pretrain (aligned) produced a NaN: the first bad tensor is the batch's pixels; check the data set for pictures that decode to no numbers.",
    );
    expect(wrote).toBe(0);
  });

  it('names the loss term and the operation after an absurd learning rate', async () => {
    const { result, wrote } = await train(recipeOf({ lr: 1e30, clip: 0, warmup: 0 }), pictures());
    expect((result as Error).message).toMatch(
      /^Step 2 of stage pretrain \(aligned\) produced (a NaN|an infinity): the first bad tensor is the (loss term contrastive|gradient of \S+), in \w+ at \S+\.ts:\d+; lower the stage's lr \(1e\+30\) or set clip\.$/,
    );
    expect(wrote).toBe(0);
  });

  it('names the parameter whose gradient overflows while the loss does not', async () => {
    const { result, wrote } = await train(alignOnly(1e38), pictures(), 'aligned');
    expect((result as Error).message).toMatch(
      /^Step 1 of stage align \(aligned\) produced (a NaN|an infinity): the first bad tensor is the gradient of \S+, in \w+ at \S+\.ts:\d+; lower/,
    );
    expect(wrote).toBe(0);
  });

  it('says so where the gradients are finite and their norm is not', async () => {
    const { result } = await train(alignOnly(1e30), pictures(), 'aligned');
    expect((result as Error).message).toMatch(/^Step 1 of stage align .* too large for its norm to be a number; lower/);
  });

  it('refuses a round whose last update leaves weights without a finite loss', async () => {
    const { result, wrote } = await train(
      recipeOf({ lr: 1e30, clip: 0, warmup: 0, steps: 1, roundSteps: 1 }),
      pictures(),
    );
    expect((result as Error).message).toMatch(/^After step 1 of stage pretrain .* lower the stage's lr/);
    expect(wrote).toBe(0);
  });

  it('trains where all is well', async () => {
    const { result } = await train(recipeOf({}), pictures());
    expect(result).toMatchObject({ step: 8 });
  });
});
