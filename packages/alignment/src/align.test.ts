// The training step: right gradients, frozen weights that stay frozen, a chain that can be cut anywhere, and the bugs of
// the reference code that must not come back (names as in the specification).

import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { openStore, readCheckpoint, type Store } from '@fovea/artifacts';
import { initialise } from '@fovea/models';
import { planOf, type Recipe, type Round, type Stage } from '@fovea/recipe';
import { compiledEngine, type Frozen, jsEngine, mapValues, type NumericArray } from '@fovea/tensor';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { noiseFor, stepBatch } from './batch.ts';
import { modelSpecs, trainableSpecs } from './model.ts';
import { openNetworks } from './networks.ts';
import { learningRate, stepScalars } from './optim.ts';
import { type StepContext, stepSignature, trainStep } from './step.ts';
import { CLASSES, dataset, optimiser, recipeOf, small, trainAndCommit, trainChain } from './testing.ts';
import { Trainer } from './train-round.ts';
import { checkWeights, decodeWeights, encodeWeights, startingWeights } from './weights.ts';

const FULL = [
  { stage: 'pretrain', steps: 8, ...optimiser },
  { stage: 'projector', steps: 8, ...optimiser },
  { stage: 'align', steps: 8, ...optimiser, contrastive: 1, retention: 0.5 },
];

describe('schedule', () => {
  it('warms up linearly, then falls along half a cosine to zero', () => {
    const config = { lr: 1, warmup: 4, schedule: 'cosine' as const };
    expect([0, 1, 2, 3].map((step) => learningRate(step, 12, config))).toEqual([0.25, 0.5, 0.75, 1]);
    expect(learningRate(4, 12, config)).toBe(1);
    expect(learningRate(8, 12, config)).toBeCloseTo(0.5);
    expect(learningRate(12, 12, config)).toBeCloseTo(0);
    expect(learningRate(11, 12, { ...config, schedule: 'constant' })).toBe(1);
  });
});

/** Words of the text tower; their number is what counts. */
const WORDS = ['red', 'green', 'blue'];

/** One optimiser step of a stage from random weights, on either engine. */
async function oneStep(
  stage: Stage,
  role: StepContext['role'],
  recipe: Recipe,
  engine = compiledEngine,
  batch?: Record<string, NumericArray>,
  slices?: number,
) {
  const networks = await openNetworks(recipe, '', WORDS);
  const weights = mapValues(initialise(modelSpecs(networks), 4), ({ shape, data }, name) => ({
    shape,
    dtype: 'float32' as const,
    data: data.map((x, i) => x + 0.05 * Math.sin(i + name.length)),
  }));
  const trainable = mapValues(trainableSpecs(stage, networks), ({ shape }) => ({ shape, dtype: 'float32' as const }));
  const frozen = Object.fromEntries(Object.entries(weights).filter(([name]) => !(name in trainable)));
  const names = {
    shape: [3, 3],
    dtype: 'float32' as const,
    data: Float32Array.of(0.5, 0.5, 0, 0, 0.5, 0.5, 0.5, 0, 0.5),
  };
  const reference = Object.fromEntries(Object.entries(weights).map(([name, value]) => [`reference/${name}`, value]));
  const constants: Record<string, Frozen> = { ...frozen, ...reference, names };
  const before = mapValues(constants, ({ data }) => data.slice());
  const signature = { ...stepSignature(stage, recipe, trainable, networks), constants };
  const adapters = initialise(trainableSpecs(stage, networks), 5);
  const state = mapValues(signature.state ?? {}, ({ shape }, name): NumericArray => {
    const own = name.slice(2);
    return name.startsWith('p/')
      ? (weights[own] ?? adapters[own]).data
      : new Float32Array(shape.reduce((a, b) => a * b, 1));
  });
  const inputs = {
    ...(batch ?? (await stepBatch(dataset, recipe, stage, 0, networks))),
    scalars: stepScalars(5, stage.steps, stage),
  };
  const given = mapValues(inputs, (data) => data.slice());
  const out = await engine.run(trainStep({ stage, role, recipe, networks, slices }), signature, inputs, state);
  for (const [name, data] of Object.entries(given))
    expect(inputs[name as keyof typeof inputs], `input ${name} is left alone (B1)`).toEqual(data);
  for (const [name, data] of Object.entries(before))
    expect(constants[name].data, `${name} is left alone`).toEqual(data);
  return out;
}

function expectClose(
  actual: Record<string, NumericArray>,
  expected: Record<string, NumericArray>,
  tolerance: number,
): void {
  expect(Object.keys(actual).sort()).toEqual(Object.keys(expected).sort());
  for (const [name, wanted] of Object.entries(expected)) {
    wanted.forEach((w, i) =>
      expect(Math.abs(actual[name][i] - w), `${name}[${i}]: ${actual[name][i]} for ${w}`).toBeLessThan(
        tolerance * (1 + Math.abs(w)),
      ),
    );
  }
}

describe('step', () => {
  const recipe = recipeOf(FULL);
  const [pretrain, projector, align] = recipe.stages;

  it.each([
    ['pretrain', pretrain, 'aligned'],
    ['projector', projector, 'aligned'],
    ['align, aligned', align, 'aligned'],
    ['align, control', align, 'control'],
    ['align, placebo', align, 'placebo'],
  ] as const)('is the same compiled as eager in tfjs: %s', async (_name, stage, role) => {
    expectClose(await oneStep(stage, role, recipe), await oneStep(stage, role, recipe, jsEngine), 2e-4);
  });

  it('trains by DDPM epsilon targets and several draws as well', async () => {
    const other = recipeOf(FULL, {
      diffusion: { target: 'epsilon', draws: 2, timesteps: { kind: 'uniform', min: 0.2, max: 0.8 } },
      denoiser: { patchSize: 4, prediction: 'target', conditionTokens: 3, ...small },
    });
    expectClose(
      await oneStep(other.stages[2], 'aligned', other),
      await oneStep(other.stages[2], 'aligned', other, jsEngine),
      2e-4,
    );
  });

  it('matches the norm of the placebo feedback to that of the true one', async () => {
    const only = recipeOf([{ ...FULL[2], contrastive: 0, retention: 0, clip: 0 }], { weights: 'x' });
    const [aligned, placebo] = [
      await oneStep(only.stages[0], 'aligned', only),
      await oneStep(only.stages[0], 'placebo', only),
    ];
    expect(placebo['norm/vision'][0]).toBeCloseTo(aligned['norm/vision'][0], 5);
    expect(placebo['term/feedback'][0]).not.toBe(aligned['term/feedback'][0]);
  });

  it('averages draws: the gradient of two draws is the mean of the gradients of each (D4)', async () => {
    const loose = (draws: number) => recipeOf([FULL[0], { ...FULL[1], clip: 0 }, FULL[2]], { diffusion: { draws } });
    const { pixels, labels } = await stepBatch(
      dataset,
      loose(1),
      loose(1).stages[1],
      0,
      await openNetworks(loose(1), '', WORDS),
    );
    const query = { seed: 0, stream: 'projector', first: 0, pictures: 4, size: 192 };
    const both = noiseFor({ ...query, draws: 2 }, loose(2));
    const half = (x: Float32Array, part: number) => x.filter((_, i) => Math.floor(i / (x.length / 8)) % 2 === part); // row i · 2 + part of four pictures
    const one = (part: number) => ({ pixels, labels, ...mapValues(both, (x) => half(x, part)) });
    const step = (draws: number, batch: Record<string, NumericArray>) =>
      oneStep(loose(draws).stages[1], 'aligned', loose(draws), compiledEngine, batch);
    const [mean, a, b] = [await step(2, { pixels, labels, ...both }), await step(1, one(0)), await step(1, one(1))];
    expect(mean['term/feedback'][0]).toBeCloseTo((a['term/feedback'][0] + b['term/feedback'][0]) / 2, 5);
    for (const name of Object.keys(mean).filter((key) => key.startsWith('state/m/'))) {
      mean[name].forEach((value, i) =>
        expect(Math.abs(value - (a[name][i] + b[name][i]) / 2), name).toBeLessThan(1e-5),
      );
    }
  });

  it.each(['pretrain', 'projector', 'aligned', 'control', 'placebo'])(
    'is the same in slices as in one: %s',
    async (name) => {
      const recipe = recipeOf(FULL, { diffusion: { draws: 2 } });
      const stage = recipe.stages[{ pretrain: 0, projector: 1 }[name] ?? 2];
      const role = name === 'control' || name === 'placebo' ? name : 'aligned';
      const [whole, sliced] = [
        await oneStep(stage, role, recipe, compiledEngine, undefined, 1),
        await oneStep(stage, role, recipe, compiledEngine, undefined, 2),
      ];
      const largest = (values: NumericArray) => Math.max(...[...values].map(Math.abs));
      const anyM = Math.max(...Object.entries(whole).map(([key, x]) => (key.startsWith('state/m/') ? largest(x) : 0)));
      for (const [key, wanted] of Object.entries(whole)) {
        // Some gradients are zero but for rounding (a key's bias moves no softmax): judge them by the others' size.
        const scale = Math.max(largest(wanted), key.startsWith('state/m/') ? 1e-2 * anyM : 1e-6);
        // A parameter moves by lr · m / √v, so where v is all but zero its sign is rounding: compare gradients (m), not p.
        if (key.startsWith('state/p/')) continue;
        wanted.forEach((w, i) => expect(Math.abs(sliced[key][i] - w) / scale, `${key}[${i}]`).toBeLessThan(2e-5));
      }
    },
  );

  it('trains adapters alone when asked, and changes nothing at rank-zero products', async () => {
    const lora = recipeOf([{ ...FULL[2], trainable: { rank: 2, alpha: 2 } }], { weights: 'x' });
    const out = await oneStep(lora.stages[0], 'aligned', lora);
    const learnt = Object.keys(out).filter((name) => name.startsWith('state/p/'));
    expect(learnt.length).toBe(12);
    expect(learnt.every((name) => name.includes('lora_'))).toBe(true);
  });
});

describe('rounds', () => {
  let folder: string;
  let store: Store;
  beforeAll(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'fovea-align-'));
    store = await openStore(folder);
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  const open = () => new Trainer({ store, openDataset: async () => dataset });

  const chain = (recipe: Recipe, fresh: boolean) => {
    const plan = planOf(recipe);
    const rounds = [...(plan.get('trunk') as Round[]), ...(plan.get('aligned') as Round[])];
    return trainChain(open, store, rounds, { recipe, recipeDir: folder, fresh });
  };

  it('gives the same checkpoint ids twice, also when every round is computed by a new process’s trainer', async () => {
    const [a, b] = [await chain(recipeOf(FULL), false), await chain(recipeOf(FULL), true)];
    expect(b.map(({ id }) => id)).toEqual(a.map(({ id }) => id));
    expect(new Set(a.map(({ id }) => id)).size).toBe(a.length);
    expect(a.flatMap(({ metrics }) => metrics.loss).every(Number.isFinite)).toBe(true);
  });

  const last = async (recipe: Recipe) =>
    (await readCheckpoint(store, (await chain(recipe, false)).at(-1)?.id as string)).weights.sha256;

  it('comes to the same weights however the steps are cut into rounds', async () => {
    const cut = (roundSteps: number) => recipeOf(FULL.map((stage) => ({ ...stage, roundSteps })));
    expect(await last(cut(8))).toBe(await last(cut(3)));
  });

  it('comes to the same weights by one thread as by two', async () => {
    const by = (threads: number): Recipe => ({ ...recipeOf(FULL), engine: { ...recipeOf(FULL).engine, threads } });
    expect(await last(by(1))).toBe(await last(by(2)));
  });

  it('leaves frozen weights bit-identical and moves the trained ones', async () => {
    const ids = (await chain(recipeOf(FULL), false)).map(({ id }) => id);
    const read = async (id: string) =>
      decodeWeights(await store.get((await readCheckpoint(store, id)).weights.sha256), id).weights;
    const [start, end] = [await read(ids[ids.length - 3]), await read(ids[ids.length - 1])];
    for (const [name, { data }] of Object.entries(start)) {
      const vision = /^vis/.test(name);
      if (!vision) expect(end[name].data, name).toEqual(data);
    }
    expect(end['visual_projection.weight'].data).not.toEqual(start['visual_projection.weight'].data);
  });

  it('stops between two steps when told to', async () => {
    const trainer = open();
    const [init, first] = planOf(recipeOf(FULL)).get('trunk') as Round[];
    const { id } = await trainAndCommit(trainer, store, {
      recipe: recipeOf(FULL),
      recipeDir: folder,
      round: init,
      base: null,
    });
    const stop = new AbortController();
    stop.abort(new Error('stop'));
    const request = { runId: 'run', recipe: recipeOf(FULL), recipeDir: folder, round: first, base: id };
    await expect(trainer.train(request, () => {}, stop.signal)).rejects.toThrow('stop');
  });
});

describe('weight files', async () => {
  const recipe = recipeOf(FULL);
  const networks = await openNetworks(recipe, '', WORDS);

  it('come back with their vocabulary', () => {
    const file = { weights: initialise(modelSpecs(networks), 1), vocabulary: ['a', 'b', 'c'] };
    const back = decodeWeights(encodeWeights(file), 'x');
    expect(back.vocabulary).toEqual(file.vocabulary);
    expect(back.weights['visual_projection.weight']).toEqual(file.weights['visual_projection.weight']);
  });

  it('must fit: names of what is missing, extra or of another shape', () => {
    const specs = modelSpecs(networks);
    const weights = initialise(specs, 1);
    const { 'projector.fc1.bias': _gone, ...missing } = weights;
    expect(() => checkWeights({ weights: missing, vocabulary: [] }, specs, 'w')).toThrow('projector.fc1.bias');
    expect(() =>
      checkWeights({ weights: { ...weights, extra: weights.logit_scale }, vocabulary: [] }, specs, 'w'),
    ).toThrow('extra');
    const wrong = { ...weights, logit_scale: { shape: [2], data: new Float32Array(2) } };
    expect(() => checkWeights({ weights: wrong, vocabulary: [] }, specs, 'w')).toThrow(
      /logit_scale as \[2\].*needs \[\]/,
    );
  });

  it('refuses a pickle, a missing file and words that the text tower does not know', async () => {
    const given = (weights: string) => startingWeights({ ...recipe, weights }, '/nowhere', CLASSES);
    await expect(given('model.pt')).rejects.toThrow('pickle');
    await expect(given('none.safetensors')).rejects.toThrow('no such file');
    await expect(given('builtin:other')).rejects.toThrow('builtin:emoji');
  });
});
