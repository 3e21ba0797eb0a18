// The diffusion transformer of Peebles & Xie 2023 (DiT), adaLN-zero, in latent space, under the names of diffusers'
// `DiTTransformer2DModel`. What steers it is a class label, as published, or a vector in the label embedding's place:
// that is how an encoder's condition comes in. Our own small pixel transformer with condition tokens is denoiser.ts.

import { FoveaError } from '@fovea/artifacts';
import { attention, embedding, type NamedTensors, silu, type Tensor, tf } from '@fovea/tensor';
import { z } from 'zod';
import {
  embedder,
  embedderSpecs,
  feedForward,
  feedForwardSpecs,
  gridOf,
  modulate,
  modulation,
  plainNorm,
  projectionSpecs,
  sincosRows,
  TIME_WIDTH,
  timeFeatures,
} from './adaln.ts';
import { readConfig, size } from './config.ts';
import { constant, linear, normal, type ParamSpecs, patchify, splitHeads } from './params.ts';

export interface DitConfig {
  numAttentionHeads: number;
  attentionHeadDim: number;
  inChannels: number;
  /** Twice `inChannels` in a network that also predicts its variance. */
  outChannels: number;
  numLayers: number;
  attentionBias: boolean;
  /** Sides of the latents that it was trained on; it takes other squares. */
  sampleSize: number;
  patchSize: number;
  activation: 'gelu' | 'gelu-approximate';
  /** Classes; one more label stands for none. */
  numClasses: number;
  /** Of the norm in front of the MLP. */
  normEps: number;
}

const schema = z.object({
  num_attention_heads: size.default(16),
  attention_head_dim: size.default(72),
  in_channels: size.default(4),
  out_channels: size.nullish(),
  num_layers: size.default(28),
  attention_bias: z.boolean().default(true),
  sample_size: size.default(32),
  patch_size: size.default(2),
  activation_fn: z.enum(['gelu', 'gelu-approximate']).default('gelu-approximate'),
  num_embeds_ada_norm: size.default(1000),
  norm_type: z.literal('ada_norm_zero').default('ada_norm_zero'),
  norm_elementwise_affine: z.literal(false).default(false),
  norm_eps: z.number().positive().default(1e-5),
});

/** A transformer's config.json of diffusers. */
export function readDitConfig(json: unknown, where: string): DitConfig {
  const c = readConfig(schema, json, where);
  return {
    numAttentionHeads: c.num_attention_heads,
    attentionHeadDim: c.attention_head_dim,
    inChannels: c.in_channels,
    outChannels: c.out_channels ?? c.in_channels,
    numLayers: c.num_layers,
    attentionBias: c.attention_bias,
    sampleSize: c.sample_size,
    patchSize: c.patch_size,
    activation: c.activation_fn,
    numClasses: c.num_embeds_ada_norm,
    normEps: c.norm_eps,
  };
}

/** Width of the tokens, and of a condition's vector. */
export const ditWidth = (c: DitConfig): number => c.numAttentionHeads * c.attentionHeadDim;

const BLOCK = (i: number) => `transformer_blocks.${i}`;

/** Parameters under one kind of condition; steered by a vector, the network has no label embeddings. */
export function ditSpecs(c: DitConfig, steeredBy: 'label' | 'vector'): ParamSpecs {
  const width = ditWidth(c);
  const patch = c.patchSize ** 2;
  const specs: ParamSpecs = {
    'pos_embed.proj.weight': normal(
      [width, c.inChannels, c.patchSize, c.patchSize],
      1 / Math.sqrt(3 * c.inChannels * patch),
    ),
    'pos_embed.proj.bias': constant([width], 0),
    ...projectionSpecs('proj_out_1', width, 2 * width),
    ...projectionSpecs('proj_out_2', width, patch * c.outChannels),
  };
  for (let i = 0; i < c.numLayers; i++) {
    const name = BLOCK(i);
    const bias = ([key]: [string, unknown]) => c.attentionBias || !key.endsWith('.bias');
    const inner = ['to_q', 'to_k', 'to_v'].flatMap((part) =>
      Object.entries(projectionSpecs(`${name}.attn1.${part}`, width, width)).filter(bias),
    );
    Object.assign(
      specs,
      embedderSpecs(`${name}.norm1.emb.timestep_embedder`, TIME_WIDTH, width),
      steeredBy === 'label' && {
        [`${name}.norm1.emb.class_embedder.embedding_table.weight`]: normal([c.numClasses + 1, width], 1),
      },
      projectionSpecs(`${name}.norm1.linear`, width, 6 * width),
      Object.fromEntries(inner),
      projectionSpecs(`${name}.attn1.to_out.0`, width, width),
      feedForwardSpecs(`${name}.ff`, width),
    );
  }
  return specs;
}

/** A class [B] int32 in 0 … numClasses, the last for none, or a vector [B, ditWidth]. */
export type DitCondition = { label: Tensor } | { vector: Tensor };

/**
 * latents [B, C, S, S], t [B] in 0..999, may be fractional, condition -> prediction [B, outChannels, S, S]. Throws a
 * {@link FoveaError} where the latents or the vector do not fit the configuration.
 */
export function dit(p: NamedTensors, latents: Tensor, t: Tensor, condition: DitCondition, c: DitConfig): Tensor {
  const [, channels, height, side] = latents.shape as number[];
  const width = ditWidth(c);
  if (channels !== c.inChannels || height !== side || side % c.patchSize)
    throw new FoveaError(
      `The DiT takes squares of ${c.inChannels} channels whose sides are a multiple of ${c.patchSize}, not [${latents.shape}]; give such latents.`,
    );
  if ('vector' in condition && condition.vector.shape[1] !== width)
    throw new FoveaError(
      `The DiT takes a condition of ${width} numbers, not [${condition.vector.shape}]; give its connector that width.`,
    );
  const times = timeFeatures(t, 1);
  const signals = Array.from({ length: c.numLayers }, (_, i) => signalOf(p, BLOCK(i), times, condition));
  let x = patchTokens(p, latents, c); // [B, N, D]
  for (let i = 0; i < c.numLayers; i++) x = block(p, BLOCK(i), x, signals[i], c);
  const [shift, scale] = modulation(p, 'proj_out_1', signals[0], 2);
  return toPicture(linear(p, 'proj_out_2', modulate(plainNorm(x), shift, scale)), side, c);
}

/** Time and condition after the activation, each block by embeddings of its own: [B, D]. */
function signalOf(p: NamedTensors, name: string, times: Tensor, condition: DitCondition): Tensor {
  const time = embedder(p, `${name}.norm1.emb.timestep_embedder`, times); // [B, D]
  const vector =
    'vector' in condition
      ? condition.vector
      : embedding(p[`${name}.norm1.emb.class_embedder.embedding_table.weight`], condition.label);
  return silu(tf.add(time, vector));
}

function patchTokens(p: NamedTensors, latents: Tensor, c: DitConfig): Tensor {
  const width = ditWidth(c);
  const rows = (latents.shape[2] as number) / c.patchSize;
  const trained = Math.floor(c.sampleSize / c.patchSize);
  const along = sincosRows(
    width / 2,
    Array.from({ length: rows }, (_, i) => (i * trained) / rows),
  );
  const kernel = {
    'proj.weight': tf.reshape(p['pos_embed.proj.weight'], [width, -1]),
    'proj.bias': p['pos_embed.proj.bias'],
  };
  return tf.add(linear(kernel, 'proj', patchify(latents, c.patchSize)), gridOf(along, along));
}

/** x [B, N, D] -> [B, N, D]. */
function block(p: NamedTensors, name: string, x: Tensor, signal: Tensor, c: DitConfig): Tensor {
  const [shift1, scale1, gate1, shift2, scale2, gate2] = modulation(p, `${name}.norm1.linear`, signal, 6);
  const normed = modulate(plainNorm(x), shift1, scale1);
  const [q, k, v] = ['q', 'k', 'v'].map((part) =>
    splitHeads(linear(p, `${name}.attn1.to_${part}`, normed), c.numAttentionHeads),
  ); // each [B, H, N, D / H]
  const mixed = tf.reshape(tf.transpose(attention(q, k, v), [0, 2, 1, 3]), x.shape);
  const y = tf.add(x, tf.mul(linear(p, `${name}.attn1.to_out.0`, mixed), gate1));
  const inner = modulate(plainNorm(y, c.normEps), shift2, scale2);
  return tf.add(y, tf.mul(feedForward(p, `${name}.ff`, inner, c.activation === 'gelu' ? 'none' : 'tanh'), gate2));
}

/** Tokens [B, N, P · P · C], channels innermost, -> [B, C, S, S]. */
function toPicture(tokens: Tensor, side: number, { patchSize, outChannels }: DitConfig): Tensor {
  const [b] = tokens.shape;
  const rows = side / patchSize;
  const split = tf.reshape(tokens, [b, rows, rows, patchSize, patchSize, outChannels]);
  return tf.reshape(tf.transpose(split, [0, 5, 1, 3, 2, 4]), [b, outChannels, side, side]);
}
