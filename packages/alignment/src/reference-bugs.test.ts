// What the reference code of the methods got wrong, and a test for each that is not beside its own part (specification
// §6.1; numbers are its own). Elsewhere: B1, D4 and the same bits twice in align.test.ts, B5 in optim.test.ts, B3 in
// networks.test.ts, the masked loss and the schedules' numbers in packages/diffusion and test/parity, token counts in
// test/parity/models. Scorers are in packages/benchmarks.

import { coefficientsAt, DEEM_REMAP, drawTimestep, remapStep } from '@fovea/diffusion';
import { initialise, type ParamSpecs } from '@fovea/models';
import { type Recipe, type RecipeInput, recipeSchema } from '@fovea/recipe';
import { compile, mapValues, type NumericArray, type Tensor, tf, valueAndGrads } from '@fovea/tensor';
import { philox } from '@fovea/tensor/random';
import { describe, expect, it } from 'vitest';
import { drawsFor, stepBatch } from './batch.ts';
import { modelSpecs } from './model.ts';
import { openNetworks } from './networks.ts';
import { feedbackLoss, type StepInputs } from './objectives.ts';
import { inputSpecs, stepSignature } from './step.ts';

const UNET = {
  in_channels: 3,
  out_channels: 3,
  block_out_channels: [8, 8],
  layers_per_block: 1,
  down_block_types: ['DownBlock2D', 'CrossAttnDownBlock2D'],
  up_block_types: ['CrossAttnUpBlock2D', 'UpBlock2D'],
  attention_head_dim: 2,
  cross_attention_dim: 12,
  norm_num_groups: 4,
};
const recipeOf = (over: Partial<RecipeInput> = {}): Recipe =>
  recipeSchema.parse({
    name: 'bugs',
    data: { kind: 'emoji-world', imageSize: 8 },
    encoder: { patchSize: 4, projection: 6, width: 8, layers: 1, heads: 2 },
    denoiser: { kind: 'unet', config: UNET },
    diffusion: { target: 'epsilon', timesteps: { kind: 'discrete' } },
    weights: 'builtin:emoji',
    stages: [
      { stage: 'projector', steps: 4, batch: 3, lr: 1e-3 },
      { stage: 'align', steps: 4, batch: 3, lr: 1e-3, alsoTrains: ['projector'] },
    ],
    ...over,
  } as RecipeInput);

const WORDS = ['red', 'green', 'blue'];
const weightsOf = (specs: ParamSpecs) =>
  mapValues(initialise(specs, 3), ({ shape, data }, name) => ({
    shape,
    dtype: 'float32' as const,
    data: data.map((x, i) => x + 0.05 * Math.sin(i + name.length)),
  }));

describe('the feedback', () => {
  it('has the gradient of finite differences by encoder and connector, and none by what is frozen', async () => {
    const recipe = recipeOf();
    const networks = await openNetworks(recipe, '', WORDS);
    const weights = weightsOf(modelSpecs(networks));
    const trained = Object.keys({ ...networks.encoder.specs, ...networks.connector.specs });
    const query = { seed: 0, stream: 'align', first: 0, pictures: 2, draws: 1 };
    const specs = inputSpecs(2, 1, networks);
    const pixels = Float32Array.from({ length: 2 * 192 }, (_, i) => 0.5 + 0.4 * Math.sin(i / 5));
    const batch: Record<string, NumericArray> = {
      pixels,
      labels: new Int32Array(2),
      ...drawsFor(query, recipe, networks),
    };
    const program = await compile(
      (inputs, state, frozen) => {
        const { value, grads } = valueAndGrads((p) => {
          const all = { ...frozen, ...p };
          const seen = networks.encoder.encode(all, inputs.pixels);
          const given = { ...inputs, targets: inputs.pixels } as StepInputs;
          return { value: feedbackLoss(all, seen, given, networks, recipe.diffusion.loss) };
        }, state);
        return { outputs: { loss: value, ...mapValues(grads, (g) => g) }, state };
      },
      {
        inputs: specs,
        state: Object.fromEntries(trained.map((name) => [name, weights[name]])),
        constants: Object.fromEntries(Object.entries(weights).filter(([name]) => !trained.includes(name))),
      },
    );
    const at = async (h: number) => {
      const moved = (name: string) => weights[name].data.map((x, i) => x + h * Math.cos(i + name.length));
      program.setState(Object.fromEntries(trained.map((name) => [name, moved(name)])));
      return mapValues(await program.run(batch), (data) => data.slice());
    };
    const [low, middle, high] = [await at(-4e-4), await at(0), await at(4e-4)];
    const along = (names: string[]) =>
      names.reduce(
        (sum, name) => sum + (middle[name] as Float32Array).reduce((s, g, i) => s + g * Math.cos(i + name.length), 0),
        0,
      );
    const numeric = (high.loss[0] - low.loss[0]) / 8e-4;
    expect(Math.abs(along(trained) - numeric)).toBeLessThan(1e-2 * Math.abs(numeric));
    for (const part of [networks.encoder.specs, networks.connector.specs])
      expect(Math.abs(along(Object.keys(part)))).toBeGreaterThan(1e-6);
    expect(Object.keys(middle).some((name) => name.startsWith('denoiser.'))).toBe(false);
    await program.dispose();
  });

  it('reconstructs the very pixels that the encoder saw (B2: two coins for two flips)', async () => {
    const recipe = recipeOf();
    const networks = await openNetworks(recipe, '', WORDS);
    const { inputs } = stepSignature(recipe.stages[1], recipe, {}, networks);
    const pictures = Object.entries(inputs).filter(([, { shape }]) => shape[0] === 3 && shape.length === 4);
    expect(pictures.map(([name]) => name)).toEqual(['pixels', 'noise']);
    const spec = { shape: [1, 3, 8, 8], dtype: 'float32' as const };
    const program = await compile(({ pixels }) => ({ outputs: { clean: networks.clean({}, pixels) as Tensor } }), {
      inputs: { pixels: spec },
    });
    const pixels = Float32Array.from({ length: 192 }, (_, i) => i / 192);
    const { clean } = await program.run({ pixels });
    clean.forEach((x, i) => expect(x).toBeCloseTo(2 * pixels[i] - 1, 6));
    await program.dispose();
  });

  it('looks at the times that a recipe names (B4: an unsaid remap to 200 … 799)', () => {
    expect([0, 500, 999].map((step) => remapStep(step, DEEM_REMAP))).toEqual([200, 500, 799]);
    const draws = Array.from({ length: 4000 }, (_, i) =>
      drawTimestep(philox(1, 't', 0, i), { kind: 'discrete', steps: 1000, remap: DEEM_REMAP }),
    );
    expect(Math.min(...draws)).toBeGreaterThanOrEqual(0.2);
    expect(Math.max(...draws)).toBeLessThanOrEqual(0.799);
    const { a, b } = coefficientsAt(0.5, 'epsilon');
    expect(a).toBeCloseTo(0.5257, 4);
    expect(a * a + b * b).toBeCloseTo(1, 12);
  });
});

describe('the batches', () => {
  it('of all steps are every sample once, whoever computes them (B13: eight ranks read the same pictures)', async () => {
    const asked: [number, number][] = [];
    const dataset = {
      kind: 'emoji-world' as const,
      classes: WORDS,
      imageSize: 8,
      trainSize: 24,
      async trainBatch({ first, size }: { first: number; size: number }) {
        asked.push([first, size]);
        return { pixels: new Float32Array(size * 192), labels: new Int32Array(size), samples: [] };
      },
    };
    const recipe = recipeOf();
    const networks = await openNetworks(recipe, '', WORDS);
    const shards = [
      [0, 1, 2, 3],
      [4, 5],
      [6, 7],
    ];
    for (const steps of shards)
      for (const step of steps) await stepBatch(dataset, recipe, recipe.stages[1], step, networks);
    const samples = asked.flatMap(([first, size]) => Array.from({ length: size }, (_, i) => first + i));
    expect([...samples].sort((x, y) => x - y)).toEqual(Array.from({ length: 24 }, (_, i) => i));
    expect(new Set(samples).size).toBe(samples.length);
  });

  it('leave the condition out as often as the recipe says, and not at all where it does not', async () => {
    const rows = { seed: 0, stream: 'align', first: 0, pictures: 1500, draws: 2 };
    const drawn = async (dropout: number) => {
      const recipe = recipeOf({ condition: { dropout, tokens: { mode: 'none' } } } as never);
      return drawsFor(rows, recipe, await openNetworks(recipe, '', WORDS));
    };
    const { dropped } = await drawn(0.1);
    const rate = (dropped as Float32Array).reduce((sum, x) => sum + x, 0) / 3000;
    expect(Math.abs(rate - 0.1)).toBeLessThan(0.02);
    expect((await drawn(0)).dropped).toBeUndefined();
  });

  it('tell a dropped row the learned condition and the others their own', async () => {
    const recipe = recipeOf({ condition: { dropout: 0.5, tokens: { mode: 'none' } } } as never);
    const networks = await openNetworks(recipe, '', WORDS);
    const { encoder, connector } = networks;
    const constants = weightsOf({ ...encoder.specs, ...connector.specs });
    const program = await compile(
      ({ pixels, dropped }, _state, p) => {
        const told = connector.connect(p, encoder.encode(p, pixels), { dropped }, (x) => x);
        const plain = connector.connect(p, encoder.encode(p, pixels), {}, (x) => x);
        return { outputs: { told: told.tokens as Tensor, plain: tf.add(plain.tokens as Tensor, 0) } };
      },
      {
        inputs: {
          pixels: { shape: [2, 3, 8, 8], dtype: 'float32' },
          dropped: { shape: [2], dtype: 'float32' },
        },
        constants,
      },
    );
    const pixels = Float32Array.from({ length: 2 * 192 }, (_, i) => Math.sin(i) ** 2);
    const { told, plain } = await program.run({ pixels, dropped: Float32Array.of(0, 1) });
    expect([...told.slice(0, 12)]).toEqual([...plain.slice(0, 12)]);
    told
      .slice(12)
      .forEach((x: number, i: number) => expect(x).toBeCloseTo(constants['projector.null_tokens'].data[i], 6));
    await program.dispose();
  });
});
