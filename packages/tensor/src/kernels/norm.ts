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
  /**
   * dy, x, gamma, y, mean, 1/std -> dx = (γ·dy − mean(γ·dy) − x̂·mean(γ·dy·x̂)) / std, dgamma, dbeta. Means over a row are
   * products with a vector, which only read; a γ of ones is no product at all, and x̂ is then y itself.
   */
  FoveaLayerNormGrad: {
    infer: ([_dy, x, gamma]) => [
      { shape: x.shape, dtype: x.dtype },
      { shape: gamma.shape, dtype: x.dtype },
      { shape: gamma.shape, dtype: x.dtype },
    ],
    lower: (e, node) => {
      const [dy, x, , y, mean, rstd] = node.inputs.map((value) => e.name(value));
      const [, { shape }, gamma] = node.inputs;
      const width = shape.at(-1) as number;
      const [wantsX = true, wantsGamma = true, wantsBeta = true] = node.used ?? [];
      const plain = gamma.kind === 'constant' && gamma.data === 1;
      const normal = plain ? y : e.node('Mul', [e.node('Sub', [x, mean]), rstd]);
      const product = e.node('Mul', [dy, normal]);
      const overRows = (values: string) =>
        e.node('ReduceSum', [values, e.ints(shape.slice(0, -1).map((_, i) => i))], {
          keepdims: { int: 0 },
          noop_with_empty_axes: { int: 1 },
        });
      const dgamma = wantsGamma ? overRows(product) : '';
      const dbeta = wantsBeta ? overRows(dy) : '';
      if (!wantsX) return ['', dgamma, dbeta];
      const share = e.node('Div', [e.node('Expand', [e.name(gamma), e.ints([width])]), e.scalar(width)]);
      const weights = e.node('Reshape', [share, e.ints([width, 1])]);
      const rowMean = (values: string) =>
        shape.length === 1
          ? e.node('ReduceSum', [e.node('Mul', [values, share]), e.ints([0])], { keepdims: { int: 1 } })
          : e.node('MatMul', [values, weights]);
      const scaled = plain ? dy : e.node('Mul', [dy, e.name(gamma)]);
      const pull = e.node('Mul', [normal, rowMean(product)]);
      const centred = e.node('Sub', [e.node('Sub', [scaled, pull]), rowMean(dy)]);
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
