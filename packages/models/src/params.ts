// Parameters by name: what a model needs, how it starts, and the few layers that every model here is made of.
// Linear weights are [out, in] as in PyTorch, so that checkpoints need no transposing.

import { FoveaError } from '@fovea/artifacts';
import { type AttentionOptions, attention, type NamedTensors, sizeOf, type Tensor, tf } from '@fovea/tensor';
import { philox } from '@fovea/tensor/random';

/** Shape and start of one parameter: a constant, or a normal with mean 0 and the given standard deviation. */
export interface ParamSpec {
  shape: number[];
  init: { constant: number } | { std: number };
}

export type ParamSpecs = Record<string, ParamSpec>;
export type Weights = Record<string, { shape: number[]; data: Float32Array }>;

export const normal = (shape: number[], std = 0.02): ParamSpec => ({ shape, init: { std } });
export const constant = (shape: number[], value: number): ParamSpec => ({ shape, init: { constant: value } });

export function linearSpecs(name: string, inputs: number, outputs: number, std = 1 / Math.sqrt(inputs)): ParamSpecs {
  return { [`${name}.weight`]: normal([outputs, inputs], std), [`${name}.bias`]: constant([outputs], 0) };
}

export function layerNormSpecs(name: string, width: number): ParamSpecs {
  return { [`${name}.weight`]: constant([width], 1), [`${name}.bias`]: constant([width], 0) };
}

/** Draws starting weights; each parameter's draws depend on (seed, its name) alone. */
export function initialise(specs: ParamSpecs, seed: number): Weights {
  const weights: Weights = {};
  for (const [name, { shape, init }] of Object.entries(specs)) {
    const data = new Float32Array(sizeOf(shape));
    if ('constant' in init) data.fill(init.constant);
    else {
      const rng = philox(seed, `init/${name}`);
      for (let i = 0; i < data.length; i++) data[i] = init.std * rng.normal();
    }
    weights[name] = { shape, data };
  }
  return weights;
}

export type Shapes = Record<string, { shape: number[] }>;

/**
 * Every parameter present with its shape, and none besides; else a {@link FoveaError} that lists the names. `whose` names
 * the weights, `says` what asked for them and what is to be done.
 */
export function checkTensors(
  tensors: Shapes,
  specs: ParamSpecs,
  whose: string,
  says: Record<'missing' | 'extra' | 'wrong' | 'mend', string>,
): void {
  const list = (names: string[]) => names.slice(0, 5).join(', ') + (names.length > 5 ? `, … (${names.length})` : '');
  const missing = Object.keys(specs).filter((name) => !(name in tensors));
  if (missing.length > 0) throw new FoveaError(`The weights ${whose} lack ${list(missing)}, ${says.missing}.`);
  const extra = Object.keys(tensors).filter((name) => !(name in specs));
  if (extra.length > 0) throw new FoveaError(`The weights ${whose} hold ${list(extra)}, ${says.extra}.`);
  const wrong = Object.keys(specs).filter((name) => tensors[name].shape.join() !== specs[name].shape.join());
  if (wrong.length > 0)
    throw new FoveaError(
      `The weights ${whose} have ${wrong[0]} as [${tensors[wrong[0]].shape}], but ${says.wrong} [${specs[wrong[0]].shape}] (${wrong.length} tensors differ); ${says.mend}.`,
    );
}

/** x [..., in] · Wᵀ + b -> [..., out]. The bias is optional. */
export function linear(params: NamedTensors, name: string, x: Tensor): Tensor {
  const weight = params[`${name}.weight`];
  const bias = params[`${name}.bias`];
  const inputs = x.shape[x.shape.length - 1];
  const flat = tf.reshape(x, [-1, inputs]); // [N, in]
  let y = tf.matMul(flat as never, weight as never, false, true) as Tensor; // [N, out]
  if (bias) y = tf.add(y, bias);
  return tf.reshape(y, [...x.shape.slice(0, -1), weight.shape[0]]);
}

/** [B, T, D] -> [B, heads, T, D / heads]. */
export function splitHeads(x: Tensor, heads: number): Tensor {
  const [b, t, d] = x.shape;
  return tf.transpose(tf.reshape(x, [b, t, heads, d / heads]), [0, 2, 1, 3]);
}

/** Multi-head self-attention over x [B, T, D] with projections `${name}.{q,k,v,out}_proj`. */
export function selfAttention(
  params: NamedTensors,
  name: string,
  x: Tensor,
  heads: number,
  options?: AttentionOptions,
): Tensor {
  const [b, t, d] = x.shape;
  const [q, k, v] = ['q', 'k', 'v'].map((part) => splitHeads(linear(params, `${name}.${part}_proj`, x), heads));
  const mixed = attention(q, k, v, options); // [B, H, T, D / H]
  const joined = tf.reshape(tf.transpose(mixed, [0, 2, 1, 3]), [b, t, d]);
  return linear(params, `${name}.out_proj`, joined);
}

/** Attention's projections; the one that writes to the residual stream starts smaller by √(2 · layers), as in CLIP. */
export function attentionSpecs(name: string, width: number, layers: number): ParamSpecs {
  const inner = ['q', 'k', 'v'].map((part) => linearSpecs(`${name}.${part}_proj`, width, width));
  return Object.assign({}, ...inner, linearSpecs(`${name}.out_proj`, width, width, 1 / Math.sqrt(2 * layers * width)));
}

/** [B, 3, H, W] -> [B, (H/P)·(W/P), 3·P·P], channels outermost inside a patch, as a Conv2d weight [D, 3, P, P] is laid out. */
export function patchify(pixels: Tensor, patch: number): Tensor {
  const [b, c, h, w] = pixels.shape;
  const [rows, cols] = [h / patch, w / patch];
  const split = tf.reshape(pixels, [b, c, rows, patch, cols, patch]);
  return tf.reshape(tf.transpose(split, [0, 2, 4, 1, 3, 5]), [b, rows * cols, c * patch * patch]);
}

/** Inverse of {@link patchify} for square pictures. */
export function unpatchify(patches: Tensor, patch: number, channels = 3): Tensor {
  const [b, n] = patches.shape;
  const side = Math.round(Math.sqrt(n));
  const split = tf.reshape(patches, [b, side, side, channels, patch, patch]);
  return tf.reshape(tf.transpose(split, [0, 3, 1, 4, 2, 5]), [b, channels, side * patch, side * patch]);
}

/** x / ‖x‖₂ over the last axis. */
export function l2Normalise(x: Tensor): Tensor {
  return tf.mul(x, tf.rsqrt(tf.add(tf.sum(tf.square(x), -1, true), 1e-12)));
}
