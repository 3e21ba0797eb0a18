// Losses over logits.

import type { Tensor } from '../tf.ts';
import tf from '../tf.ts';

/**
 * Mean cross entropy of logits [N, C] against class indices [N] (int32) -> scalar.
 * The gradient is (softmax − one-hot) / N, so no log of a probability is taken.
 */
export function crossEntropy(logits: Tensor, labels: Tensor): Tensor {
  const [, classes] = logits.shape;
  const target = tf.oneHot(tf.cast(labels, 'int32') as never, classes as number);
  return tf.neg(tf.mean(tf.sum(tf.mul(tf.logSoftmax(logits), target), -1)));
}
