// Fused attention against its composed form on tfjs's CPU backend and against finite differences, over random shapes,
// masks and block sizes; and that a score matrix which is not to be kept is not.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compile, lowerToOnnx, type StepFunction } from './compile.ts';
import { compiledEngine, jsEngine } from './engines.ts';
import { attention } from './functional/index.ts';
import { valueAndGrads } from './grads.ts';
import { type Spec, sizeOf } from './graph.ts';
import { philox } from './random.ts';
import type { NamedTensors } from './tf.ts';
import tf from './tf.ts';

interface Case {
  batch: number;
  heads: number;
  queries: number;
  keys: number;
  width: number;
  valueWidth: number;
  causal: boolean;
  mask: 'none' | 'bool' | 'additive';
  /** Which axes of the mask are 1. */
  broadcast: boolean[];
  keptBytes: number;
  blockBytes: number;
}

const cases: fc.Arbitrary<Case> = fc.record({
  batch: fc.integer({ min: 1, max: 3 }),
  heads: fc.integer({ min: 1, max: 3 }),
  queries: fc.integer({ min: 1, max: 40 }),
  keys: fc.integer({ min: 1, max: 40 }),
  width: fc.integer({ min: 1, max: 6 }),
  valueWidth: fc.integer({ min: 1, max: 6 }),
  causal: fc.boolean(),
  mask: fc.constantFrom('none', 'bool', 'additive'),
  broadcast: fc.array(fc.boolean(), { minLength: 4, maxLength: 4 }),
  keptBytes: fc.constantFrom(0, 2 ** 20),
  blockBytes: fc.constantFrom(0, 4096, 2 ** 20),
});

const SMALL: Case = {
  batch: 2,
  heads: 2,
  queries: 20,
  keys: 7,
  width: 3,
  valueWidth: 4,
  causal: false,
  mask: 'none',
  broadcast: [false, false, false, false],
  keptBytes: 0,
  blockBytes: 0,
};

const noise = (length: number, index: number, scale = 1) => {
  const rng = philox(11, 'attention', 0, index);
  return Float32Array.from({ length }, () => scale * rng.normal());
};

function specsOf(c: Case): Record<string, Spec> {
  const lead = [c.batch, c.heads];
  const float = (shape: number[]): Spec => ({ shape, dtype: 'float32' });
  const specs: Record<string, Spec> = {
    q: float([...lead, c.queries, c.width]),
    k: float([...lead, c.keys, c.width]),
    v: float([...lead, c.keys, c.valueWidth]),
  };
  const full = [...lead, c.queries, c.keys];
  if (c.mask !== 'none') specs.mask = float(full.map((size, i) => (c.broadcast[i] ? 1 : size)));
  return specs;
}

/** Σ y · cos(index), y and all gradients; a mask comes as numbers and is made bool where the case wants one. */
const step =
  (c: Case, trained: string[]): StepFunction =>
  (inputs) => {
    const { value, grads, aux } = valueAndGrads(
      (p) => {
        const x: NamedTensors = { ...inputs, ...p };
        const mask = c.mask === 'bool' ? tf.greater(x.mask, 0.3) : x.mask;
        const y = attention(x.q, x.k, x.v, { ...c, mask });
        const weights = tf.tensor(
          Float32Array.from({ length: y.size }, (_, i) => Math.cos(i)),
          y.shape,
        );
        return { value: tf.sum(tf.mul(y, weights)), aux: { y } };
      },
      Object.fromEntries(trained.map((name) => [name, inputs[name]])),
    );
    return { outputs: { value, y: aux.y, ...Object.fromEntries(trained.map((n) => [`d/${n}`, grads[n]])) } };
  };

const valuesOf = (specs: Record<string, Spec>) =>
  Object.fromEntries(Object.entries(specs).map(([name, { shape }], i) => [name, noise(sizeOf(shape), i)]));

describe('attention', () => {
  it('equals its composed form, value and gradients, for random shapes, masks and blocks', async () => {
    await fc.assert(
      fc.asyncProperty(cases, async (c) => {
        const specs = specsOf(c);
        const values = valuesOf(specs);
        if (c.mask === 'additive')
          values.mask.forEach((x, i) => {
            if (x > 1) values.mask[i] = Number.NEGATIVE_INFINITY;
          });
        const trained = c.mask === 'additive' ? ['q', 'k', 'v', 'mask'] : ['q', 'k', 'v'];
        const fn = step(c, trained);
        const expected = await jsEngine.run(fn, { inputs: specs }, values);
        const actual = await compiledEngine.run(fn, { inputs: specs }, values);
        for (const [name, wanted] of Object.entries(expected)) {
          wanted.forEach((w, i) => {
            const error = Math.abs(actual[name][i] - w) / (1 + Math.abs(w));
            expect(error, `${name}[${i}]: ${actual[name][i]} for ${w}`).toBeLessThan(3e-5);
          });
        }
      }),
      { numRuns: 60, seed: 4 },
    );
  });

  it('equals central differences', async () => {
    const c: Case = { ...SMALL, mask: 'additive', broadcast: [true, false, false, false] };
    const specs = specsOf(c);
    const values = valuesOf(specs);
    const trained = ['q', 'k', 'v', 'mask'];
    const program = await compile(step(c, trained), { inputs: specs });
    const analytic = Object.fromEntries(
      Object.entries(await program.run(values)).map(([name, data]) => [name, data.slice()]),
    );
    for (const name of trained) {
      for (let i = 0; i < values[name].length; i += 3) {
        const at = async (delta: number) => {
          const moved = values[name].slice();
          moved[i] += delta;
          return (await program.run({ ...values, [name]: moved })).value[0];
        };
        const numeric = ((await at(1e-2)) - (await at(-1e-2))) / 2e-2;
        expect(Math.abs(numeric - analytic[`d/${name}`][i]), `${name}[${i}]`).toBeLessThan(3e-3);
      }
    }
    await program.dispose();
  });

  it('gives zeros and no gradient where a query may see no key', async () => {
    const fn: StepFunction = (inputs) => {
      const { grads, aux } = valueAndGrads(
        (p) => {
          const y = attention(p.q, p.k, p.v, { mask: tf.cast(inputs.mask, 'bool'), causal: true, keptBytes: 0 });
          return { value: tf.sum(tf.mul(y, inputs.q)), aux: { y } };
        },
        { q: inputs.q, k: inputs.k, v: inputs.v },
      );
      return { outputs: { y: aux.y, dq: grads.q, dk: grads.k, dv: grads.v } };
    };
    const token: Spec = { shape: [1, 1, 3, 2], dtype: 'float32' };
    const inputs = { q: token, k: token, v: token, mask: { shape: [1, 1, 1, 3], dtype: 'float32' as const } };
    const values = { q: noise(6, 1), k: noise(6, 2), v: noise(6, 3), mask: Float32Array.of(0, 0, 1) };
    const { y, dq, dk, dv } = await compiledEngine.run(fn, { inputs }, values);
    // The first two queries see hidden keys alone, the third sees the third key.
    expect([...y].map((x) => x + 0)).toEqual([0, 0, 0, 0, values.v[4], values.v[5]]);
    expect([...dq.slice(0, 4), ...dk, ...dv.slice(0, 4)].every((x) => x === 0)).toBe(true);
    expect([...dv.slice(4)]).toEqual([...values.q.slice(4)]);
  });

  it('computes nothing for operands that need no gradient', () => {
    const c: Case = { ...SMALL, keptBytes: 0, blockBytes: 0 };
    const nodes = (trained: string[]) => lowerToOnnx(step(c, trained), { inputs: specsOf(c) }).nodes;
    const all = nodes(['q', 'k', 'v']);
    expect(nodes(['k', 'v'])).toBeLessThan(all);
    expect(nodes(['q'])).toBeLessThan(nodes(['k']) + 1);
    expect(nodes(['v'])).toBeLessThan(nodes(['q']));
  });

  it('names shapes that do not fit together', () => {
    const specs = { ...specsOf(SMALL), k: { shape: [2, 2, 7, 9], dtype: 'float32' as const } };
    expect(() => lowerToOnnx(step(SMALL, ['q']), { inputs: specs })).toThrow(/k \[2,2,7,9\].*do not fit together/);
  });
});
