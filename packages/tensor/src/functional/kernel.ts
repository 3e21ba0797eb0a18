// How a function of ours becomes one recorded kernel.

import type { Tensor } from '../tf.ts';
import tf from '../tf.ts';

type Inputs = Record<string, Tensor | undefined>;

/** Runs a kernel that only the recorder has; operands that are undefined are left out. One entry per output. */
export function runKernels(name: string, inputs: Inputs, attrs: object = {}): Tensor[] {
  const given = Object.fromEntries(Object.entries(inputs).filter(([, x]) => x !== undefined));
  return [tf.engine().runKernel(name, given as never, attrs as never)].flat() as unknown as Tensor[];
}

/** {@link runKernels} for a kernel with one output, or for the first of several. */
export const runKernel = (name: string, inputs: Inputs, attrs: object = {}): Tensor =>
  runKernels(name, inputs, attrs)[0];
