// Contrast of predicted noises instead of a distance from the true one (DCR): what the denoiser predicts for a picture under
// its own condition shall be closer to the truth, in direction, than to what it predicts under other pictures' conditions.

import { type Tensor, tf } from '@fovea/tensor';

export interface NoiseContrastOptions {
  /** What the denoiser predicts under the condition of each picture's augmented view, [B, …]: a second positive. */
  positive?: Tensor;
  /** @default 0.1 */
  temperature?: number;
}

/**
 * InfoNCE over cosines of predictions [B, B, …], row i being picture i's noisy latents under every condition, and the target
 * [B, …] -> scalar, the mean over pictures and positives. Anchors are the diagonal, positives the target and
 * `options.positive`, negatives the rest of the row; the gradient flows through all of them.
 */
export function noiseContrast(predictions: Tensor, target: Tensor, options: NoiseContrastOptions = {}): Tensor {
  const { positive, temperature = 0.1 } = options;
  const [b] = predictions.shape;
  const all = unit(tf.reshape(predictions, [b * b, -1])); // [B², D]
  const diagonal = tf.tensor1d(Int32Array.from({ length: b }, (_, i) => i * (b + 1)));
  const anchors = tf.gather(all, diagonal); // [B, D]
  const cosine = (x: Tensor) => tf.sum(tf.mul(anchors, unit(tf.reshape(x, [b, -1]))), 1, true) as Tensor; // [B, 1]
  const positives = [target, ...(positive ? [positive] : [])].map((x) => tf.div(cosine(x), temperature) as Tensor);
  const rows = tf.reshape(all, [b, b, -1]);
  const cosines = tf.reshape(tf.matMul(rows, tf.expandDims(anchors, 2)), [b, b]);
  const hidden = tf.tensor2d(
    Float32Array.from({ length: b * b }, (_, i) => (i % (b + 1) === 0 ? -1e30 : 0)),
    [b, b],
  );
  const negatives = tf.add(tf.div(cosines, temperature), hidden);
  const total = tf.logSumExp(tf.concat([...positives, negatives], 1), 1, true); // [B, 1]
  return tf.mean(
    tf.concat(
      positives.map((logit) => tf.sub(total, logit) as Tensor),
      1,
    ),
  );
}

/** Rows of x [N, D] at length one. */
function unit(x: Tensor): Tensor {
  return tf.mul(x, tf.rsqrt(tf.maximum(tf.sum(tf.square(x), 1, true), 1e-24)));
}
