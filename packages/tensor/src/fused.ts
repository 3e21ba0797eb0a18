// Operations with a gradient of their own, one function each. While recording they become one kernel; on an eager
// engine they are composed from tfjs operations, whose gradients tfjs derives: the oracle for ours.

import { isRecording } from './recorder.ts';
import type { Tensor } from './tf.ts';
import tf from './tf.ts';

/** Layer normalisation over the last axis: x [..., D], gamma [D], beta [D] -> [..., D]. Variance is biased, as in PyTorch. */
export function layerNorm(x: Tensor, gamma: Tensor, beta: Tensor, epsilon = 1e-5): Tensor {
  if (isRecording()) {
    const [y] = tf
      .engine()
      .runKernel('FoveaLayerNorm', { x, gamma, beta } as never, { epsilon }) as unknown as Tensor[];
    return y;
  }
  const mean = tf.mean(x, -1, true);
  const centred = tf.sub(x, mean);
  const variance = tf.mean(tf.square(centred), -1, true);
  const normal = tf.mul(centred, tf.rsqrt(tf.add(variance, epsilon)));
  return tf.add(tf.mul(normal, gamma), beta);
}

/** x · sigmoid(1.702 x), element-wise (OpenAI CLIP's activation). */
export function quickGelu(x: Tensor): Tensor {
  if (isRecording()) return tf.engine().runKernel('FoveaQuickGelu', { x } as never) as Tensor;
  return tf.mul(x, tf.sigmoid(tf.mul(x, 1.702)));
}

/**
 * Mean cross entropy of logits [N, C] against class indices [N] (int32) -> scalar.
 * The gradient is (softmax − one-hot) / N, so no log of a probability is taken.
 */
export function crossEntropy(logits: Tensor, labels: Tensor): Tensor {
  const [, classes] = logits.shape;
  const target = tf.oneHot(tf.cast(labels, 'int32') as never, classes as number);
  return tf.neg(tf.mean(tf.sum(tf.mul(tf.logSoftmax(logits), target), -1)));
}

tf.registerGradient({
  kernelName: 'FoveaLayerNorm',
  inputsToSave: ['x', 'gamma'],
  outputsToSave: [false, true, true],
  gradFunc: (dys, [x, gamma, mean, rstd]) => {
    const [dy] = dys as Tensor[];
    const inputs = { dy, x, gamma, mean, rstd };
    const [dx, dgamma, dbeta] = tf.engine().runKernel('FoveaLayerNormGrad', inputs as never) as unknown as Tensor[];
    return { x: () => dx, gamma: () => dgamma, beta: () => dbeta };
  },
});

tf.registerGradient({
  kernelName: 'FoveaQuickGelu',
  inputsToSave: ['x'],
  gradFunc: (dy, [x]) => ({
    x: () => tf.engine().runKernel('FoveaQuickGeluGrad', { dy, x } as never) as Tensor,
  }),
});
