// Normalisations with their gradients as kernels of our own: slow as a chain of small ones. Only the recorder has them;
// eager engines run the composed form in functional/norm.ts, which is also what they are tested against.

import type { KernelRules } from '../emitter.ts';

export const norm: KernelRules = {
  /** x [..., D], gamma [D], beta [D] -> y [..., D], mean [..., 1], 1/std [..., 1] (Ba et al. 2016). */
  FoveaLayerNorm: {
    infer: ([x]) => {
      const stats = { shape: [...x.shape.slice(0, -1), 1], dtype: x.dtype };
      return [{ shape: x.shape, dtype: x.dtype }, stats, stats];
    },
    lower: (e, node) =>
      e.multi(
        'LayerNormalization',
        node.inputs.map((x) => e.name(x)),
        3,
        { axis: { int: -1 }, epsilon: node.attrs.epsilon },
      ),
  },
  /** dy, x, gamma, mean, 1/std -> dx, dgamma, dbeta. */
  FoveaLayerNormGrad: {
    infer: ([_dy, x, gamma]) => [
      { shape: x.shape, dtype: x.dtype },
      { shape: gamma.shape, dtype: x.dtype },
      { shape: gamma.shape, dtype: x.dtype },
    ],
    lower: (e, node) => {
      const [dy, x, gamma, mean, rstd] = node.inputs.map((value) => e.name(value));
      const rank = node.inputs[1].shape.length;
      const lead = e.ints(Array.from({ length: rank - 1 }, (_, i) => i));
      const last = e.ints([rank - 1]);
      const keep = { keepdims: { int: 1 } };
      const drop = { keepdims: { int: 0 } };
      const normal = e.node('Mul', [e.node('Sub', [x, mean]), rstd]);
      const dbeta = e.node('ReduceSum', [dy, lead], drop);
      const dgamma = e.node('ReduceSum', [e.node('Mul', [dy, normal]), lead], drop);
      const scaled = e.node('Mul', [dy, gamma]);
      const m1 = e.node('ReduceMean', [scaled, last], keep);
      const m2 = e.node('ReduceMean', [e.node('Mul', [scaled, normal]), last], keep);
      const centred = e.node('Sub', [e.node('Sub', [scaled, m1]), e.node('Mul', [normal, m2])]);
      return [e.node('Mul', [centred, rstd]), dgamma, dbeta];
    },
  },
};
