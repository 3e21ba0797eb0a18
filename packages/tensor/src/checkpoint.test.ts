// Rematerialisation: the same values and gradients, by arguments and by closures, and less memory.

import { describe, expect, it } from 'vitest';
import { checkpoint } from './checkpoint.ts';
import type { StepFunction } from './compile.ts';
import { compiledEngine, jsEngine } from './engines.ts';
import { layerNorm, quickGelu } from './functional/index.ts';
import { valueAndGrads } from './grads.ts';
import { type Spec, sizeOf } from './graph.ts';
import { philox } from './random.ts';
import type { NamedTensors, Tensor } from './tf.ts';
import tf from './tf.ts';

const WIDTH = 8;
const BLOCKS = 3;

const specs: Record<string, Spec> = {
  x: { shape: [5, WIDTH], dtype: 'float32' },
  shift: { shape: [WIDTH], dtype: 'float32' },
};
for (let i = 0; i < BLOCKS; i++) {
  specs[`${i}/gamma`] = { shape: [WIDTH], dtype: 'float32' };
  specs[`${i}/beta`] = { shape: [WIDTH], dtype: 'float32' };
  specs[`${i}/up`] = { shape: [WIDTH, 4 * WIDTH], dtype: 'float32' };
  specs[`${i}/down`] = { shape: [4 * WIDTH, WIDTH], dtype: 'float32' };
}

const values = Object.fromEntries(
  Object.entries(specs).map(([name, { shape }], i) => {
    const rng = philox(3, 'checkpoint', 0, i);
    return [name, Float32Array.from({ length: sizeOf(shape) }, () => 0.5 * rng.normal())];
  }),
);

const matMul = (a: Tensor, b: Tensor) => tf.matMul(a as never, b as never) as Tensor;

function block(p: NamedTensors, i: number, x: Tensor, shift: Tensor): Tensor {
  const hidden = quickGelu(matMul(tf.add(layerNorm(x, p[`${i}/gamma`], p[`${i}/beta`]), shift), p[`${i}/up`]));
  return tf.add(x, matMul(hidden, p[`${i}/down`]));
}

type Wrap = (fn: (x: Tensor, shift: Tensor) => Tensor) => (x: Tensor, shift: Tensor) => Tensor;

const step =
  (wrap: Wrap, trained: string[]): StepFunction =>
  (inputs) => {
    const { value, grads } = valueAndGrads(
      (params) => {
        const p = { ...inputs, ...params };
        let x = p.x;
        for (let i = 0; i < BLOCKS; i++) x = wrap((y, shift) => block(p, i, y, shift))(x, p.shift);
        return { value: tf.mean(tf.square(x)) };
      },
      Object.fromEntries(trained.map((name) => [name, inputs[name]])),
    );
    return { outputs: { value, ...Object.fromEntries(trained.map((name) => [`d/${name}`, grads[name]])) } };
  };

const every = Object.keys(specs);
const plain: Wrap = (fn) => fn;

describe.each([compiledEngine, jsEngine])('checkpoint on $name', (engine) => {
  it.each([
    ['everything', every],
    ['parameters only', every.filter((name) => name !== 'x' && name !== 'shift')],
    ['one frozen block', every.filter((name) => !name.startsWith('1/'))],
    ['an argument only', ['shift']],
  ])('leaves values and gradients as they are: %s', async (_name, trained) => {
    const wanted = await engine.run(step(plain, trained), { inputs: specs }, values);
    const nested: Wrap = (fn) => checkpoint((x, shift) => checkpoint(fn)(x, shift));
    for (const wrap of [checkpoint as Wrap, nested]) {
      const got = await engine.run(step(wrap, trained), { inputs: specs }, values);
      for (const name of Object.keys(wanted)) {
        wanted[name].forEach((w, i) => expect(Math.abs(got[name][i] - w), `${name}[${i}]`).toBeLessThan(1e-6));
      }
    }
  });

  it('gives both gradients of a tensor that is an argument, twice, and closed over', async () => {
    const fn =
      (wrap: (f: (a: Tensor, b: Tensor) => Tensor) => (a: Tensor, b: Tensor) => Tensor): StepFunction =>
      (inputs) => {
        const { grads } = valueAndGrads(
          ({ x }) => ({ value: tf.sum(wrap((a, b) => tf.mul(tf.mul(a, tf.exp(b)), x))(x, x)) }),
          { x: inputs.x },
        );
        return { outputs: { d: grads.x } };
      };
    const inputs = { inputs: { x: specs.x } };
    const [wanted, got] = [
      await engine.run(fn(plain), inputs, values),
      await engine.run(fn(checkpoint), inputs, values),
    ];
    wanted.d.forEach((w, i) => expect(Math.abs(got.d[i] - w) / (1 + Math.abs(w))).toBeLessThan(1e-6));
  });

  it('frees what it computed', () => {
    const before = tf.memory().numTensors;
    if (engine !== jsEngine) return;
    tf.tidy(() => {
      const x = tf.ones([4]);
      valueAndGrads((p) => ({ value: tf.sum(checkpoint((a: Tensor) => tf.exp(tf.exp(a)))(p.x)) }), { x });
    });
    expect(tf.memory().numTensors).toBe(before);
  });
});
