// Slices one after the other give what the whole batch gives, on every engine, and hold less memory.

import { describe, expect, it } from 'vitest';
import { compile, lowerToOnnx, type StepFunction } from './compile.ts';
import { compiledEngine, jsEngine } from './engines.ts';
import { layerNorm, quickGelu } from './functional/index.ts';
import { valueAndGrads } from './grads.ts';
import { microBatches, sliceCount } from './microbatch.ts';
import { philox } from './random.ts';
import type { NamedTensors, Tensor } from './tf.ts';
import tf from './tf.ts';

const [rows, width] = [12, 5];
const spec = (...shape: number[]) => ({ shape, dtype: 'float32' as const });
const signature = { inputs: { x: spec(rows, width), y: spec(rows), w: spec(width, width), g: spec(width) } };
const rng = philox(1, 'microbatch');
const draw = (n: number) => Float32Array.from({ length: n }, () => rng.normal());
const inputs = { x: draw(rows * width), y: draw(rows), w: draw(width * width), g: draw(width) };

const step =
  (count: number, log?: (n: number) => void): StepFunction =>
  ({ x, y, w, g }) => {
    const { mean, rows: joined } = microBatches(count, { x, y }, (slice) => {
      const { value, grads, aux } = valueAndGrads(
        (p: NamedTensors) => {
          const weight = tf.sigmoid(tf.matMul(p.w as never, p.w as never)) as Tensor; // the same for every slice
          const hidden = quickGelu(layerNorm(tf.matMul(p.x as never, weight as never), p.g, tf.zeros([width])));
          log?.(hidden.shape[0]);
          const error = tf.sub(tf.sum(hidden, 1), slice.y);
          return { value: tf.mean(tf.square(error)), aux: { error } };
        },
        { x: slice.x, w, g },
      );
      return { mean: { value, 'd/w': grads.w, 'd/g': grads.g }, rows: { error: aux.error, 'd/x': grads.x } };
    });
    return { outputs: { ...mean, error: joined.error, 'd/x': tf.div(joined['d/x'], count) } };
  };

describe('microBatches', () => {
  it.each([1, 2, 3, 12])('of %i slices agree with the whole batch, compiled and eager', async (count) => {
    const whole = await jsEngine.run(step(1), signature, inputs);
    for (const engine of [compiledEngine, jsEngine]) {
      const sizes: number[] = [];
      const got = await engine.run(
        step(count, (n) => sizes.push(n)),
        signature,
        inputs,
      );
      expect(new Set(sizes)).toEqual(new Set([rows / count]));
      for (const [name, wanted] of Object.entries(whole))
        wanted.forEach((w, i) => {
          expect(Math.abs(got[name][i] - w), `${name}[${i}]`).toBeLessThan(1e-5 * (1 + Math.abs(w)));
        });
    }
  });

  it('computes what no slice changes once, outside, and drops results that nothing reads', () => {
    const kernels: string[] = [];
    const lowered = (keep: boolean) =>
      lowerToOnnx(
        ({ x, w }) => {
          const { mean } = microBatches(2, { x }, (slice) => {
            const constant = tf.exp(w); // hoisted
            kernels.push('body');
            return { mean: { a: tf.mean(tf.matMul(slice.x as never, constant as never)), b: tf.sum(tf.sin(slice.x)) } };
          });
          return { outputs: keep ? mean : { a: mean.a } };
        },
        { inputs: { x: spec(4, width), w: spec(width, width) } },
      );
    const text = (bytes: Uint8Array) => new TextDecoder('latin1').decode(bytes);
    expect(kernels).toEqual([]);
    expect(text(lowered(true).bytes)).toContain('Sin');
    expect(text(lowered(false).bytes)).not.toContain('Sin');
    // The body stands inside the Scan node, so what is hoisted is written before it.
    const bytes = text(lowered(true).bytes);
    expect(bytes.indexOf('Exp_')).toBeLessThan(bytes.indexOf('Scan_'));
    expect(kernels).toHaveLength(3);
  });

  it('refuses a batch that has no such slices', async () => {
    await expect(compile(step(5), signature)).rejects.toThrow(
      '"x" of shape [12,5] cannot be cut into 5 equal slices; choose a divisor.',
    );
  });

  it('chooses the fewest slices that stay within the budget', () => {
    expect(sliceCount(64, 37 * 512 * 4)).toBe(8);
    expect(sliceCount(64, 1)).toBe(1);
    expect(sliceCount(7, 2 ** 21)).toBe(7);
    expect(sliceCount(6, 2 ** 24)).toBe(6);
  });
});
