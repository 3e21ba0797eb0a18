// The optimisers against their definitions in plain numbers, over several steps, and the groups that tell their rates.

import { jsEngine } from '@fovea/tensor';
import { philox } from '@fovea/tensor/random';
import { describe, expect, it } from 'vitest';
import { parameterGroups, ratesOf } from './groups.ts';
import { type OptimiserConfig, optimiserOf, type Rate, stepScalars } from './optim.ts';

const config: OptimiserConfig = {
  optimizer: 'adamw',
  lr: 0.05,
  warmup: 2,
  schedule: 'cosine',
  weightDecay: 0.1,
  betas: [0.9, 0.98],
  eps: 1e-6,
  momentum: 0.8,
  clip: 0,
  ema: 0.7,
};
const shapes: Record<string, number[]> = { 'a.weight': [3, 4], 'a.bias': [4], 'b.weight': [70, 60], 'b.scale': [2] };
const rates: Record<string, Rate> = {
  'a.weight': { scale: 1, weightDecay: 0.1 },
  'a.bias': { scale: 1, weightDecay: 0.1 },
  'b.weight': { scale: 0.2, weightDecay: 0.03 },
  'b.scale': { scale: 0.2, weightDecay: 0.03 },
};
const STEPS = 5;
const TOTAL = 8;
const draw = (name: string, step: number) => {
  const rng = philox(2, name, step);
  return Float32Array.from({ length: shapes[name].reduce((a, b) => a * b, 1) }, () => rng.normal());
};

/** Five steps through the engine. */
async function ours(given: OptimiserConfig) {
  const params = Object.fromEntries(
    Object.entries(shapes).map(([name, shape]) => [name, { shape, dtype: 'float32' as const }]),
  );
  const optimiser = optimiserOf(given, (name) => rates[name]);
  const specs = optimiser.specs(params);
  const inputs = Object.fromEntries(Object.keys(params).map((name) => [`g/${name}`, params[name]]));
  let state: Record<string, Float32Array> = Object.fromEntries(
    Object.entries(specs).map(([name, { shape }]) => [
      name,
      name.startsWith('ema/') ? draw(name.slice(4), 99) : new Float32Array(shape.reduce((a, b) => a * b, 1)),
    ]),
  );
  for (const name of Object.keys(params)) state[`p/${name}`] = draw(name, 99);
  for (let step = 0; step < STEPS; step++) {
    const next = await jsEngine.run(
      ({ scalars, ...grads }, all) => {
        const pick = (prefix: string, from: typeof all) =>
          Object.fromEntries(Object.keys(params).map((name) => [name, from[prefix + name]]));
        const result = optimiser.update(pick('p/', all), pick('g/', grads), all, scalars);
        const named = Object.entries(result.params).map(([name, p]) => [`p/${name}`, p] as const);
        return { outputs: {}, state: { ...Object.fromEntries(named), ...result.state } };
      },
      {
        inputs: { ...inputs, scalars: { shape: [3], dtype: 'float32' } },
        state: { ...specs, ...Object.fromEntries(Object.keys(params).map((name) => [`p/${name}`, params[name]])) },
      },
      {
        ...Object.fromEntries(Object.keys(params).map((name) => [`g/${name}`, draw(name, step)])),
        scalars: stepScalars(step, TOTAL, given),
      },
      state,
    );
    state = Object.fromEntries(Object.entries(next).map(([name, x]) => [name.slice(6), x as Float32Array]));
  }
  return state;
}

/** The same for one number, as torch.optim writes it. */
function reference(given: OptimiserConfig, name: string, i: number) {
  const { scale } = rates[name];
  const weightDecay = shapes[name].length < 2 ? 0 : rates[name].weightDecay;
  let [p, m, v] = [draw(name, 99)[i], 0, 0];
  let ema = p;
  for (let step = 0; step < STEPS; step++) {
    const lr = scale * stepScalars(step, TOTAL, given)[0];
    const g = draw(name, step)[i];
    if (given.optimizer === 'sgd') {
      m = given.momentum * m + g + weightDecay * p;
      p -= lr * m;
    } else {
      const [b1, b2] = given.betas;
      p *= 1 - lr * weightDecay;
      m = b1 * m + (1 - b1) * g;
      v = b2 * v + (1 - b2) * g * g;
      p -= (lr * (m / (1 - b1 ** (step + 1)))) / (Math.sqrt(v / (1 - b2 ** (step + 1))) + given.eps);
    }
    ema = 0.7 * ema + 0.3 * p;
  }
  return { p, ema };
}

describe('an optimiser', () => {
  it.each(['adamw', 'sgd'] as const)(
    'moves as %s does in PyTorch, by group, and averages beside',
    async (optimizer) => {
      const state = await ours({ ...config, optimizer });
      for (const [name, shape] of Object.entries(shapes)) {
        const size = shape.reduce((a, b) => a * b, 1);
        for (const i of [0, 1, size - 1]) {
          const { p, ema } = reference({ ...config, optimizer }, name, i);
          expect(state[`p/${name}`][i], `${name}[${i}]`).toBeCloseTo(p, 5);
          expect(state[`ema/${name}`][i], `ema of ${name}[${i}]`).toBeCloseTo(ema, 5);
        }
      }
    },
  );
});

describe('parameter groups', () => {
  const params = { 'mm_decoder.fc.weight': { shape: [4, 4] }, 'vision.fc.weight': { shape: [2, 3] } };
  const stage = (groups: { match: string; lr: number; weightDecay?: number }[]) =>
    ({ stage: 'align', lr: 1e-4, weightDecay: 0.05, groups }) as never;

  it('take what they match, in order, and leave the rest the stage’s rate', () => {
    const given = stage([
      { match: '^vision', lr: 2e-5 },
      { match: 'weight$', lr: 1e-3, weightDecay: 0 },
    ]);
    expect(parameterGroups(given, params)).toEqual([
      { match: '^vision', lr: 2e-5, weightDecay: 0.05, names: ['vision.fc.weight'], parameters: 6 },
      { match: 'weight$', lr: 1e-3, weightDecay: 0, names: ['mm_decoder.fc.weight'], parameters: 16 },
    ]);
    expect(ratesOf(given, params)('vision.fc.weight')).toEqual({ scale: 2e-5 / 1e-4, weightDecay: 0.05 });
    expect(ratesOf(stage([]), params)('vision.fc.weight')).toEqual({ scale: 1, weightDecay: 0.05 });
  });

  it('that match nothing are an error (B5: DEEM’s `mmdecoder` for `mm_decoder`)', () => {
    expect(() => parameterGroups(stage([{ match: 'mmdecoder', lr: 1e-6 }]), params)).toThrow(
      'The group "mmdecoder" of stage align takes no parameter: the stage trains mm_decoder.fc.weight, vision.fc.weight and others, or an earlier group took them; mend the expression or remove the group.',
    );
  });
});
