// Every recorded kernel and its gradient against tfjs's own CPU backend, on random shapes with broadcasting and edge
// sizes. One suite over all engines; a missing one says why.

import { describe, expect, it } from 'vitest';
import type { StepFunction } from './compile.ts';
import { compiledEngine, jsEngine, nativeEngines } from './engines.ts';
import { crossEntropy, layerNorm, quickGelu } from './functional/index.ts';
import { valueAndGrads } from './grads.ts';
import { type Spec, sizeOf } from './graph.ts';
import { philox } from './random.ts';
import type { NamedTensors, Tensor } from './tf.ts';
import tf from './tf.ts';

type Op = (...xs: Tensor[]) => Tensor;

interface Case {
  name: string;
  op: Op;
  /** Shapes of the float operands, one list per variant. */
  shapes: number[][][];
  /** Range of the operands. @default [-2, 2] */
  range?: [number, number];
  /** Whether the gradient exists. @default true */
  grad?: boolean;
}

const UNARY = [[[5]], [[2, 3, 4]], [[1, 1]], [[]]] as number[][][];
const BINARY = [
  [
    [2, 3],
    [2, 3],
  ],
  [[2, 3], [3]],
  [
    [4, 1, 3],
    [2, 1],
  ],
  [[2, 3], []],
  [[1], [5, 1]],
] as number[][][];

const unary = (name: string, op: Op, range?: [number, number], grad = true): Case => ({
  name,
  op,
  shapes: UNARY,
  range,
  grad,
});
const binary = (name: string, op: Op, range?: [number, number], grad = true): Case => ({
  name,
  op,
  shapes: BINARY,
  range,
  grad,
});
const float = (x: Tensor) => tf.cast(x, 'float32');
const index = (data: number[]) => tf.tensor1d(data, 'int32');

const CASES: Case[] = [
  unary('abs', tf.abs),
  unary('neg', tf.neg),
  unary('exp', tf.exp),
  unary('log', tf.log, [0.1, 3]),
  unary('log1p', tf.log1p, [0, 3]),
  unary('expm1', tf.expm1),
  unary('sqrt', tf.sqrt, [0.1, 3]),
  unary('rsqrt', tf.rsqrt, [0.1, 3]),
  unary('reciprocal', tf.reciprocal, [0.5, 3]),
  unary('square', tf.square),
  unary('sigmoid', tf.sigmoid),
  unary('tanh', tf.tanh),
  unary('erf', tf.erf),
  unary('sin', tf.sin),
  unary('cos', tf.cos),
  unary('floor', tf.floor),
  unary('ceil', tf.ceil),
  unary('round', tf.round, undefined, false),
  unary('sign', tf.sign),
  unary('relu', tf.relu),
  unary('softplus', tf.softplus),
  unary('leakyRelu', (x) => tf.leakyRelu(x, 0.3)),
  unary('clip', (x) => tf.clipByValue(x, -1, 1)),
  unary('step', (x) => tf.step(x), undefined, false),
  unary('logicalNot', (x) => float(tf.logicalNot(tf.greater(x, 0))), undefined, false),
  unary('isNaN', (x) => float(tf.isNaN(x)), undefined, false),
  unary('cast', (x) => float(tf.cast(x, 'int32')), undefined, false),
  unary('clone', (x) => tf.clone(x)),
  unary('zerosLike', (x) => tf.add(tf.zerosLike(x), x)),
  unary('onesLike', (x) => tf.mul(tf.onesLike(x), x)),
  unary('fill', (x) => tf.add(tf.fill(x.shape, 2.5), x)),
  unary('addN', (x) => tf.addN([x, tf.square(x), x])),
  binary('add', tf.add),
  binary('sub', tf.sub),
  binary('mul', tf.mul),
  binary('div', tf.div, [0.5, 2]),
  binary('pow', tf.pow, [0.5, 2]),
  binary('maximum', tf.maximum),
  binary('minimum', tf.minimum),
  binary('squaredDifference', tf.squaredDifference),
  binary('floorDiv', (a, b) => tf.floorDiv(a, b), [0.5, 5], false),
  binary('equal', (a, b) => float(tf.equal(tf.round(a), tf.round(b))), undefined, false),
  binary('notEqual', (a, b) => float(tf.notEqual(tf.round(a), tf.round(b))), undefined, false),
  binary('greater', (a, b) => float(tf.greater(a, b)), undefined, false),
  binary('greaterEqual', (a, b) => float(tf.greaterEqual(a, b)), undefined, false),
  binary('less', (a, b) => float(tf.less(a, b)), undefined, false),
  binary('lessEqual', (a, b) => float(tf.lessEqual(a, b)), undefined, false),
  binary('and', (a, b) => float(tf.logicalAnd(tf.greater(a, 0), tf.greater(b, 0))), undefined, false),
  binary('or', (a, b) => float(tf.logicalOr(tf.greater(a, 0), tf.greater(b, 0))), undefined, false),
  { name: 'where', op: (a, b) => tf.where(tf.tensor1d([1, 0, 1, 1], 'bool'), a, b), shapes: [[[4], [4]]] },
  ...(['sum', 'mean', 'max', 'min'] as const).flatMap((name): Case[] => [
    { name: `${name} all`, op: (x) => tf[name](x), shapes: [[[2, 3, 4]], [[1]]] },
    { name: `${name} axis`, op: (x) => tf[name](x, 1), shapes: [[[2, 3, 4]], [[5, 1]]] },
    { name: `${name} keep`, op: (x) => tf[name](x, [0, -1], true), shapes: [[[2, 3, 4]]] },
  ]),
  { name: 'prod', op: (x) => tf.prod(x, 0), shapes: [[[3, 2]]], grad: false },
  {
    name: 'any/all',
    op: (x) => tf.add(float(tf.any(tf.greater(x, 1), 0)), float(tf.all(tf.greater(x, -1), 0))),
    shapes: [[[3, 4]]],
    grad: false,
  },
  { name: 'argMax', op: (x) => float(tf.argMax(x, 1)), shapes: [[[3, 4]]], grad: false },
  { name: 'argMin', op: (x) => float(tf.argMin(x, 0)), shapes: [[[3, 4]]], grad: false },
  { name: 'softmax', op: (x) => tf.softmax(x), shapes: [[[3, 4]], [[2, 3, 1]]] },
  { name: 'logSoftmax', op: (x) => tf.logSoftmax(x), shapes: [[[3, 4]], [[2, 2, 5]]] },
  { name: 'cumsum', op: (x) => tf.cumsum(x, 1), shapes: [[[3, 4]]] },
  { name: 'cumsum reverse exclusive', op: (x) => tf.cumsum(x, 0, true, true), shapes: [[[3, 4]]] },
  {
    name: 'matMul',
    op: (a, b) => tf.matMul(a as never, b as never),
    shapes: [
      [
        [3, 4],
        [4, 2],
      ],
      [
        [2, 3, 4],
        [2, 4, 5],
      ],
      [
        [1, 3, 1],
        [1, 1, 2],
      ],
      [
        [2, 2, 3, 4],
        [2, 2, 4, 3],
      ],
    ],
  },
  {
    name: 'matMul tA',
    op: (a, b) => tf.matMul(a as never, b as never, true, false),
    shapes: [
      [
        [4, 3],
        [4, 2],
      ],
      [
        [2, 4, 3],
        [2, 4, 5],
      ],
    ],
  },
  {
    name: 'matMul tB',
    op: (a, b) => tf.matMul(a as never, b as never, false, true),
    shapes: [
      [
        [3, 4],
        [2, 4],
      ],
      [
        [2, 3, 4],
        [2, 5, 4],
      ],
    ],
  },
  {
    name: 'matMul tAtB',
    op: (a, b) => tf.matMul(a as never, b as never, true, true),
    shapes: [
      [
        [4, 3],
        [2, 4],
      ],
    ],
  },
  { name: 'reshape', op: (x) => tf.reshape(x, [-1, 2]), shapes: [[[3, 4]], [[2]]] },
  { name: 'expandDims', op: (x) => tf.expandDims(x, -1), shapes: [[[3, 4]]] },
  { name: 'transpose', op: (x) => tf.transpose(x, [2, 0, 1]), shapes: [[[2, 3, 4]]] },
  { name: 'slice', op: (x) => tf.slice(x, [1, 0], [1, -1]), shapes: [[[3, 4]]] },
  { name: 'stridedSlice', op: (x) => tf.stridedSlice(x, [0, 1], [3, 4], [2, 2]), shapes: [[[3, 4]]], grad: false },
  {
    name: 'concat',
    op: (a, b) => tf.concat([a, b], 1),
    shapes: [
      [
        [2, 3],
        [2, 1],
      ],
    ],
  },
  {
    name: 'stack',
    op: (a, b) => tf.stack([a, b], 1),
    shapes: [
      [
        [2, 3],
        [2, 3],
      ],
    ],
  },
  { name: 'unstack', op: (x) => tf.mul(tf.unstack(x, 1)[0], tf.unstack(x, 1)[2]), shapes: [[[2, 3]]] },
  { name: 'split', op: (x) => tf.mul(tf.split(x, 2, 1)[0], tf.split(x, [2, -1], 1)[1]), shapes: [[[2, 4]]] },
  { name: 'tile', op: (x) => tf.tile(x, [2, 3]), shapes: [[[2, 2]]] },
  { name: 'broadcastTo', op: (x) => tf.broadcastTo(x, [3, 2, 4]), shapes: [[[2, 1]]] },
  {
    name: 'pad',
    op: (x) =>
      tf.pad(
        x,
        [
          [1, 0],
          [0, 2],
        ],
        0.5,
      ),
    shapes: [[[2, 3]]],
  },
  { name: 'reverse', op: (x) => tf.reverse(x, [0]), shapes: [[[3, 2]]] },
  { name: 'gather', op: (x) => tf.gather(x, index([2, 0, 2])), shapes: [[[3, 2]]] },
  {
    name: 'gatherND',
    op: (x) =>
      tf.gatherND(
        x,
        tf.tensor2d(
          [
            [0, 1],
            [2, 0],
          ],
          [2, 2],
          'int32',
        ),
      ),
    shapes: [[[3, 2]]],
    grad: false,
  },
  { name: 'unsortedSegmentSum', op: (x) => tf.unsortedSegmentSum(x, index([0, 2, 0, 2]), 3), shapes: [[[4, 2]]] },
  { name: 'oneHot', op: (x) => tf.mul(x, tf.oneHot(index([1, 0, 3]), 4)), shapes: [[[3, 4]]] },
  {
    name: 'layerNorm',
    op: (x, g, b) => layerNorm(x, g, b),
    shapes: [
      [[3, 5], [5], [5]],
      [[2, 3, 4], [4], [4]],
    ],
  },
  { name: 'quickGelu', op: quickGelu, shapes: UNARY },
  { name: 'crossEntropy', op: (x) => crossEntropy(x, index([1, 0, 3])), shapes: [[[3, 4]]] },
];

function draw(spec: Spec, [low, high]: [number, number], at: number): Float32Array {
  const rng = philox(7, 'kernels', at, sizeOf(spec.shape));
  return Float32Array.from({ length: sizeOf(spec.shape) }, () => rng.between(low, high));
}

/** Value, and the gradient of Σ value · cos(index) with respect to every operand. */
function program({ op, grad = true }: Case): StepFunction {
  return (inputs: Record<string, Tensor>) => {
    const names = Object.keys(inputs);
    if (!grad) return { outputs: { y: op(...names.map((n) => inputs[n])) } };
    const { value, grads, aux } = valueAndGrads((p) => {
      const y = op(...names.map((n) => p[n]));
      const weights = tf.tensor(
        Float32Array.from({ length: y.size }, (_, i) => Math.cos(i)),
        y.shape,
      );
      return { value: tf.sum(tf.mul(y, weights)), aux: { y } };
    }, inputs);

    const outputs: NamedTensors = { value, ...aux, ...Object.fromEntries(names.map((n) => [`d/${n}`, grads[n]])) };
    return { outputs };
  };
}

const engines = [compiledEngine];
for (const { name, engine, reason } of nativeEngines()) {
  if (engine) engines.push(engine);
  else console.info(`kernels.test: ${name} is not tested: ${reason}`);
}

describe.each(engines)('kernels and gradients on $name', (engine) => {
  it.each(CASES.map((c) => [c.name, c] as const))('%s', async (_name, c) => {
    for (const shapes of c.shapes) {
      const specs = Object.fromEntries(shapes.map((shape, i) => [`x${i}`, { shape, dtype: 'float32' as const }]));
      const values = Object.fromEntries(Object.entries(specs).map(([n, s], i) => [n, draw(s, c.range ?? [-2, 2], i)]));
      const fn = program(c);
      const expected = await jsEngine.run(fn, { inputs: specs }, values);
      const actual = await engine.run(fn, { inputs: specs }, values);
      expect(Object.keys(actual).sort()).toEqual(Object.keys(expected).sort());
      for (const [name, wanted] of Object.entries(expected)) {
        expect(actual[name].length, `${name} of ${shapes.join(' × ')}`).toBe(wanted.length);
        wanted.forEach((w, i) => {
          const error = Math.abs(actual[name][i] - w) / (1 + Math.abs(w));
          expect(error, `${name}[${i}] of [${shapes.join('] × [')}]: ${actual[name][i]} for ${w}`).toBeLessThan(2e-5);
        });
      }
    }
  });
});

describe('gradients against central differences', () => {
  it.each([
    ['layerNorm', (x: Tensor) => layerNorm(x, tf.tensor1d([1, 2, 0.5, -1]), tf.tensor1d([0, 1, 0, 0])), [3, 4]],
    ['quickGelu', quickGelu, [6]],
    ['softmax of a product', (x: Tensor) => tf.softmax(tf.matMul(x as never, x as never, false, true)), [3, 2]],
    ['crossEntropy', (x: Tensor) => crossEntropy(x, index([2, 1])), [2, 3]],
  ] as [string, Op, number[]][])('%s', async (_name, op, shape) => {
    const spec = { x0: { shape, dtype: 'float32' as const } };
    const fn = program({ name: '', op, shapes: [] });
    const x = draw(spec.x0, [-1, 1], 3);
    const { 'd/x0': analytic } = await compiledEngine.run(fn, { inputs: spec }, { x0: x });
    const h = 1e-2;
    for (let i = 0; i < x.length; i++) {
      const at = async (delta: number) => {
        const moved = x.slice();
        moved[i] += delta;
        return (await compiledEngine.run(fn, { inputs: spec }, { x0: moved })).value[0];
      };
      const numeric = ((await at(h)) - (await at(-h))) / (2 * h);
      expect(Math.abs(numeric - analytic[i])).toBeLessThan(2e-3 * (1 + Math.abs(numeric)));
    }
  });
});
