// The forward process x_t = a·x0 + b·ε and what a network is asked for, as four numbers per sample. Rectified flow
// (Liu et al. 2022): a = 1 − t, b = t, target ε − x0. DDPM with Stable Diffusion's scaled-linear schedule: a = √ᾱ, b = √(1 − ᾱ), target ε.

import { type Tensor, tf } from '@fovea/tensor';

export type TargetKind = 'flow' | 'epsilon';

/** x_t = a·x0 + b·ε; target = x·x0 + e·ε. */
export interface Coefficients {
  a: number;
  b: number;
  x: number;
  e: number;
}

/** t below this is treated as this where a division by the noise level is due. */
export const MIN_NOISE = 0.05;

export const DDPM_STEPS = 1000;

/** ᾱ of the scaled-linear schedule 0.00085 → 0.012, T = 1000 (Rombach et al. 2022). */
export const alphasCumprod: Float64Array = (() => {
  const out = new Float64Array(DDPM_STEPS);
  const [low, high] = [Math.sqrt(0.00085), Math.sqrt(0.012)];
  let product = 1;
  for (let i = 0; i < DDPM_STEPS; i++) {
    const beta = (low + ((high - low) * i) / (DDPM_STEPS - 1)) ** 2;
    product *= 1 - beta;
    out[i] = product;
  }
  return out;
})();

/** Coefficients at t in [0, 1]. DDPM reads the step floor(t · 1000), at most 999. */
export function coefficientsAt(t: number, target: TargetKind): Coefficients {
  if (target === 'flow') return { a: 1 - t, b: t, x: -1, e: 1 };
  const bar = alphasCumprod[Math.min(DDPM_STEPS - 1, Math.floor(t * DDPM_STEPS))];
  return { a: Math.sqrt(bar), b: Math.sqrt(1 - bar), x: 0, e: 1 };
}

/** The four coefficients of a batch as tensors [B, 1, 1, 1]. */
export interface BatchCoefficients {
  a: Tensor;
  b: Tensor;
  x: Tensor;
  e: Tensor;
}

/** packed [B, 4] in the order a, b, x, e. */
export function unpackCoefficients(packed: Tensor): BatchCoefficients {
  const [batch] = packed.shape;
  const [a, b, x, e] = tf.split(packed, 4, 1).map((part) => tf.reshape(part, [batch, 1, 1, 1]));
  return { a, b, x, e };
}

export const addNoise = (x0: Tensor, noise: Tensor, c: BatchCoefficients): Tensor =>
  tf.add(tf.mul(x0, c.a), tf.mul(noise, c.b));

/**
 * Mean squared error per sample in the space of the target: [B]. A network that predicts the clean sample is judged by
 * the target its prediction implies (Li & He 2025, x-prediction with v-loss), the noise level bounded below.
 */
export function diffusionLoss(
  output: Tensor,
  x0: Tensor,
  noise: Tensor,
  c: BatchCoefficients,
  prediction: 'sample' | 'target',
): Tensor {
  if (prediction === 'target') {
    const target = tf.add(tf.mul(x0, c.x), tf.mul(noise, c.e));
    return tf.mean(tf.squaredDifference(output, target), [1, 2, 3]);
  }
  const gain = tf.sub(c.x, tf.mul(c.e, tf.div(c.a, tf.maximum(c.b, MIN_NOISE)))); // d target / d x0-prediction
  return tf.mul(tf.mean(tf.squaredDifference(output, x0), [1, 2, 3]), tf.reshape(tf.square(gain), [-1]));
}
