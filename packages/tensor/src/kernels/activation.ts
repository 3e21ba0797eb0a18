// Activations with their gradients as kernels of our own, as in norm.ts.

import type { KernelRules } from '../emitter.ts';

export const activation: KernelRules = {
  /** x · sigmoid(1.702 x), the GELU that CLIP was trained with. */
  FoveaQuickGelu: {
    infer: ([x]) => [{ shape: x.shape, dtype: x.dtype }],
    lower: (e, node) => {
      const x = e.name(node.inputs[0]);
      return e.node('Mul', [x, e.node('Sigmoid', [e.node('Mul', [x, e.scalar(1.702)])])]);
    },
  },
  /** dy, x -> dx with s = sigmoid(1.702 x): dx = dy · s · (1 + 1.702 x (1 − s)). */
  FoveaQuickGeluGrad: {
    infer: ([dy]) => [{ shape: dy.shape, dtype: dy.dtype }],
    lower: (e, node) => {
      const [dy, x] = node.inputs.map((value) => e.name(value));
      const scaled = e.node('Mul', [x, e.scalar(1.702)]);
      const s = e.node('Sigmoid', [scaled]);
      const rest = e.node('Mul', [scaled, e.node('Sub', [e.scalar(1), s])]);
      const slope = e.node('Mul', [s, e.node('Add', [rest, e.scalar(1)])]);
      return e.node('Mul', [dy, slope]);
    },
  },
};
