// Control of when the runtime computes something. onnxruntime runs nodes by need and merges equal ones, which undoes
// every recomputation; a value that hangs by a thread on a later one is neither early nor equal.

import type { Emitter, KernelRules } from '../emitter.ts';

/** A [1] that is zero whatever `x` holds, NaN included, and that is known only once `x` is. */
function zeroAfter(e: Emitter, x: string): string {
  const first = e.node('Slice', [e.node('Reshape', [x, e.ints([-1])]), e.ints([0]), e.ints([1])]);
  return e.node('Cast', [e.node('Less', [first, first])], { to: { int: 1 } });
}

/** The numbers of `x` (float32, not a scalar), but not before all of `others` (float32, not empty) are computed. */
export function after(e: Emitter, x: string, others: readonly string[]): string {
  if (others.length === 0) return x;
  const zeros = others.map((other) => zeroAfter(e, other));
  const zero = zeros.length === 1 ? zeros[0] : e.node('Sum', zeros);
  return e.node('Sub', [x, zero]);
}

export const order: KernelRules = {
  /** x, others… -> x. */
  FoveaAfter: {
    infer: ([x]) => [{ shape: x.shape, dtype: x.dtype }],
    lower: (e, node) => {
      const [x, ...others] = node.inputs.map((value) => e.name(value));
      return after(e, x, others);
    },
  },
};
