// Lookups and selections whose gradients tfjs lacks or does slowly.

import type { Tensor } from '../tf.ts';
import tf from '../tf.ts';

/** Rows of weight [V, D] by ids (int32, any shape, in [0, V)) -> [...ids, D]. The gradient adds up rows that repeat. */
export function embedding(weight: Tensor, ids: Tensor): Tensor {
  const rows = tf.gather(weight, tf.reshape(ids, [-1]) as never);
  return tf.reshape(rows, [...ids.shape, weight.shape[1] as number]);
}

/** The k largest of the last axis, in descending order, with their indices (int32): x [..., N] -> [..., k] each. */
export function topK(x: Tensor, k: number): { values: Tensor; indices: Tensor } {
  return tf.topk(x, k);
}

tf.registerGradient({
  kernelName: 'TopK',
  inputsToSave: ['x'],
  outputsToSave: [false, true],
  gradFunc: (dys, [x, indices]) => ({
    x: () => {
      const size = x.shape.at(-1) as number;
      const k = indices.shape.at(-1) as number;
      const starts = Int32Array.from({ length: x.size / size }, (_, row) => row * size);
      const places = tf.add(tf.reshape(indices, [-1, k]), tf.tensor2d(starts, [starts.length, 1], 'int32'));
      const updates = tf.reshape((dys as Tensor[])[0], [-1]);
      const flat = tf.unsortedSegmentSum(updates, tf.reshape(places, [-1]) as never, x.size);
      return tf.reshape(flat, x.shape);
    },
  }),
});
