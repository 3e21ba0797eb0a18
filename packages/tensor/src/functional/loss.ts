// Losses over logits, with gradients of their own; composed from tfjs operations on eager engines, as in norm.ts.

import { isRecording } from '../recorder.ts';
import type { Tensor } from '../tf.ts';
import tf from '../tf.ts';

/**
 * Mean cross entropy of logits [N, C] against class indices [N] (int32, 0 … C − 1) -> scalar. The gradient is
 * (softmax − one-hot) / N. A compiled program refuses to run on an index out of range.
 */
export function crossEntropy(logits: Tensor, labels: Tensor): Tensor {
  const indices = tf.cast(labels, 'int32');
  if (isRecording()) {
    return tf.engine().runKernel('FoveaCrossEntropy', { logits, labels: indices } as never) as Tensor;
  }
  const target = tf.oneHot(indices as never, logits.shape[1] as number);
  return tf.neg(tf.mean(tf.sum(tf.mul(tf.logSoftmax(logits), target), -1)));
}

tf.registerGradient({
  kernelName: 'FoveaCrossEntropy',
  inputsToSave: ['logits', 'labels'],
  gradFunc: (dy, [logits, labels]) => ({
    logits: () => tf.engine().runKernel('FoveaCrossEntropyGrad', { dy, logits, labels } as never) as Tensor,
  }),
});
