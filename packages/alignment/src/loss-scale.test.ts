// Loss scaling in fp16: GradScaler's rule, steps that overflow are skipped whole, and a resumed run goes on with the
// scale that it had.

import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { decodeSafetensors, openStore, writeCheckpoint } from '@fovea/artifacts';
import type { Dataset } from '@fovea/data';
import { initialise } from '@fovea/models';
import { planOf, type Recipe, type Round, recipeSchema } from '@fovea/recipe';
import { compile, mapValues, type NumericArray } from '@fovea/tensor';
import { philox } from '@fovea/tensor/random';
import { describe, expect, it } from 'vitest';
import { stepBatch } from './batch.ts';
import { GOOD_STEPS, lossScaleSpecs, nextLossScale, SCALE } from './loss-scale.ts';
import { modelSpecs, trainableSpecs } from './model.ts';
import { openNetworks } from './networks.ts';
import { stepScalars } from './optim.ts';
import { stepSignature, trainStep } from './step.ts';
import { Trainer } from './train-round.ts';

const dataset: Dataset = {
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
    }
    return { pixels, labels, samples: [...labels].map((label) => ({ label, style: 'test', factors: null })) };
  },
};

const small = { width: 8, layers: 1, heads: 2 };
const recipeOf = (precision: string, roundSteps = 12): Recipe =>
  recipeSchema.parse({
    name: 'test',
    data: { kind: 'emoji-world', imageSize: 8 },
    encoder: { patchSize: 4, projection: 6, ...small },
    denoiser: { patchSize: 4, ...small },
    engine: { threads: 1, precision },
    stages: [{ stage: 'pretrain', steps: 12, batch: 4, lr: 3e-3, warmup: 2, roundSteps }],
  });

describe('the scale', () => {
  it('halves when a step overflows, doubles after 2000 good ones, and stays otherwise', async () => {
    const program = await compile(({ health }, state) => ({ outputs: {}, state: nextLossScale(state, health) }), {
      inputs: { health: { shape: [], dtype: 'float32' } },
      state: lossScaleSpecs,
    });
    const next = async (health: number, scale: number, good: number) => {
      program.setState({ [SCALE]: Float32Array.of(scale), [GOOD_STEPS]: Float32Array.of(good) });
      await program.run({ health: Float32Array.of(health) });
      return [program.getState(SCALE)[0], program.getState(GOOD_STEPS)[0]];
    };
    expect(await next(3, 1024, 5)).toEqual([1024, 6]);
    expect(await next(3, 1024, 1999)).toEqual([2048, 0]);
    expect(await next(Infinity, 1024, 1999)).toEqual([512, 0]);
    expect(await next(Number.NaN, 1024, 7)).toEqual([512, 0]);
  });
});

describe('a step in fp16', () => {
  it('is skipped whole where a gradient overflows, and taken once the scale has come down', async () => {
    const recipe = recipeOf('fp16');
    const [stage] = recipe.stages;
    const networks = await openNetworks(recipe, '', ['a', 'b', 'c']);
    const trainable = mapValues(trainableSpecs(stage, networks), ({ shape }) => ({ shape, dtype: 'float32' as const }));
    const signature = {
      ...stepSignature(stage, recipe, trainable, networks),
      constants: {
        names: {
          shape: [3, 3],
          dtype: 'float32' as const,
          data: Float32Array.of(0.5, 0.5, 0, 0, 0.5, 0.5, 0.5, 0, 0.5),
        },
      },
    };
    const program = await compile(trainStep({ stage, role: 'aligned', recipe, networks }), signature, {
      precision: 'fp16',
    });
    const start = Object.fromEntries(
      Object.entries(initialise(modelSpecs(networks), 4)).flatMap(([name, { data }]) =>
        name in trainable ? [[`p/${name}`, data] as const] : [],
      ),
    );
    program.setState({ ...start, [SCALE]: Float32Array.of(2 ** 40) });
    const batch = { ...(await stepBatch(dataset, recipe, stage, 0, networks)), scalars: stepScalars(5, 12, stage) };
    const params = () => mapValues(start, (_data, name) => program.getState(name));
    const healths: number[] = [];
    let moved = false;
    for (let i = 0; i < 40 && !moved; i++) {
      const out = await program.run(batch as Record<string, NumericArray>);
      healths.push(out.health[0]);
      expect(Number.isFinite(out.loss[0])).toBe(true);
      moved = Number.isFinite(out.health[0]);
      expect(program.getState(SCALE)[0]).toBe(2 ** (40 - i - (moved ? 0 : 1)));
      if (moved) expect(params()).not.toEqual(start);
      else expect(params()).toEqual(start);
    }
    expect(moved).toBe(true);
    expect(healths.length).toBeGreaterThan(5);
  });
});

describe('training', () => {
  async function train(recipe: Recipe) {
    const folder = await mkdtemp(path.join(os.tmpdir(), 'fovea-scale-'));
    const store = await openStore(folder);
    const trainer = new Trainer({ store, openDataset: async () => dataset });
    try {
      let base: string | null = null;
      const loss: number[] = [];
      let optimizer: Map<string, { data: unknown }> = new Map();
      for (const round of planOf(recipe).get('trunk') as Round[]) {
        const request = { runId: 'run', recipe, recipeDir: folder, round, base };
        const result = await trainer.train(request, () => {}, new AbortController().signal);
        loss.push(...result.metrics.loss);
        const { track, stage, round: number, firstStep, steps } = round;
        const { weights, step } = result;
        const cursor = { step: firstStep + steps };
        const manifest = { version: 1 as const, parent: base, track, stage, round: number, step, weights, cursor };
        base = await writeCheckpoint(store, {
          ...manifest,
          optimizer: result.optimizer,
          seed: 0,
          recipe: 'a'.repeat(64),
        });
        if (result.optimizer) optimizer = decodeSafetensors(await store.get(result.optimizer.sha256), 'o').tensors;
      }
      return { loss, optimizer };
    } finally {
      await trainer.dispose();
      await rm(folder, { recursive: true, force: true });
    }
  }

  it('goes the way of fp32 in either half precision, and carries the scale from round to round', async () => {
    const [full, half, brain, cut] = [
      await train(recipeOf('fp32')),
      await train(recipeOf('fp16')),
      await train(recipeOf('bf16')),
      await train(recipeOf('fp16', 5)),
    ];
    const { data: scale } = half.optimizer.get(SCALE) as { data: Float32Array };
    const skipped = Math.log2(2 ** 16 / scale[0]);
    expect(skipped).toBeGreaterThan(0); // so fp16 runs behind by that many updates
    expect(half.loss).not.toEqual(full.loss);
    expect(Math.abs(half.loss[0] - full.loss[0])).toBeLessThan(0.02);
    expect(half.loss.at(-1)).toBeLessThan(half.loss[0] - 0.5);
    expect(brain.loss).not.toEqual(full.loss);
    for (const [i, value] of brain.loss.entries())
      expect(Math.abs(value - full.loss[i]), `step ${i}`).toBeLessThan(0.2);
    expect(full.optimizer.has(SCALE)).toBe(false);
    expect(half.optimizer.get(SCALE)?.data).toEqual(cut.optimizer.get(SCALE)?.data);
    expect(half.optimizer.get(GOOD_STEPS)?.data).toEqual(cut.optimizer.get(GOOD_STEPS)?.data);
    expect(cut.loss).toEqual(half.loss);
  });
});
