// Activations with their gradients as kernels of our own, as in norm.ts.

import type { Emitter, KernelRule, KernelRules } from '../emitter.ts';
import type { GraphNode } from '../graph.ts';

/** One operand -> one result of its shape. */
const pointwise = (lower: (e: Emitter, x: string, attrs: GraphNode['attrs']) => string): KernelRule => ({
  infer: ([x]) => [{ shape: x.shape, dtype: x.dtype }],
  lower: (e, node) => lower(e, e.name(node.inputs[0]), node.attrs),
});

/**
 * dy, x, y -> dx of y = x · s with s = sigmoid(αx), as dy·s · (1 + α(x − y)): the fewest passes over memory, which is
 * what element-wise kernels cost.
 */
const gateGrad = (alpha: number): KernelRule => ({
  infer: ([dy]) => [{ shape: dy.shape, dtype: dy.dtype }],
  lower: (e, node) => {
    const [dy, x, y] = node.inputs.map((value) => e.name(value));
    const rest = e.node('Sub', [x, y]);
    const slope = plus(e, alpha === 1 ? rest : times(e, rest, alpha), 1);
    return e.node('Mul', [e.node('Mul', [dy, gate(e, x, alpha)]), slope]);
  },
});

const gate = (e: Emitter, x: string, alpha: number) => e.node('Sigmoid', [alpha === 1 ? x : times(e, x, alpha)]);

/** dy, x -> dy · slope(x). */
const slope = (lower: (e: Emitter, x: string, attrs: GraphNode['attrs']) => string): KernelRule => ({
  infer: ([dy]) => [{ shape: dy.shape, dtype: dy.dtype }],
  lower: (e, node) => e.node('Mul', [e.name(node.inputs[0]), lower(e, e.name(node.inputs[1]), node.attrs)]),
});

const square = (e: Emitter, x: string) => e.node('Mul', [x, x]);
const times = (e: Emitter, x: string, factor: number) => e.node('Mul', [x, e.scalar(factor)]);
const plus = (e: Emitter, x: string, term: number) => e.node('Add', [x, e.scalar(term)]);

/** s + z(1 − s)s with s = sigmoid(z): the slope of x · sigmoid(z) where x·dz/dx is `zSlope`. */
function gateSlope(e: Emitter, s: string, zSlope: string): string {
  const rest = e.node('Mul', [zSlope, e.node('Sub', [e.scalar(1), s])]);
  return e.node('Mul', [s, plus(e, rest, 1)]);
}

/** Φ(x) + x·φ(x), the normal distribution and its density. */
function erfSlope(e: Emitter, x: string): string {
  const cdf = plus(e, times(e, e.node('Erf', [times(e, x, Math.SQRT1_2)]), 0.5), 0.5);
  const bell = e.node('Exp', [times(e, square(e, x), -0.5)]);
  const density = times(e, bell, 1 / Math.sqrt(2 * Math.PI));
  return e.node('Add', [cdf, e.node('Mul', [x, density])]);
}

/** The tanh form is x · sigmoid(2u) with u = √(2/π)(x + 0.044715 x³). */
function tanhSlope(e: Emitter, x: string): string {
  const c = 2 * Math.sqrt(2 / Math.PI);
  const x2 = square(e, x);
  const s = e.node('Sigmoid', [e.node('Mul', [x, plus(e, times(e, x2, c * 0.044715), c)])]);
  return gateSlope(e, s, e.node('Mul', [x, plus(e, times(e, x2, 3 * c * 0.044715), c)]));
}

export const activation: KernelRules = {
  /** x · sigmoid(1.702 x), the GELU that CLIP was trained with. */
  FoveaQuickGelu: pointwise((e, x) => e.node('Mul', [x, gate(e, x, 1.702)])),
  FoveaQuickGeluGrad: gateGrad(1.702),
  /** x · sigmoid(x). */
  FoveaSilu: pointwise((e, x) => e.node('Mul', [x, gate(e, x, 1)])),
  FoveaSiluGrad: gateGrad(1),
  /** x · Φ(x), exactly or by its tanh form (Hendrycks and Gimpel 2016). */
  FoveaGelu: pointwise((e, x, { approximate }) => e.node('Gelu', [x], { approximate })),
  FoveaGeluGrad: slope((e, x, { approximate }) => (approximate === 'tanh' ? tanhSlope(e, x) : erfSlope(e, x))),
};
