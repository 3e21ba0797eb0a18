// tfjs's own picture kernels and the rest of what plain tfjs code may call, recorded: the property suite again.

import { describe, it } from 'vitest';
import type { Rng } from '../random.ts';
import { between, checkProperty, eagerEngines, oneOf, type Property } from '../testing.ts';
import type { Tensor } from '../tf.ts';
import tf from '../tf.ts';

const picture = (rng: Rng, channels = between(rng, 1, 3)): number[] => [
  between(rng, 1, 2),
  between(rng, 4, 7),
  between(rng, 4, 7),
  channels,
];

type Pad = 'same' | 'valid' | number;
const drawPad = (rng: Rng): Pad => oneOf<Pad>(rng, ['same', 'valid', 1]);

type Resize = (x: never, size: [number, number], corners: boolean, half: boolean) => Tensor;

function resize(name: string, run: Resize, half: boolean, eager: boolean): Property {
  return {
    name,
    eager,
    draw: (rng) => {
      const size: [number, number] = [between(rng, 1, 9), between(rng, 1, 9)];
      const corners = !half && oneOf(rng, [true, false]);
      return { op: (x) => run(x as never, size, corners, half), shapes: [picture(rng)], options: { size, corners } };
    },
  };
}

const unary = (name: string, op: (x: Tensor) => Tensor, grad = true): Property => ({
  name,
  grad,
  smooth: false,
  trials: 3,
  range: [-8, 8],
  draw: (rng) => ({ op, shapes: [oneOf(rng, [[], [between(rng, 1, 9)], [2, between(rng, 1, 4)]])] }),
});

const float = (x: Tensor) => tf.cast(x, 'float32');

const conv = (name: string, dilated: boolean): Property => ({
  name,
  eager: !dilated,
  draw: (rng) => {
    const channels = between(rng, 1, 3);
    const strides = dilated ? 1 : between(rng, 1, 2);
    const dilation = dilated ? 2 : 1;
    const pad = drawPad(rng);
    const rows = between(rng, 1, 3);
    // tfjs takes the filter for square where the padding is a number.
    const columns = pad === 1 ? rows : between(rng, 1, 3);
    return {
      op: (x, w) => tf.conv2d(x as never, w as never, strides, pad, 'NHWC', dilation) as Tensor,
      shapes: [picture(rng, channels), [rows, columns, channels, between(rng, 1, 3)]],
      options: { strides, pad, dilation },
    };
  },
});

/** As converters write convolutions; the gradient is the plain one's, which tfjs composes. */
const fused = (name: 'conv2d' | 'depthwiseConv2d', biases: (outputs: number) => number[]): Property => ({
  name: `tf.fused.${name}, bias [${biases(2)}]`,
  grad: false,
  trials: 14,
  draw: (rng) => {
    const [channels, filters] = [between(rng, 1, 3), between(rng, 1, 3)];
    const outputs = name === 'conv2d' ? filters : channels * filters;
    const activation = oneOf(rng, ['linear', 'relu', 'relu6', 'elu', 'sigmoid', 'leakyrelu', 'prelu'] as const);
    const [strides, pad] = [between(rng, 1, 2), oneOf(rng, ['same', 'valid'] as const)];
    const op = (x: Tensor, filter: Tensor, bias: Tensor, alpha: Tensor) => {
      const preluActivationWeights = activation === 'prelu' ? alpha : undefined;
      const options = { strides, pad, activation, preluActivationWeights, leakyreluAlpha: 0.3 };
      return tf.fused[name]({ x, filter, bias, ...options } as never) as Tensor;
    };
    const shapes = [picture(rng, channels), [between(rng, 1, 3), between(rng, 1, 3), channels, filters]];
    return { op, shapes: [...shapes, biases(outputs), [outputs]], options: { strides, pad, activation } };
  },
});

const cut = (name: string, shape: number[], op: (x: Tensor) => Tensor): Property => ({
  name: `tf.stridedSlice ${name}`,
  grad: false,
  trials: 1,
  draw: () => ({ op, shapes: [shape] }),
});

const PROPERTIES: Property[] = [
  conv('tf.conv2d', false),
  conv('tf.conv2d with dilation', true),
  fused('conv2d', (outputs) => [outputs]),
  fused('conv2d', () => []),
  fused('depthwiseConv2d', (outputs) => [outputs]),
  {
    name: 'tf.conv2dTranspose',
    draw: (rng) => {
      const [channels, filters, size] = [between(rng, 1, 3), between(rng, 1, 3), between(rng, 3, 5)];
      const op = (x: Tensor, w: Tensor) =>
        tf.conv2dTranspose(x as never, w as never, [1, 2 * size, 2 * size, filters], 2, 'same') as Tensor;
      return {
        op,
        shapes: [
          [1, size, size, channels],
          [3, 3, filters, channels],
        ],
      };
    },
  },
  {
    name: 'tf.depthwiseConv2d',
    draw: (rng) => {
      const channels = between(rng, 1, 3);
      const strides = between(rng, 1, 2);
      const pad = oneOf(rng, ['same', 'valid'] as const);
      return {
        op: (x, w) => tf.depthwiseConv2d(x as never, w as never, strides, pad) as Tensor,
        shapes: [picture(rng, channels), [between(rng, 1, 3), between(rng, 1, 3), channels, between(rng, 1, 3)]],
        options: { strides, pad },
      };
    },
  },
  ...(['maxPool', 'avgPool'] as const).map(
    (name): Property => ({
      name: `tf.${name}`,
      smooth: name === 'avgPool',
      draw: (rng) => {
        const [size, strides, pad] = [between(rng, 2, 3), between(rng, 1, 3), drawPad(rng)];
        const op = (x: Tensor) => tf[name](x as never, size, strides, pad, pad === 1 ? 'floor' : undefined) as Tensor;
        return { op, shapes: [picture(rng)], options: { size, strides, pad } };
      },
    }),
  ),
  {
    name: 'tf.batchNorm',
    range: [0.2, 2],
    draw: (rng) => {
      const c = between(rng, 1, 4);
      return {
        op: (x, mean, variance, offset, scale) =>
          tf.batchNorm(x, mean as never, variance as never, offset as never, scale as never, 1e-3),
        shapes: [picture(rng, c), [c], [c], [c], [c]],
      };
    },
  },
  {
    name: 'tf.batchNorm without scale and offset',
    range: [0.2, 2],
    grad: false,
    draw: (rng) => {
      const c = between(rng, 1, 4);
      const op = (x: Tensor, mean: Tensor, variance: Tensor) => tf.batchNorm(x, mean as never, variance as never);
      return { op, shapes: [picture(rng, c), [c], [c]] };
    },
  },
  resize('tf.image.resizeBilinear', tf.image.resizeBilinear as never, false, true),
  resize('tf.image.resizeNearestNeighbor', tf.image.resizeNearestNeighbor as never, false, true),
  // tfjs's CPU kernel reaches beyond the border at half-pixel centres, so differences alone judge.
  resize('tf.image.resizeBilinear half pixel', tf.image.resizeBilinear as never, true, false),
  resize('tf.image.resizeNearestNeighbor half pixel', tf.image.resizeNearestNeighbor as never, true, false),
  unary('tf.elu', tf.elu),
  unary('tf.selu', tf.selu),
  unary('tf.relu6', tf.relu6),
  unary('tf.isFinite', (x) => float(tf.isFinite(tf.log(x))), false),
  unary('tf.isInf', (x) => float(tf.isInf(tf.div(1, tf.relu(x)))), false),
  {
    name: 'tf.prelu',
    smooth: false,
    draw: (rng) => ({ op: (x, alpha) => tf.prelu(x, alpha), shapes: [[2, 3, between(rng, 1, 4)], [1]] }),
  },
  {
    name: 'tf.mod',
    smooth: false,
    range: [0.5, 5],
    draw: (rng) => ({ op: (x, y) => tf.mod(x, y), shapes: [[between(rng, 1, 6)], [1]] }),
  },
  {
    name: 'tf.floorDiv and tf.mod of integers',
    grad: false,
    range: [-8, 8],
    draw: (rng) => {
      const op = (x: Tensor) => {
        const [n, by] = [tf.cast(x, 'int32'), tf.tensor1d([3, -3, 1, -7], 'int32')];
        return float(tf.add(tf.mul(tf.floorDiv(n, by), 100), tf.mod(n, by)));
      };
      return { op, shapes: [[between(rng, 1, 5), 4]] };
    },
  },
  // tfjs's CPU kernel loses an axis rightly only where every stride is one.
  cut('without ends, with an ellipsis, losing an axis', [3, 2, 2, 2, 4], (x) =>
    tf.stridedSlice(x, [1, 9, 0, 1], [9, 1, 0, 2], [1, 1, 1, 1], 2, 1, 4, 0, 8),
  ),
  cut('without ends, with an ellipsis, backwards', [3, 2, 2, 4], (x) =>
    tf.stridedSlice(x, [9, 1, 0, 3], [9, 0, 0, 0], [1, -1, 1, -2], 1, 3, 4, 0, 0),
  ),
  cut('with a new axis, backwards', [3, 5], (x) => tf.stridedSlice(x, [0, 0, -1], [0, 2, -9], [1, 1, -2], 0, 0, 0, 1)),
  {
    name: 'tf.mirrorPad',
    draw: (rng) => {
      const mode = oneOf(rng, ['reflect', 'symmetric'] as const);
      const edge = (): [number, number] => [between(rng, 0, 2), between(rng, 0, 2)];
      const pads = [edge(), edge()];
      return {
        op: (x) => tf.mirrorPad(x, pads, mode),
        shapes: [[between(rng, 3, 5), between(rng, 3, 5)]],
        options: { mode, pads },
      };
    },
    grad: false,
  },
  {
    name: 'tf.depthToSpace',
    grad: false,
    draw: (rng) => {
      const k = between(rng, 2, 3);
      return {
        op: (x) => tf.depthToSpace(x as never, k) as Tensor,
        shapes: [picture(rng, k * k * between(rng, 1, 2))],
      };
    },
  },
  {
    name: 'tf.scatterND and tensorScatterUpdate',
    grad: false,
    draw: (rng) => {
      const width = between(rng, 1, 4);
      const op = (x: Tensor, y: Tensor) => {
        const index = tf.tensor2d([[0], [2]], [2, 1], 'int32');
        return tf.add(tf.scatterND(index, y, [3, width]), tf.tensorScatterUpdate(x, index, y));
      };
      return {
        op,
        shapes: [
          [3, width],
          [2, width],
        ],
      };
    },
  },
  {
    name: 'tf.range and tf.linspace',
    draw: (rng) => {
      const n = between(rng, 1, 6);
      const op = (x: Tensor) =>
        tf.add(
          tf.mul(x, tf.add(tf.range(0, n), tf.cast(tf.range(2, 2 + n, 1, 'int32'), 'float32'))),
          tf.linspace(-1, 3, n),
        );
      return { op, shapes: [[n]] };
    },
  },
];

const engines = eagerEngines();

describe('plain tfjs code: compiled = tfjs = differences', () => {
  it.each(PROPERTIES.map((p) => [p.name, p] as const))('%s', async (_name, property) => {
    await checkProperty(property, engines);
  });
});
