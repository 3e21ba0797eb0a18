// DINOv2 (Oquab et al. 2023), with the registers of Darcet et al. 2023 where the configuration counts some: a pre-norm
// ViT whose branches are scaled per channel, with an MLP, or a SwiGLU in the giant. It has no text side: `embeds` is the
// class token after the final norm, as `pooled`. Names and shapes are those of published `Dinov2Model` files.
//
// `embeddings.mask_token` stood for hidden patches in pre-training and nothing here reads it. It counts as a parameter all the
// same: a file must bring it and saving writes it back, so that a checkpoint survives the round trip; its gradient is zero.
// Dropout and stochastic depth, which the configuration may also ask for, are left out: published weights have none.

import { attention, type NamedTensors, silu, type Tensor, tf } from '@fovea/tensor';
import { z } from 'zod';
import { ACTIVATIONS, type ActivationName, activationName, readConfig, size } from './config.ts';
import type { EncoderOutput, EncoderShape } from './encoder.ts';
import { constant, layerNormSpecs, linear, linearSpecs, normal, type ParamSpecs, splitHeads } from './params.ts';
import { interpolatePositions } from './positions.ts';
import { headsDivide, patchFits } from './towers.ts';
import { gridOf, norm, patchEmbed, repeatToken, tokenAt } from './transformer.ts';

export interface Dinov2Config {
  /** Sides of the square picture whose grid the position embedding is for; others are interpolated to. */
  imageSize: number;
  patchSize: number;
  width: number;
  layers: number;
  heads: number;
  /** Width inside the MLP or the SwiGLU. */
  hidden: number;
  swiglu: boolean;
  activation: ActivationName;
  epsilon: number;
  /** Whether queries, keys and values have a bias. */
  qkvBias: boolean;
  /** Where a fresh network's scales of its branches start. */
  layerScale: number;
  maskToken: boolean;
  /** Tokens between the class token and the patches; null in a network made without. */
  registers: number | null;
}

const common = {
  hidden_size: size.default(768),
  num_hidden_layers: size.default(12),
  num_attention_heads: size.default(12),
  mlp_ratio: z.number().positive().default(4),
  hidden_act: activationName.default('gelu'),
  layer_norm_eps: z.number().positive().default(1e-6),
  image_size: size.default(224),
  num_channels: z.literal(3).default(3),
  qkv_bias: z.boolean().default(true),
  layerscale_value: z.number().default(1),
  use_swiglu_ffn: z.boolean().default(false),
};

const fields = z
  .discriminatedUnion('model_type', [
    z.object({
      model_type: z.literal('dinov2'),
      ...common,
      patch_size: size.default(14),
      use_mask_token: z.boolean().default(true),
    }),
    z.object({
      model_type: z.literal('dinov2_with_registers'),
      ...common,
      patch_size: size.default(16),
      num_register_tokens: size.default(4),
    }),
  ])
  .refine(...headsDivide)
  .refine(...patchFits);

/** From the config.json of a `dinov2` or a `dinov2_with_registers`. */
export function readDinov2Config(json: unknown, where: string): Dinov2Config {
  const c = readConfig(fields, json, where);
  const hidden = Math.trunc(c.hidden_size * c.mlp_ratio);
  return {
    imageSize: c.image_size,
    patchSize: c.patch_size,
    width: c.hidden_size,
    layers: c.num_hidden_layers,
    heads: c.num_attention_heads,
    hidden: c.use_swiglu_ffn ? 8 * Math.ceil(Math.trunc((hidden * 2) / 3) / 8) : hidden,
    swiglu: c.use_swiglu_ffn,
    activation: c.hidden_act,
    epsilon: c.layer_norm_eps,
    qkvBias: c.qkv_bias,
    layerScale: c.layerscale_value,
    maskToken: c.model_type === 'dinov2' ? c.use_mask_token : true,
    registers: c.model_type === 'dinov2' ? null : c.num_register_tokens,
  };
}

export function dinov2Shape(c: Dinov2Config): EncoderShape {
  return {
    imageSize: { height: c.imageSize, width: c.imageSize },
    patches: Math.floor(c.imageSize / c.patchSize) ** 2,
    prefix: 1 + (c.registers ?? 0),
    width: c.width,
    projection: c.width,
  };
}

const LAYER = (i: number) => `encoder.layer.${i}`;
const QKV = ['query', 'key', 'value'];

function layerSpecs(layer: string, c: Dinov2Config): ParamSpecs {
  const project = (name: string, from: number, to: number) => linearSpecs(`${layer}.${name}`, from, to, 0.02);
  const qkv = Object.assign({}, ...QKV.map((part) => project(`attention.attention.${part}`, c.width, c.width)));
  if (!c.qkvBias) for (const part of QKV) delete qkv[`${layer}.attention.attention.${part}.bias`];
  const [fc1, fc2] = c.swiglu ? ['weights_in', 'weights_out'] : ['fc1', 'fc2'];
  return {
    ...layerNormSpecs(`${layer}.norm1`, c.width),
    ...qkv,
    ...project('attention.output.dense', c.width, c.width),
    [`${layer}.layer_scale1.lambda1`]: constant([c.width], c.layerScale),
    ...layerNormSpecs(`${layer}.norm2`, c.width),
    ...project(`mlp.${fc1}`, c.width, c.swiglu ? 2 * c.hidden : c.hidden),
    ...project(`mlp.${fc2}`, c.hidden, c.width),
    [`${layer}.layer_scale2.lambda1`]: constant([c.width], c.layerScale),
  };
}

export function dinov2Specs(c: Dinov2Config): ParamSpecs {
  const layers = Array.from({ length: c.layers }, (_, i) => layerSpecs(LAYER(i), c));
  return {
    'embeddings.cls_token': normal([1, 1, c.width]),
    ...(c.maskToken ? { 'embeddings.mask_token': constant([1, c.width], 0) } : {}),
    ...(c.registers === null ? {} : { 'embeddings.register_tokens': normal([1, c.registers, c.width]) }),
    'embeddings.position_embeddings': normal([1, 1 + dinov2Shape(c).patches, c.width]),
    'embeddings.patch_embeddings.projection.weight': normal([c.width, 3, c.patchSize, c.patchSize]),
    'embeddings.patch_embeddings.projection.bias': constant([c.width], 0),
    ...Object.assign({}, ...layers),
    ...layerNormSpecs('layernorm', c.width),
  };
}

/** pixels [B, 3, H, W], normalised; each side at least one patch. Positions are interpolated to its grid. */
export function dinov2(p: NamedTensors, pixels: Tensor, c: Dinov2Config): EncoderOutput {
  let x = embed(p, pixels, c); // [B, 1 + R + N, D]
  for (let i = 0; i < c.layers; i++) x = layer(p, LAYER(i), x, c);
  const normed = norm(p, 'layernorm', x, c.epsilon);
  const pooled = norm(p, 'layernorm', tokenAt(x, 0), c.epsilon); // [B, D]
  return { hidden: x, normed, pooled, embeds: pooled };
}

/** Class token, registers and patches; registers have no position. */
function embed(p: NamedTensors, pixels: Tensor, c: Dinov2Config): Tensor {
  const [b] = pixels.shape;
  const patches = patchEmbed(p, 'embeddings.patch_embeddings.projection', pixels); // [B, N, D]
  const cls = repeatToken(p['embeddings.cls_token'], b, c.width); // [B, 1, D]
  const positions = interpolatePositions(
    tf.reshape(p['embeddings.position_embeddings'], [-1, c.width]),
    gridOf(pixels, c.patchSize),
    { prefix: 1, antialias: c.registers !== null },
  ); // [1 + N, D]
  const placed = tf.add(tf.concat([cls, patches], 1), positions); // [B, 1 + N, D]
  if (c.registers === null) return placed;
  const registers = repeatToken(p['embeddings.register_tokens'], b, c.width); // [B, R, D]
  return tf.concat([tf.slice(placed, [0, 0, 0], [-1, 1, -1]), registers, tf.slice(placed, [0, 1, 0], [-1, -1, -1])], 1);
}

function layer(p: NamedTensors, name: string, x: Tensor, c: Dinov2Config): Tensor {
  const scale = (branch: Tensor, i: 1 | 2) => tf.mul(branch, p[`${name}.layer_scale${i}.lambda1`]);
  const y = tf.add(x, scale(attend(p, `${name}.attention`, norm(p, `${name}.norm1`, x, c.epsilon), c.heads), 1));
  return tf.add(y, scale(feedForward(p, `${name}.mlp`, norm(p, `${name}.norm2`, y, c.epsilon), c), 2));
}

function attend(p: NamedTensors, name: string, x: Tensor, heads: number): Tensor {
  const [q, k, v] = QKV.map((part) => splitHeads(linear(p, `${name}.attention.${part}`, x), heads));
  const mixed = tf.transpose(attention(q, k, v), [0, 2, 1, 3]); // [B, T, H, D / H]
  return linear(p, `${name}.output.dense`, tf.reshape(mixed, x.shape));
}

function feedForward(p: NamedTensors, name: string, x: Tensor, c: Dinov2Config): Tensor {
  if (!c.swiglu) return linear(p, `${name}.fc2`, ACTIVATIONS[c.activation](linear(p, `${name}.fc1`, x)));
  const [gate, up] = tf.split(linear(p, `${name}.weights_in`, x), 2, -1); // each [B, T, hidden]
  return linear(p, `${name}.weights_out`, tf.mul(silu(gate), up));
}
