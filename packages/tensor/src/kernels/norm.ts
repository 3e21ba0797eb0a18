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
  /** x [..., D], gamma [D] -> y [..., D], 1/rms [..., 1] (Zhang and Sennrich 2019). */
  FoveaRmsNorm: {
    infer: ([x]) => [
      { shape: x.shape, dtype: x.dtype },
      { shape: [...x.shape.slice(0, -1), 1], dtype: x.dtype },
    ],
    lower: (e, { inputs: [x, gamma], attrs: { epsilon } }) => {
      const last = e.ints([x.shape.length - 1]);
      const sums = e.node('ReduceSumSquare', [e.name(x), last], { keepdims: { int: 1 } });
      const mean = e.node('Mul', [sums, e.scalar(1 / (x.shape.at(-1) as number))]);
      const rstd = e.node('Reciprocal', [e.node('Sqrt', [e.node('Add', [mean, e.scalar(epsilon)])])]);
      return [e.node('Mul', [e.node('Mul', [e.name(x), rstd]), e.name(gamma)]), rstd];
    },
  },
  /** dy, x, gamma, 1/rms -> dx = (γ·dy − x̂·mean(γ·dy·x̂)) / rms. */
  FoveaRmsNormInputGrad: {
    infer: ([dy]) => [{ shape: dy.shape, dtype: dy.dtype }],
    lower: (e, node) => {
      const [dy, x, gamma, rstd] = node.inputs.map((value) => e.name(value));
      const last = e.ints([node.inputs[1].shape.length - 1]);
      const scaled = e.node('Mul', [dy, gamma]);
      const share = e.node('ReduceMean', [e.node('Mul', [scaled, x]), last], { keepdims: { int: 1 } });
      const pull = e.node('Mul', [x, e.node('Mul', [share, e.node('Mul', [rstd, rstd])])]);
      return e.node('Mul', [e.node('Sub', [scaled, pull]), rstd]);
    },
  },
  /** dy, x, 1/rms -> dgamma [D]. */
  FoveaRmsNormGammaGrad: {
    infer: ([_dy, x]) => [{ shape: x.shape.slice(-1), dtype: x.dtype }],
    lower: (e, node) => {
      const [dy, x, rstd] = node.inputs.map((value) => e.name(value));
      const lead = e.ints(Array.from({ length: node.inputs[1].shape.length - 1 }, (_, i) => i));
      const product = e.node('Mul', [e.node('Mul', [dy, x]), rstd]);
      return e.node('ReduceSum', [product, lead], {
        keepdims: { int: 0 },
        noop_with_empty_axes: { int: 1 },
      });
    },
  },
};
