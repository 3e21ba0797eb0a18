// Scaled dot-product attention with a gradient of its own that never holds all scores of a large attention; composed
// from tfjs operations on eager engines, as in norm.ts.

import { type AttentionAttributes, BLOCK_BYTES, KEPT_BYTES, MASKED } from '../kernels/attention.ts';
import { isRecording } from '../recorder.ts';
import type { Tensor } from '../tf.ts';
import tf from '../tf.ts';

export interface AttentionOptions {
  /**
   * Broadcasts to [B, H, T, S]. bool: true where a query may see a key. float32: added to the scaled scores; −1e30 or
   * less, −∞ included, hides the key.
   */
  mask?: Tensor;
  /** Factor of the scores. @default 1 / √D */
  scale?: number;
  /** Query i sees keys 0 … i only, as in PyTorch also where T ≠ S. @default false */
  causal?: boolean;
  /** Scores up to this many bytes are kept for the gradient, not computed again. @default 4 MiB */
  keptBytes?: number;
  /** Scores computed at a time, in bytes. @default 16 MiB */
  blockBytes?: number;
}

/**
 * softmax(q kᵀ · scale + mask) v over q [B, H, T, D], k [B, H, S, D], v [B, H, S, E] -> [B, H, T, E] (PyTorch's
 * `scaled_dot_product_attention`). A query that may see no key at all gives zeros, and no gradient.
 * Throws a {@link TensorError} that names the shapes when they do not fit together.
 */
export function attention(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions = {}): Tensor {
  const [queries, keys, width] = [q.shape[2], k.shape[2], q.shape[3]] as number[];
  const attrs: AttentionAttributes = {
    scale: options.scale ?? 1 / Math.sqrt(width),
    causal: options.causal ?? false,
    keptBytes: options.keptBytes ?? KEPT_BYTES,
    blockBytes: options.blockBytes ?? BLOCK_BYTES,
    biased: false,
  };
  if (!options.mask) return attend(q, k, v, undefined, attrs);
  const bias = biasOf(options.mask); // [B | 1, H | 1, T | 1, S | 1]
  return tf.mul(attend(q, k, v, bias, { ...attrs, biased: true }), seesAny(bias, queries, keys, attrs.causal));
}

/** A mask as finite addends of rank 4. */
function biasOf(mask: Tensor): Tensor {
  const shape = [...Array(Math.max(0, 4 - mask.rank)).fill(1), ...mask.shape];
  if (mask.dtype === 'bool') return tf.reshape(tf.mul(tf.sub(1, tf.cast(mask, 'float32')), MASKED), shape);
  return tf.reshape(tf.maximum(mask, MASKED), shape);
}

/** 1 for each query that may see some key, else 0: [B | 1, H | 1, T | 1, 1]. It has no gradient. */
function seesAny(bias: Tensor, queries: number, keys: number, causal: boolean): Tensor {
  const value = () => {
    let open: Tensor = tf.cast(tf.greater(bias, MASKED), 'float32');
    if (causal && bias.shape[3] !== 1) {
      if (bias.shape[2] === 1) {
        const last = Array.from({ length: queries }, (_, i) => Math.min(i, keys - 1));
        const seen = tf.gather(tf.cumsum(open, 3), tf.tensor1d(last, 'int32'), 3); // [B | 1, H | 1, 1, T]
        return tf.transpose(tf.minimum(seen, 1), [0, 1, 3, 2]);
      }
      open = tf.mul(open, tf.cast(causalMask(queries, keys), 'float32'));
    }
    return tf.max(open, -1, true);
  };
  return tf.customGrad(() => ({ value: value() as never, gradFunc: () => tf.zerosLike(bias) as never }))(bias as never);
}

/** True where key j <= query i: [T, S]. */
function causalMask(queries: number, keys: number): Tensor {
  const count = (n: number) => tf.tensor1d(Int32Array.from({ length: n }, (_, i) => i));
  return tf.greaterEqual(tf.expandDims(count(queries), 1), count(keys));
}

function attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | undefined, attrs: AttentionAttributes): Tensor {
  if (isRecording()) {
    const inputs = bias ? [q, k, v, bias] : [q, k, v];
    return ([tf.engine().runKernel('FoveaAttention', inputs as never, attrs as never)].flat() as Tensor[])[0];
  }
  let scores: Tensor = tf.matMul(tf.mul(q, attrs.scale) as never, k as never, false, true); // [B, H, T, S]
  if (bias) scores = tf.add(scores, bias);
  if (attrs.causal) {
    const [queries, keys] = scores.shape.slice(2);
    const seen = tf.broadcastTo(tf.cast(causalMask(queries, keys), 'float32'), scores.shape);
    scores = tf.where(tf.cast(seen, 'bool'), scores, tf.fill(scores.shape, MASKED));
  }
  return tf.matMul(tf.softmax(scores) as never, v as never);
}

tf.registerGradient({
  kernelName: 'FoveaAttention',
  saveAllInputs: true,
  outputsToSave: [true, true],
  gradFunc: (dys, saved, attrs) => {
    const { biased } = attrs as unknown as AttentionAttributes;
    const [q, k, v, ...rest] = saved;
    const bias = biased ? { bias: rest[0] } : {};
    const [y, p] = rest.slice(biased ? 1 : 0);
    const inputs = { dy: [dys].flat()[0] as Tensor, y, q, k, v, ...bias, ...(p ? { p } : {}) };
    const [dq, dk, dv, dbias] = tf
      .engine()
      .runKernel('FoveaAttentionGrad', inputs as never, attrs as never) as unknown as Tensor[];
    return { 0: () => dq, 1: () => dk, 2: () => dv, ...(biased ? { 3: () => dbias } : {}) };
  },
});
