// A small diffusion transformer in pixel space: adaLN-zero blocks (Peebles & Xie 2023, DiT) whose modulation is the
// time plus the condition's pooled vector, and whose sequence carries the condition's tokens in front of the picture's
// (as GenHancer's FLUX-like decoder does). The projector in front of it maps encoder tokens to that condition.

import { type NamedTensors, type Tensor, tf } from '@fovea/tensor';
import { modulate, plainNorm } from './adaln.ts';
import {
  attentionSpecs,
  linear,
  linearSpecs,
  normal,
  type ParamSpecs,
  patchify,
  selfAttention,
  unpatchify,
} from './params.ts';

export interface DenoiserConfig {
  imageSize: number;
  patchSize: number;
  width: number;
  layers: number;
  heads: number;
  /** Condition tokens in the sequence. */
  conditionTokens: number;
}

export interface Condition {
  /** Added to the time embedding: [B, D]. */
  vector: Tensor;
  /** Prepended to the picture's tokens: [B, K, D]. */
  tokens: Tensor;
}

const TIME_WIDTH = 64;
const BLOCK = (i: number) => `denoiser.blocks.${i}`;

/** Projector: encoder width -> denoiser width, for the pooled vector and for each token. */
export function projectorSpecs(encoderWidth: number, c: DenoiserConfig): ParamSpecs {
  return {
    ...linearSpecs('projector.fc1', encoderWidth, c.width),
    ...linearSpecs('projector.fc2', c.width, c.width),
    ...linearSpecs('projector.token', encoderWidth, c.width),
  };
}

/** selected [B, K, E], class token first -> condition. */
export function projectCondition(p: NamedTensors, selected: Tensor): Condition {
  const [b, , e] = selected.shape;
  const cls = tf.reshape(tf.slice(selected, [0, 0, 0], [-1, 1, -1]), [b, e]);
  const vector = linear(p, 'projector.fc2', silu(linear(p, 'projector.fc1', cls)));
  return { vector, tokens: linear(p, 'projector.token', selected) };
}

export function denoiserSpecs(c: DenoiserConfig): ParamSpecs {
  const patchWidth = 3 * c.patchSize ** 2;
  const tokens = (c.imageSize / c.patchSize) ** 2 + c.conditionTokens;
  const specs: ParamSpecs = {
    ...linearSpecs('denoiser.patch_in', patchWidth, c.width),
    'denoiser.position_embedding': normal([tokens, c.width]),
    ...linearSpecs('denoiser.time.fc1', TIME_WIDTH, c.width),
    ...linearSpecs('denoiser.time.fc2', c.width, c.width),
    ...linearSpecs('denoiser.norm_out', c.width, 2 * c.width, 0),
    ...linearSpecs('denoiser.patch_out', c.width, patchWidth, 0),
  };
  for (let i = 0; i < c.layers; i++) {
    Object.assign(
      specs,
      linearSpecs(`${BLOCK(i)}.modulation`, c.width, 6 * c.width, 0),
      attentionSpecs(`${BLOCK(i)}.attn`, c.width, c.layers),
      linearSpecs(`${BLOCK(i)}.mlp.fc1`, c.width, 4 * c.width),
      linearSpecs(`${BLOCK(i)}.mlp.fc2`, 4 * c.width, c.width),
    );
  }
  return specs;
}

const silu = (x: Tensor) => tf.mul(x, tf.sigmoid(x));

/** Sinusoidal features of t [B] in [0, 1], scaled by 1000 as in DDPM -> [B, 64]. */
function timeFeatures(t: Tensor): Tensor {
  const half = TIME_WIDTH / 2;
  const frequencies = Array.from({ length: half }, (_, i) => 1000 * Math.exp((-Math.log(10000) * i) / half));
  const angles = tf.mul(tf.reshape(t, [-1, 1]), tf.tensor2d([frequencies])); // [B, 32]
  return tf.concat([tf.cos(angles), tf.sin(angles)], 1);
}

/** noisy [B, 3, H, W], t [B] in [0, 1], condition -> the network's prediction [B, 3, H, W]. */
export function denoise(p: NamedTensors, noisy: Tensor, t: Tensor, condition: Condition, c: DenoiserConfig): Tensor {
  const [b] = noisy.shape;
  const patches = linear(p, 'denoiser.patch_in', patchify(noisy, c.patchSize)); // [B, N, D]
  let x: Tensor = tf.add(tf.concat([condition.tokens, patches], 1), p['denoiser.position_embedding']); // [B, K + N, D]
  const time = linear(p, 'denoiser.time.fc2', silu(linear(p, 'denoiser.time.fc1', timeFeatures(t))));
  const signal = silu(tf.add(time, condition.vector)); // [B, D]
  for (let i = 0; i < c.layers; i++) {
    const parts = tf.split(tf.reshape(linear(p, `${BLOCK(i)}.modulation`, signal), [b, 1, 6 * c.width]), 6, 2);
    const [shift1, scale1, gate1, shift2, scale2, gate2] = parts; // each [B, 1, D]
    const attended = selfAttention(p, `${BLOCK(i)}.attn`, modulate(plainNorm(x), shift1, scale1), c.heads);
    x = tf.add(x, tf.mul(attended, gate1));
    const hidden = silu(linear(p, `${BLOCK(i)}.mlp.fc1`, modulate(plainNorm(x), shift2, scale2)));
    x = tf.add(x, tf.mul(linear(p, `${BLOCK(i)}.mlp.fc2`, hidden), gate2));
  }
  const [shift, scale] = tf.split(tf.reshape(linear(p, 'denoiser.norm_out', signal), [b, 1, 2 * c.width]), 2, 2);
  const picture = tf.slice(x, [0, c.conditionTokens, 0], [-1, -1, -1]); // [B, N, D]
  return unpatchify(linear(p, 'denoiser.patch_out', modulate(plainNorm(picture), shift, scale)), c.patchSize);
}
