// Nearest-neighbour enlargement by whole factors, and its gradient. Every other interpolation is a product with constant
// matrices (functional/resize.ts).

import type { KernelRules } from '../emitter.ts';

export const resize: KernelRules = {
  /** x [B, C, H, W] -> [B, C, H·factor₀, W·factor₁]. */
  FoveaNearest: {
    infer: ([x], { factor }) => [
      { shape: [x.shape[0], x.shape[1], x.shape[2] * factor[0], x.shape[3] * factor[1]], dtype: x.dtype },
    ],
    lower: (e, { inputs: [x], outputs: [y] }) =>
      e.node('Resize', [e.name(x), '', '', e.ints(y.shape)], {
        mode: 'nearest',
        coordinate_transformation_mode: 'asymmetric',
        nearest_mode: 'floor',
      }),
  },
  /** dy [B, C, H·factor₀, W·factor₁] -> the sum over each block, [B, C, H, W]. */
  FoveaNearestGrad: {
    infer: ([dy], { factor }) => [
      { shape: [dy.shape[0], dy.shape[1], dy.shape[2] / factor[0], dy.shape[3] / factor[1]], dtype: dy.dtype },
    ],
    lower: (e, { inputs: [dy], outputs: [dx], attrs: { factor } }) => {
      const [b, c, h, w] = dx.shape;
      const blocks = e.node('Reshape', [e.name(dy), e.ints([b, c, h, factor[0], w, factor[1]])]);
      return e.node('ReduceSum', [blocks, e.ints([3, 5])], { keepdims: { int: 0 } });
    },
  },
};
