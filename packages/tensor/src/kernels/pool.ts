// Pooling over [B, C, H, W] and its gradients. A maximum remembers where it stood; an average is a convolution with ones,
// so its gradient is a transposed one.

import type { AttributeMap, Emitter, KernelRules } from '../emitter.ts';
import { sizeOf } from '../graph.ts';
import type { Pads, Pair } from './conv.ts';
import { cast } from './elementwise.ts';

export interface PoolAttrs {
  kernel: Pair;
  stride: Pair;
  pads: Pads;
  /** Whether zeros of the padding count in an average. */
  countPadding?: boolean;
}

type Shape = readonly number[];

export function poolShape(x: Shape, { kernel, stride, pads }: PoolAttrs): number[] {
  if (x.length !== 4) throw new Error(`pooling takes [B, C, H, W], not [${x}]`);
  const size = [0, 1].map((i) => Math.floor((x[2 + i] + pads[i] + pads[2 + i] - kernel[i]) / stride[i]) + 1);
  if (size.some((s) => s < 1)) throw new Error(`a window [${kernel}] is larger than its padded input [${x}]`);
  return [x[0], x[1], ...size];
}

const window = ({ kernel, stride, pads }: PoolAttrs): AttributeMap => ({
  kernel_shape: { ints: kernel },
  strides: { ints: stride },
  pads: { ints: pads },
});

/** Maxima, and where in the flat input each stood (int64). */
export const lowerMaxPool = (e: Emitter, x: string, attrs: PoolAttrs): string[] =>
  e.multi('MaxPool', [x], 2, window(attrs));

/** Adds dy up at the places `indices` (int64) of a flat tensor of `shape`. */
export function lowerMaxPoolGrad(e: Emitter, dy: string, indices: string, shape: Shape): string {
  const zeros = e.node('Expand', [e.scalar(0), e.ints([sizeOf(shape)])]);
  const flat = e.ints([-1]);
  const [at, updates] = [indices, dy].map((x) => e.node('Reshape', [x, flat]));
  const sums = e.node('ScatterElements', [zeros, at, updates], { axis: { int: 0 }, reduction: 'add' });
  return e.node('Reshape', [sums, e.ints(shape)]);
}

export const lowerAvgPool = (e: Emitter, x: string, attrs: PoolAttrs): string =>
  e.node('AveragePool', [x], { ...window(attrs), count_include_pad: { int: attrs.countPadding ? 1 : 0 } });

/** dy [B, C, Ho, Wo] -> dx of the shape `x`. */
export function lowerAvgPoolGrad(e: Emitter, dy: string, x: Shape, attrs: PoolAttrs): string {
  const { kernel, stride, pads } = attrs;
  const [b, c, h, w] = x;
  const [, , ho, wo] = poolShape(x, attrs);
  const ones = e.node('Expand', [e.scalar(1), e.ints([1, 1, ...kernel])]);
  let share: string;
  if (attrs.countPadding || pads.every((p) => p === 0))
    share = e.node('Mul', [dy, e.scalar(1 / (kernel[0] * kernel[1]))]);
  else {
    const field = e.node('Expand', [e.scalar(1), e.ints([1, 1, h, w])]);
    share = e.node('Div', [dy, e.node('Conv', [field, ones], window(attrs))]);
  }
  const rows = e.node('Reshape', [share, e.ints([b * c, 1, ho, wo])]);
  const size = [h, w];
  const unread = [ho, wo].map((o, i) => size[i] + pads[i] + pads[2 + i] - ((o - 1) * stride[i] + kernel[i]));
  const spread = e.node('ConvTranspose', [rows, ones], { ...window(attrs), output_padding: { ints: unread } });
  return e.node('Reshape', [spread, e.ints(x)]);
}

export const pool: KernelRules = {
  /** x [B, C, H, W] -> maxima [B, C, Ho, Wo] and their places in the flat input. */
  FoveaMaxPool2d: {
    infer: ([x], attrs) => {
      const shape = poolShape(x.shape, attrs as PoolAttrs);
      return [
        { shape, dtype: x.dtype },
        { shape, dtype: 'int32' },
      ];
    },
    lower: (e, { inputs: [x], attrs }) => {
      const [y, indices] = lowerMaxPool(e, e.name(x), attrs as PoolAttrs);
      return [y, cast(e, indices, 'int32')];
    },
  },
  /** dy, indices -> dx of the shape `shape`. */
  FoveaMaxPool2dGrad: {
    infer: ([dy], { shape }) => [{ shape, dtype: dy.dtype }],
    lower: (e, { inputs: [dy, indices], attrs: { shape } }) =>
      lowerMaxPoolGrad(e, e.name(dy), e.node('Cast', [e.name(indices)], { to: { int: 7 } }), shape),
  },
  FoveaAvgPool2d: {
    infer: ([x], attrs) => [{ shape: poolShape(x.shape, attrs as PoolAttrs), dtype: x.dtype }],
    lower: (e, { inputs: [x], attrs }) => lowerAvgPool(e, e.name(x), attrs as PoolAttrs),
  },
  FoveaAvgPool2dGrad: {
    infer: ([dy], { shape }) => [{ shape, dtype: dy.dtype }],
    lower: (e, { inputs: [dy], attrs }) => lowerAvgPoolGrad(e, e.name(dy), attrs.shape, attrs as unknown as PoolAttrs),
  },
};
