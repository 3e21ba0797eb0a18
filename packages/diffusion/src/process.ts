// The forward process x_t = a·x0 + b·ε and what a network is asked for, as four numbers per sample. Rectified flow
// (Liu et al. 2022): a = 1 − t, b = t, target ε − x0. DDPM under a noise schedule: a = √ᾱ, b = √(1 − ᾱ), and as target the
// noise ε, the velocity a·ε − b·x0 (Salimans & Ho 2022) or the clean sample x0.

import { interpolate, type Tensor, tf } from '@fovea/tensor';
import { alphasCumprod } from './schedule.ts';

export type TargetKind = 'flow' | 'epsilon' | 'velocity' | 'sample';

/** x_t = a·x0 + b·ε; target = x·x0 + e·ε. */
export interface Coefficients {
  a: number;
  b: number;
  x: number;
  e: number;
}

/** t below this is treated as this where a division by the noise level is due. */
export const MIN_NOISE = 0.05;

/** The step of `steps` that t in [0, 1] falls in: floor(t · steps), at most the last. Exact for t = step / steps. */
export const stepOf = (t: number, steps: number): number => Math.min(steps - 1, Math.floor(t * steps + 1e-9));

/** Coefficients at t in [0, 1]. All but flow read the schedule's ᾱ at {@link stepOf} t; Stable Diffusion's unless given. */
export function coefficientsAt(t: number, target: TargetKind, bars: Float64Array = alphasCumprod): Coefficients {
  if (target === 'flow') return { a: 1 - t, b: t, x: -1, e: 1 };
  const bar = bars[stepOf(t, bars.length)];
  const [a, b] = [Math.sqrt(bar), Math.sqrt(1 - bar)];
  if (target === 'velocity') return { a, b, x: -b, e: a };
  return target === 'sample' ? { a, b, x: 1, e: 0 } : { a, b, x: 0, e: 1 };
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
 * the target its prediction implies (Li & He 2025, x-prediction with v-loss), the noise level bounded below. Under a mask
 * [B, 1, H, W] of zeros and ones it is the mean over the latents that the mask shows, and zero where it shows none (DEEM).
 */
export function diffusionLoss(
  output: Tensor,
  x0: Tensor,
  noise: Tensor,
  c: BatchCoefficients,
  prediction: 'sample' | 'target',
  mask?: Tensor,
): Tensor {
  if (prediction === 'target') {
    const target = tf.add(tf.mul(x0, c.x), tf.mul(noise, c.e));
    return meanOver(tf.squaredDifference(output, target), mask);
  }
  const gain = tf.sub(c.x, tf.mul(c.e, tf.div(c.a, tf.maximum(c.b, MIN_NOISE)))); // d target / d x0-prediction
  return tf.mul(meanOver(tf.squaredDifference(output, x0), mask), tf.reshape(tf.square(gain), [-1]));
}

/** Mean of x [B, C, H, W] over all but the batch, or over what the mask [B, 1, H, W] shows: [B]. */
function meanOver(x: Tensor, mask?: Tensor): Tensor {
  if (!mask) return tf.mean(x, [1, 2, 3]);
  const shown = tf.mul(tf.maximum(tf.sum(mask, [1, 2, 3]), 1), x.shape[1] as number);
  return tf.div(tf.sum(tf.mul(x, mask), [1, 2, 3]), shown);
}

/** A picture's mask [B, 1, H, W] at the latents' sides, one wherever bilinear resizing leaves something of it. */
export function latentMask(mask: Tensor, height: number, width: number): Tensor {
  return tf.cast(tf.greater(interpolate(mask, { size: [height, width], mode: 'bilinear' }), 0), 'float32');
}
