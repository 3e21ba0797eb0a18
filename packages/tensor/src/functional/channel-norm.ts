// Group and batch norm over [B, C, ...]. While recording each is one kernel with gradients of its own; on an eager engine
// it is composed from tfjs operations, as in norm.ts.

import { isRecording } from '../recorder.ts';
import type { Tensor } from '../tf.ts';
import tf from '../tf.ts';
import { runKernel, runKernels } from './kernel.ts';

/** [C] as it broadcasts over [B, C, ...]. */
const byChannel = (p: Tensor, x: Tensor) => tf.reshape(p, [1, -1, ...x.shape.slice(2).map(() => 1)]);

/**
 * Group normalisation, as torch.nn.functional.group_norm: x [B, C, ...], gamma [C], beta [C] -> [B, C, ...]. Each group of
 * C / groups channels has its own mean and biased variance per sample.
 */
export function groupNorm(x: Tensor, groups: number, gamma: Tensor, beta: Tensor, epsilon = 1e-5): Tensor {
  if (isRecording()) return runKernel('FoveaGroupNorm', { x, gamma, beta }, { groups, epsilon });
  const sets = tf.reshape(x, [x.shape[0] as number, groups, -1]);
  const centred = tf.sub(sets, tf.mean(sets, -1, true));
  const variance = tf.mean(tf.square(centred), -1, true);
  const normal = tf.reshape(tf.mul(centred, tf.rsqrt(tf.add(variance, epsilon))), x.shape);
  return tf.add(tf.mul(normal, byChannel(gamma, x)), byChannel(beta, x));
}

/**
 * Batch normalisation by given statistics (inference), as torch.nn.functional.batch_norm: x [B, C, ...]; gamma, beta, mean and
 * variance [C] -> [B, C, ...].
 */
export function batchNorm(
  x: Tensor,
  gamma: Tensor,
  beta: Tensor,
  mean: Tensor,
  variance: Tensor,
  epsilon = 1e-5,
): Tensor {
  const scale = tf.mul(gamma, tf.rsqrt(tf.add(variance, epsilon)));
  const shift = tf.sub(beta, tf.mul(mean, scale));
  if (isRecording()) return runKernel('FoveaChannelAffine', { x, scale, shift });
  return tf.add(tf.mul(x, byChannel(scale, x)), byChannel(shift, x));
}

/**
 * Batch normalisation by the batch's own statistics (training): x [B, C, ...], gamma [C], beta [C] -> y [B, C, ...] with the
 * batch's mean [C] and biased variance [C], which carry no gradient. PyTorch's running variance takes variance · n / (n − 1).
 */
export function batchNormTraining(
  x: Tensor,
  gamma: Tensor,
  beta: Tensor,
  epsilon = 1e-5,
): { y: Tensor; mean: Tensor; variance: Tensor } {
  if (isRecording()) {
    const [y, mean, variance] = runKernels('FoveaBatchNorm', { x, gamma, beta }, { epsilon });
    return { y, mean: tf.reshape(mean, [-1]), variance: tf.reshape(variance, [-1]) };
  }
  const axes = x.shape.map((_, i) => i).filter((i) => i !== 1);
  const mean = tf.mean(x, axes);
  const centred = tf.sub(x, byChannel(mean, x));
  const variance = tf.mean(tf.square(centred), axes);
  const normal = tf.mul(centred, byChannel(tf.rsqrt(tf.add(variance, epsilon)), x));
  return { y: tf.add(tf.mul(normal, byChannel(gamma, x)), byChannel(beta, x)), mean, variance };
}

tf.registerGradient({
  kernelName: 'FoveaGroupNorm',
  inputsToSave: ['x', 'gamma'],
  outputsToSave: [false, true, true],
  gradFunc: (dys, [x, gamma, mean, rstd], attrs) => {
    const [dy] = dys as Tensor[];
    const sums = () => runKernels('FoveaChannelSums', { dy, x });
    const bySet = (s: Tensor) => tf.reshape(s, [...mean.shape.slice(0, 2), -1]); // [B, G, C/G]
    return {
      x: () => {
        const [s1, s2] = sums();
        return runKernel('FoveaGroupNormInputGrad', { dy, x, gamma, mean, rstd, s1, s2 }, attrs);
      },
      gamma: () => {
        const [s1, s2] = sums().map(bySet);
        return tf.reshape(tf.sum(tf.mul(tf.sub(s2, tf.mul(mean, s1)), rstd), 0), gamma.shape);
      },
      beta: () => tf.sum(sums()[0], 0),
    };
  },
});

tf.registerGradient({
  kernelName: 'FoveaChannelAffine',
  inputsToSave: ['x', 'scale'],
  gradFunc: (given, [x, scale]) => {
    const dy = given as Tensor;
    return {
      x: () => runKernel('FoveaChannelAffine', { x: dy, scale, shift: tf.zerosLike(scale) }),
      scale: () => tf.sum(runKernels('FoveaChannelSums', { dy, x })[1], 0),
      shift: () => tf.sum(runKernels('FoveaChannelSums', { dy, x })[0], 0),
    };
  },
});

tf.registerGradient({
  kernelName: 'FoveaBatchNorm',
  inputsToSave: ['x', 'gamma'],
  outputsToSave: [false, true, true],
  gradFunc: (dys, [x, gamma, mean, variance], attrs) => {
    const [dy] = dys as Tensor[];
    const { epsilon } = attrs as unknown as { epsilon: number };
    const sums = () => runKernels('FoveaChannelSums', { dy, x });
    const rstd = () => tf.rsqrt(tf.add(variance, epsilon)); // [1, C, 1]
    return {
      x: () => {
        const [s1, s2] = sums();
        return runKernel('FoveaBatchNormInputGrad', { dy, x, gamma, mean, rstd: rstd(), s1, s2 });
      },
      gamma: () => {
        const [s1, s2] = sums().map((s) => tf.sum(s, 0));
        return tf.mul(tf.sub(s2, tf.mul(tf.reshape(mean, [-1]), s1)), tf.reshape(rstd(), [-1]));
      },
      beta: () => tf.sum(sums()[0], 0),
    };
  },
});
