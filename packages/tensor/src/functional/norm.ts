// Normalisations with a gradient of their own. While recording each is one kernel; on an eager engine it is composed
// from tfjs operations, whose gradients tfjs derives: the oracle for ours.

import { isRecording } from '../recorder.ts';
import type { Tensor } from '../tf.ts';
import tf from '../tf.ts';
import { runKernel, runKernels } from './kernel.ts';

/** Layer normalisation over the last axis: x [..., D], gamma [D], beta [D] -> [..., D]. Variance is biased, as in PyTorch. */
export function layerNorm(x: Tensor, gamma: Tensor, beta: Tensor, epsilon = 1e-5): Tensor {
  if (isRecording()) return runKernel('FoveaLayerNorm', { x, gamma, beta }, { epsilon });
  const mean = tf.mean(x, -1, true);
  const centred = tf.sub(x, mean);
  const variance = tf.mean(tf.square(centred), -1, true);
  const normal = tf.mul(centred, tf.rsqrt(tf.add(variance, epsilon)));
  return tf.add(tf.mul(normal, gamma), beta);
}

tf.registerGradient({
  kernelName: 'FoveaLayerNorm',
  inputsToSave: ['x', 'gamma'],
  outputsToSave: [true, true, true],
  gradFunc: (dys, [x, gamma, y, mean, rstd]) => {
    const [dy] = dys as Tensor[];
    const [dx, dgamma, dbeta] = runKernels('FoveaLayerNormGrad', { dy, x, gamma, y, mean, rstd });
    return { x: () => dx, gamma: () => dgamma, beta: () => dbeta };
  },
});

/** Root-mean-square normalisation over the last axis, as torch.nn.functional.rms_norm: x [..., D], gamma [D] -> [..., D]. */
export function rmsNorm(x: Tensor, gamma: Tensor, epsilon = 1e-6): Tensor {
  if (isRecording()) return runKernel('FoveaRmsNorm', { x, gamma }, { epsilon });
  const rstd = tf.rsqrt(tf.add(tf.mean(tf.square(x), -1, true), epsilon));
  return tf.mul(tf.mul(x, rstd), gamma);
}

tf.registerGradient({
  kernelName: 'FoveaRmsNorm',
  inputsToSave: ['x', 'gamma'],
  outputsToSave: [false, true],
  gradFunc: (dys, [x, gamma, rstd]) => {
    const [dy] = dys as Tensor[];
    return {
      x: () => runKernel('FoveaRmsNormInputGrad', { dy, x, gamma, rstd }),
      gamma: () => runKernel('FoveaRmsNormGammaGrad', { dy, x, rstd }),
    };
  },
});
