// Pooling, embedding, top-k, einsum and RMS norm: the property suite over random shapes and options.

import { describe, expect, it } from 'vitest';
import { adaptiveAvgPool2d, avgPool2d, einsum, embedding, maxPool2d, rmsNorm, topK } from '../functional/index.ts';
import type { Rng } from '../random.ts';
import { between, checkProperty, eagerEngines, oneOf, type Property } from '../testing.ts';
import type { Tensor } from '../tf.ts';
import tf from '../tf.ts';

const field = (rng: Rng): number[] => [between(rng, 1, 2), between(rng, 1, 3), between(rng, 4, 8), between(rng, 4, 8)];

function drawWindow(rng: Rng) {
  const kernel: [number, number] = [between(rng, 1, 3), between(rng, 2, 4)];
  const padding = kernel.map((k) => rng.int(Math.floor(k / 2) + 1)) as [number, number];
  return { kernel, options: { stride: oneOf(rng, [undefined, 1, 2, [3, 2] as [number, number]]), padding } };
}

/** Sizes of the labels of an einsum equation, and its operands' shapes. */
function drawEinsum(rng: Rng, equation: string): number[][] {
  const sizes = new Map([...'abcdhkqn'].map((label) => [label, between(rng, 1, 4)]));
  const [left] = equation.split('->');
  return left.split(',').map((term) => [...term].map((label) => sizes.get(label) as number));
}

const EQUATIONS = ['ab,bc->ac', 'bhqd,bhkd->bhqk', 'bnhd,hdc->bnc', 'ab,cd->dbca', 'abc,b->ca', 'ab,ab->', 'abc->ca'];

const einsums = (name: string, equations: string[], run: (e: string, ...xs: Tensor[]) => Tensor): Property => ({
  name,
  trials: 2 * equations.length,
  draw: (rng) => {
    const equation = oneOf(rng, equations);
    return { op: (...xs) => run(equation, ...xs), shapes: drawEinsum(rng, equation), options: { equation } };
  },
});

const PROPERTIES: Property[] = [
  {
    name: 'maxPool2d',
    smooth: false,
    draw: (rng) => {
      const { kernel, options } = drawWindow(rng);
      return { op: (x) => maxPool2d(x, kernel, options), shapes: [field(rng)], options: { kernel, ...options } };
    },
  },
  {
    name: 'avgPool2d',
    draw: (rng) => {
      const { kernel, options } = drawWindow(rng);
      const all = { ...options, countIncludePad: oneOf(rng, [true, false]) };
      return { op: (x) => avgPool2d(x, kernel, all), shapes: [field(rng)], options: { kernel, ...all } };
    },
  },
  {
    name: 'adaptiveAvgPool2d',
    draw: (rng) => {
      const size = oneOf(rng, [1, 2, 3, [3, 1] as [number, number]]);
      return { op: (x) => adaptiveAvgPool2d(x, size), shapes: [field(rng)], options: { size } };
    },
  },
  {
    name: 'rmsNorm',
    draw: (rng) => {
      const d = between(rng, 1, 6);
      const lead = oneOf(rng, [[], [between(rng, 1, 4)], [2, between(rng, 1, 3)]]);
      return { op: (x, gamma) => rmsNorm(x, gamma, 1e-2), shapes: [[...lead, d], [d]] };
    },
  },
  {
    name: 'embedding',
    draw: (rng) => {
      const [rows, width] = [between(rng, 1, 6), between(rng, 1, 4)];
      const shape = oneOf(rng, [[between(rng, 1, 7)], [2, between(rng, 1, 4)], [2, 2, 2]]);
      const ids = Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => rng.int(rows));
      return { op: (weight) => embedding(weight, tf.tensor(ids, shape, 'int32')), shapes: [[rows, width]] };
    },
  },
  {
    name: 'topK',
    smooth: false,
    draw: (rng) => {
      const n = between(rng, 2, 7);
      const k = between(rng, 1, n);
      const op = (x: Tensor) => {
        const { values, indices } = topK(x, k);
        return tf.mul(values, tf.add(tf.cast(indices, 'float32'), 1));
      };
      return { op, shapes: [oneOf(rng, [[n], [between(rng, 1, 3), n], [2, 2, n]])], options: { k } };
    },
  },
  einsums('einsum', [...EQUATIONS, 'ab,bc,cd->ad', 'abc,ad,bk->dk'], einsum),
  einsums('tf.einsum', EQUATIONS, (equation, ...xs) => tf.einsum(equation, ...(xs as never[])) as Tensor),
];

const engines = eagerEngines();

describe('pooling and lookups: compiled = tfjs = differences', () => {
  it.each(PROPERTIES.map((p) => [p.name, p] as const))('%s', async (_name, property) => {
    await checkProperty(property, engines);
  });
});

describe('einsum', () => {
  it('says what is wrong with an equation', () => {
    const [a, b] = [tf.ones([2, 3]), tf.ones([4, 5])];
    expect(() => einsum('ab,bc->ac', a, b)).toThrow(/einsum "ab,bc->ac" of \[2,3\], \[4,5\]: "b" is both 3 and 4/);
    expect(() => einsum('aa->a', a)).toThrow(/repeats a label/);
    expect(() => einsum('ab,bc->az', a, tf.ones([3, 5]))).toThrow(/label that no operand has/);
  });
});
