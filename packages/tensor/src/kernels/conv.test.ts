// Convolutions: the property suite over random shapes and options, the gradients of gradients, and what a frozen filter
// saves.

import { describe, expect, it } from 'vitest';
import { lowerToOnnx } from '../compile.ts';
import { compiledEngine, jsEngine } from '../engines.ts';
import { conv2d, convTranspose2d } from '../functional/index.ts';
import { valueAndGrads } from '../grads.ts';
import type { Rng } from '../random.ts';
import { between, checkProperty, eagerEngines, oneOf, type Property } from '../testing.ts';
import type { NamedTensors, Tensor } from '../tf.ts';
import tf from '../tf.ts';
import type { Pads, Pair } from './conv.ts';

const pair = (rng: Rng, low: number, high: number): Pair => [between(rng, low, high), between(rng, low, high)];

function drawConv(rng: Rng, groups: number, fixed: { stride?: number; kernel?: number; channels?: number } = {}) {
  const kernel: Pair = fixed.kernel ? [fixed.kernel, fixed.kernel] : pair(rng, 1, 3);
  const stride: number | Pair = fixed.stride ?? pair(rng, 1, 3);
  const same = stride === 1 && rng.int(4) === 0;
  const pads: Pads = [between(rng, 0, 2), between(rng, 0, 2), between(rng, 0, 2), between(rng, 0, 2)];
  const options = {
    stride,
    padding: same ? ('same' as const) : oneOf(rng, [0, 1, 'valid' as const, [0, 2] as Pair, pads]),
    dilation: pair(rng, 1, 2),
    groups,
  };
  const channels = groups * (fixed.channels ?? between(rng, 1, 3));
  const filters = groups * between(rng, 1, 3);
  const shapes = [
    [between(rng, 1, 3), channels, between(rng, 5, 9), between(rng, 5, 9)],
    [filters, channels / groups, ...kernel],
  ];
  return { options, shapes, filters };
}

const conv = (name: string, groups: (rng: Rng) => number, fixed = {}): Property => ({
  name,
  draw: (rng) => {
    const { options, shapes, filters } = drawConv(rng, groups(rng), fixed);
    return { op: (x, w, b) => conv2d(x, w, b, options), shapes: [...shapes, [filters]], options };
  },
});

/** Big enough that the input gradient turns the filter. */
const manyPixels = (name: string, groups: number): Property => ({
  name,
  trials: 3,
  draw: (rng) => {
    const [kh, kw] = pair(rng, 1, 3);
    const options = { padding: [rng.int(kh), rng.int(kw)] as Pair, groups };
    const shapes = [
      [2, 2 * groups, 12, 12 + rng.int(3)],
      [3 * groups, 2, kh, kw],
    ];
    return { op: (x, w) => conv2d(x, w, null, options), shapes, options };
  },
});

const PROPERTIES: Property[] = [
  conv('conv2d', () => 1),
  conv('conv2d stride 1', () => 1, { stride: 1 }),
  conv('conv2d 1×1', () => 1, { stride: 1, kernel: 1 }),
  conv('conv2d wide', () => 1, { stride: 1, kernel: 3, channels: 17 }),
  conv('conv2d strided wide', () => 1, { stride: 2, kernel: 3, channels: 16 }),
  conv('conv2d groups', (rng) => between(rng, 2, 3)),
  manyPixels('conv2d over many pixels', 1),
  manyPixels('conv2d over many pixels in groups', 2),
  conv('conv2d depthwise', (rng) => between(rng, 2, 4), { channels: 1 }),
  {
    name: 'conv2d patches',
    draw: (rng) => {
      const [size, rows, columns] = [between(rng, 2, 4), between(rng, 1, 3), between(rng, 1, 3)];
      const [b, c, o] = [between(rng, 1, 3), between(rng, 1, 3), between(rng, 1, 5)];
      return {
        op: (x, w) => conv2d(x, w, null, { stride: size }),
        shapes: [
          [b, c, rows * size, columns * size],
          [o, c, size, size],
        ],
      };
    },
  },
  {
    name: 'convTranspose2d',
    draw: (rng) => {
      const groups = between(rng, 1, 2);
      const stride = pair(rng, 1, 3);
      const options = {
        stride,
        padding: pair(rng, 0, 1),
        outputPadding: stride.map((s) => rng.int(s)) as Pair,
        dilation: pair(rng, 1, 2),
        groups,
      };
      const [channels, filters] = [groups * between(rng, 1, 3), between(rng, 1, 3)];
      const shapes = [
        [between(rng, 1, 2), channels, between(rng, 3, 6), between(rng, 3, 6)],
        [channels, filters, between(rng, 1, 3), between(rng, 2, 3)],
        [groups * filters],
      ];
      return { op: (x, w, b) => convTranspose2d(x, w, b, options), shapes, options };
    },
  },
];

const engines = eagerEngines();

describe('convolutions: compiled = tfjs = differences', () => {
  it.each(PROPERTIES.map((p) => [p.name, p] as const))('%s', async (_name, property) => {
    await checkProperty(property, engines);
  });
});

describe('convolutions', () => {
  it('have gradients of gradients', async () => {
    await checkProperty({
      name: 'the squared gradient of conv2d',
      trials: 4,
      eager: false,
      draw: (rng) => {
        const { options, shapes } = drawConv(rng, 1, { stride: 2, kernel: 3 });
        const op = (x: Tensor, w: Tensor) => {
          const energy = (a: Tensor, b: Tensor) => tf.sum(tf.square(conv2d(a, b, null, options)));
          const [dx, dw] = tf.grads(energy as never)([x, w]);
          return tf.concat([tf.reshape(dx, [-1]), tf.reshape(dw, [-1])]);
        };
        return { op, shapes, options };
      },
    });
  });

  it('turn a frozen filter as they turn a trained one', async () => {
    const shapes = { x: [2, 4, 5, 5], w: [6, 4, 3, 2] };
    const [x, w] = Object.values(shapes).map((shape, i) =>
      Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, at) => Math.sin(at * (i + 1))),
    );
    const inputs = { x: { shape: shapes.x, dtype: 'float32' as const } };
    const frozen = { w: { shape: shapes.w, dtype: 'float32' as const, data: w } };
    const step = ({ x: given }: NamedTensors, _state: NamedTensors, { w: filter }: NamedTensors) => {
      const { grads } = valueAndGrads(
        (p) => ({ value: tf.sum(tf.square(conv2d(p.x, filter, null, { padding: 1 }))) }),
        {
          x: given,
        },
      );
      return { outputs: { dx: grads.x } };
    };
    const [ours, theirs] = await Promise.all(
      [compiledEngine, jsEngine].map((engine) => engine.run(step, { inputs, constants: frozen }, { x })),
    );
    for (const [i, value] of theirs.dx.entries()) expect(Math.abs(ours.dx[i] - value)).toBeLessThan(1e-4);
  });

  it('compute no gradient of a frozen filter', () => {
    const ops = (trainable: string[]) => {
      const shapes = { x: [1, 16, 8, 8], w: [16, 16, 3, 3], b: [16] };
      const inputs = Object.fromEntries(
        Object.entries(shapes).map(([name, shape]) => [name, { shape, dtype: 'float32' as const }]),
      );
      return lowerToOnnx(
        (given) => {
          const free = Object.fromEntries(trainable.map((name) => [name, given[name]]));
          const { grads } = valueAndGrads((p) => {
            const all = { ...given, ...p };
            return { value: tf.sum(tf.square(conv2d(all.x, all.w, all.b, { padding: 1 }))) };
          }, free);
          return { outputs: Object.fromEntries(trainable.map((name) => [`d/${name}`, grads[name]])) };
        },
        { inputs },
      ).nodes;
    };
    expect(ops(['x'])).toBeLessThan(14);
    expect(ops(['b'])).toBeLessThan(10);
    expect(ops(['x', 'w', 'b'])).toBeGreaterThan(30);
  });

  it('name the shapes and the line where channels do not fit', () => {
    const build = () =>
      lowerToOnnx(({ x, w }) => ({ outputs: { y: conv2d(x, w) } }), {
        inputs: { x: { shape: [1, 4, 8, 8], dtype: 'float32' }, w: { shape: [8, 3, 3, 3], dtype: 'float32' } },
      });
    expect(build).toThrow(/conv\.test\.ts:\d+.*\[1,4,8,8\] with a filter \[8,3,3,3\]/);
  });
});
