// FLUX (Black Forest Labs 2024): a flow transformer whose first blocks keep condition and picture in two streams that
// attend to each other, and whose last blocks run one stream over both. GenHancer trains a small one from nothing, 2 double
// and 4 single blocks on one condition token. Names and configuration are those of diffusers' `FluxTransformer2DModel`.

import { FoveaError } from '@fovea/artifacts';
import { attention, gelu, type NamedTensors, rmsNorm, silu, type Tensor, tf } from '@fovea/tensor';
import { z } from 'zod';
import {
  embedder,
  embedderSpecs,
  feedForward,
  feedForwardSpecs,
  modulate,
  modulation,
  plainNorm,
  projectionSpecs,
  TIME_WIDTH,
  timeFeatures,
} from './adaln.ts';
import { readConfig, size } from './config.ts';
import type { Condition } from './denoiser.ts';
import { constant, linear, type ParamSpecs, patchify, splitHeads } from './params.ts';

export interface FluxConfig {
  /** Of a token: four times the latent's. */
  inChannels: number;
  outChannels: number;
  /** Double-stream blocks. */
  numLayers: number;
  numSingleLayers: number;
  attentionHeadDim: number;
  numAttentionHeads: number;
  /** Width of the condition's tokens. */
  jointAttentionDim: number;
  /** Width of the condition's vector. */
  pooledProjectionDim: number;
  /** Whether the network is told a guidance scale. */
  guidanceEmbeds: boolean;
  /** How a head's width is shared among the position's axes: id, row, column. */
  axesDimsRope: [number, number, number];
}

const even = size.refine((n) => n % 2 === 0, 'must be even');

const schema = z
  .object({
    patch_size: z.literal(1, { error: 'only 1 is supported, the latents being packed outside' }).default(1),
    in_channels: size.refine((n) => n % 4 === 0, 'must be a multiple of 4').default(64),
    out_channels: size.nullish(),
    num_layers: z.int().min(0).default(19),
    num_single_layers: z.int().min(0).default(38),
    attention_head_dim: size.default(128),
    num_attention_heads: size.default(24),
    joint_attention_dim: size.default(4096),
    pooled_projection_dim: size.default(768),
    guidance_embeds: z.boolean().default(false),
    axes_dims_rope: z.tuple([even, even, even]).default([16, 56, 56]),
  })
  .refine((c) => c.axes_dims_rope.reduce((a, b) => a + b) === c.attention_head_dim, {
    path: ['axes_dims_rope'],
    error: 'must add up to attention_head_dim',
  });

/** A transformer's config.json of diffusers. */
export function readFluxConfig(json: unknown, where: string): FluxConfig {
  const c = readConfig(schema, json, where);
  return {
    inChannels: c.in_channels,
    outChannels: c.out_channels ?? c.in_channels,
    numLayers: c.num_layers,
    numSingleLayers: c.num_single_layers,
    attentionHeadDim: c.attention_head_dim,
    numAttentionHeads: c.num_attention_heads,
    jointAttentionDim: c.joint_attention_dim,
    pooledProjectionDim: c.pooled_projection_dim,
    guidanceEmbeds: c.guidance_embeds,
    axesDimsRope: c.axes_dims_rope,
  };
}

const DOUBLE = (i: number) => `transformer_blocks.${i}`;
const SINGLE = (i: number) => `single_transformer_blocks.${i}`;

/** Which projections and norms each stream of a double block attends by. */
const PICTURE = { q: 'to_q', k: 'to_k', v: 'to_v', out: 'to_out.0', normQ: 'norm_q', normK: 'norm_k' };
const CONTEXT = {
  q: 'add_q_proj',
  k: 'add_k_proj',
  v: 'add_v_proj',
  out: 'to_add_out',
  normQ: 'norm_added_q',
  normK: 'norm_added_k',
};

function attendSpecs(name: string, { q, k, v, normQ, normK }: typeof PICTURE, width: number, head: number): ParamSpecs {
  const projections = [q, k, v].map((part) => projectionSpecs(`${name}.${part}`, width, width));
  const norms = [normQ, normK].map((part) => ({ [`${name}.${part}.weight`]: constant([head], 1) }));
  return Object.assign({}, ...projections, ...norms);
}

function doubleSpecs(name: string, width: number, head: number): ParamSpecs {
  return {
    ...projectionSpecs(`${name}.norm1.linear`, width, 6 * width),
    ...projectionSpecs(`${name}.norm1_context.linear`, width, 6 * width),
    ...attendSpecs(`${name}.attn`, PICTURE, width, head),
    ...attendSpecs(`${name}.attn`, CONTEXT, width, head),
    ...projectionSpecs(`${name}.attn.${PICTURE.out}`, width, width),
    ...projectionSpecs(`${name}.attn.${CONTEXT.out}`, width, width),
    ...feedForwardSpecs(`${name}.ff`, width),
    ...feedForwardSpecs(`${name}.ff_context`, width),
  };
}

function singleSpecs(name: string, width: number, head: number): ParamSpecs {
  return {
    ...projectionSpecs(`${name}.norm.linear`, width, 3 * width),
    ...projectionSpecs(`${name}.proj_mlp`, width, 4 * width),
    ...projectionSpecs(`${name}.proj_out`, 5 * width, width),
    ...attendSpecs(`${name}.attn`, PICTURE, width, head),
  };
}

export function fluxSpecs(c: FluxConfig): ParamSpecs {
  const head = c.attentionHeadDim;
  const width = c.numAttentionHeads * head;
  const specs: ParamSpecs = {
    ...embedderSpecs('time_text_embed.timestep_embedder', TIME_WIDTH, width),
    ...(c.guidanceEmbeds ? embedderSpecs('time_text_embed.guidance_embedder', TIME_WIDTH, width) : {}),
    ...embedderSpecs('time_text_embed.text_embedder', c.pooledProjectionDim, width),
    ...projectionSpecs('context_embedder', c.jointAttentionDim, width),
    ...projectionSpecs('x_embedder', c.inChannels, width),
    ...projectionSpecs('norm_out.linear', width, 2 * width),
    ...projectionSpecs('proj_out', width, c.outChannels),
  };
  for (let i = 0; i < c.numLayers; i++) Object.assign(specs, doubleSpecs(DOUBLE(i), width, head));
  for (let i = 0; i < c.numSingleLayers; i++) Object.assign(specs, singleSpecs(SINGLE(i), width, head));
  return specs;
}

/** Latents [B, C, H, W] -> tokens [B, H/2 · W/2, 4C], channels outermost. */
export const packLatents = (latents: Tensor): Tensor => patchify(latents, 2);

/** Inverse of {@link packLatents} for latents of the given sides. */
export function unpackLatents(tokens: Tensor, height: number, width: number): Tensor {
  const [b, , d] = tokens.shape;
  const split = tf.reshape(tokens, [b, height / 2, width / 2, d / 4, 2, 2]);
  return tf.reshape(tf.transpose(split, [0, 3, 1, 4, 2, 5]), [b, d / 4, height, width]);
}

/** What the blocks of one pass read besides their stream. */
interface Pass {
  p: NamedTensors;
  /** Time, guidance and vector, after the activation: [B, D]. */
  signal: Tensor;
  heads: number;
  rotate: (x: Tensor) => Tensor;
}

/**
 * latents [B, C, H, W] with even sides, t [B] in [0, 1] with 1 pure noise, condition of tokens [B, T, jointAttentionDim] and a
 * vector [B, pooledProjectionDim], guidance scale [B] where the network has one -> the velocity noise − latents, in the
 * latents' shape. Throws a {@link FoveaError} where they do not fit the configuration.
 */
export function flux(
  p: NamedTensors,
  latents: Tensor,
  t: Tensor,
  condition: Condition,
  c: FluxConfig,
  guidance?: Tensor,
): Tensor {
  const [, , height, width] = latents.shape;
  checkFit(latents, condition, c, guidance);
  const pass: Pass = {
    p,
    signal: signalOf(p, t, condition.vector, guidance),
    heads: c.numAttentionHeads,
    rotate: rotary(condition.tokens.shape[1] as number, height / 2, width / 2, c.axesDimsRope),
  };
  let context = linear(p, 'context_embedder', condition.tokens); // [B, T, D]
  let picture = linear(p, 'x_embedder', packLatents(latents)); // [B, N, D]
  for (let i = 0; i < c.numLayers; i++) [context, picture] = doubleBlock(pass, DOUBLE(i), context, picture);
  let x = tf.concat([context, picture], 1) as Tensor; // [B, T + N, D]
  for (let i = 0; i < c.numSingleLayers; i++) x = singleBlock(pass, SINGLE(i), x);
  const last = tf.slice(x, [0, context.shape[1] as number, 0], [-1, -1, -1]); // [B, N, D]
  const [scale, shift] = modulation(p, 'norm_out.linear', pass.signal, 2);
  return unpackLatents(linear(p, 'proj_out', modulate(plainNorm(last), shift, scale)), height, width);
}

function checkFit(latents: Tensor, { tokens, vector }: Condition, c: FluxConfig, guidance?: Tensor): void {
  const fail = (what: string) => {
    throw new FoveaError(`The flow transformer ${what}; give what fits its configuration.`);
  };
  const [, channels, height, width] = latents.shape as number[];
  if (channels * 4 !== c.inChannels || height % 2 || width % 2)
    fail(`takes latents of ${c.inChannels / 4} channels and even sides, not [${latents.shape}]`);
  if (tokens.shape[2] !== c.jointAttentionDim || vector.shape[1] !== c.pooledProjectionDim)
    fail(
      `takes condition tokens ${c.jointAttentionDim} and a vector ${c.pooledProjectionDim} wide, not [${tokens.shape}] and [${vector.shape}]`,
    );
  if (c.guidanceEmbeds !== (guidance !== undefined))
    fail(c.guidanceEmbeds ? 'needs a guidance scale' : 'has no embedding for a guidance scale');
}

function signalOf(p: NamedTensors, t: Tensor, vector: Tensor, guidance?: Tensor): Tensor {
  const lift = (part: string, x: Tensor) => embedder(p, `time_text_embed.${part}`, x);
  const ofScalar = (part: string, x: Tensor) => lift(part, timeFeatures(tf.mul(x, 1000), 0));
  let sum = ofScalar('timestep_embedder', t); // [B, D]
  if (guidance) sum = tf.add(sum, ofScalar('guidance_embedder', guidance));
  return silu(tf.add(sum, lift('text_embedder', vector)));
}

/**
 * Rotary embedding of [B, heads, T + N, head] (Su et al. 2021), neighbouring numbers being a pair: condition tokens stand at the
 * origin, the picture's at (0, row, column).
 */
function rotary(tokens: number, rows: number, columns: number, axes: readonly number[]): (x: Tensor) => Tensor {
  const positions = Array.from({ length: tokens + rows * columns }, (_, i) => {
    const at = i - tokens;
    return at < 0 ? [0, 0, 0] : [0, Math.floor(at / columns), at % columns];
  });
  const angles = positions.flatMap((position) =>
    axes.flatMap((width, axis) =>
      Array.from({ length: width }, (_, i) => position[axis] / 10000 ** ((i - (i % 2)) / width)),
    ),
  );
  const table = (f: (angle: number) => number) => Float32Array.from(angles, f);
  const shape: [number, number] = [positions.length, angles.length / positions.length];
  const [cos, sin] = [table(Math.cos), table(Math.sin)].map((values) => tf.tensor2d(values, shape));
  return (x) => {
    const [even, odd] = tf.split(tf.reshape(x, [...x.shape.slice(0, -1), shape[1] / 2, 2]), 2, 4);
    const turned = tf.reshape(tf.concat([tf.neg(odd), even], 4), x.shape);
    return tf.add(tf.mul(x, cos), tf.mul(turned, sin));
  };
}

/** Queries, keys and values of one stream x [B, T, D], queries and keys normed: each [B, heads, T, head]. */
function project({ p, heads }: Pass, name: string, part: typeof PICTURE, x: Tensor): Tensor[] {
  const [q, k, v] = [part.q, part.k, part.v].map((to) => splitHeads(linear(p, `${name}.${to}`, x), heads));
  const norm = (by: string, y: Tensor) => rmsNorm(y, p[`${name}.${by}.weight`], 1e-6);
  return [norm(part.normQ, q), norm(part.normK, k), v];
}

/** Attention of [B, heads, T, head] under rotated positions, heads joined: [B, T, D]. */
function attend({ rotate }: Pass, q: Tensor, k: Tensor, v: Tensor): Tensor {
  const mixed = tf.transpose(attention(rotate(q), rotate(k), v), [0, 2, 1, 3]); // [B, T, heads, head]
  const [b, t, heads, head] = mixed.shape;
  return tf.reshape(mixed, [b, t, heads * head]);
}

/** Two streams with weights of their own, one attention over both. */
function doubleBlock(pass: Pass, name: string, context: Tensor, picture: Tensor): [Tensor, Tensor] {
  const { p, signal } = pass;
  const streams = [
    { x: context, norm: 'norm1_context', part: CONTEXT, ff: 'ff_context' },
    { x: picture, norm: 'norm1', part: PICTURE, ff: 'ff' },
  ].map((stream) => {
    const [shift, scale, ...rest] = modulation(p, `${name}.${stream.norm}.linear`, signal, 6);
    const normed = modulate(plainNorm(stream.x), shift, scale);
    return { ...stream, rest, qkv: project(pass, `${name}.attn`, stream.part, normed) };
  });
  const [q, k, v] = [0, 1, 2].map(
    (i) =>
      tf.concat(
        streams.map(({ qkv }) => qkv[i]),
        2,
      ) as Tensor,
  ); // [B, heads, T + N, head]
  const mixed = tf.split(
    attend(pass, q, k, v),
    streams.map(({ x }) => x.shape[1] as number),
    1,
  );
  const [c, x] = streams.map(({ x, part, ff, rest: [gate, shift, scale, gateFf] }, i) => {
    const y = tf.add(x, tf.mul(linear(p, `${name}.attn.${part.out}`, mixed[i]), gate)) as Tensor;
    return tf.add(y, tf.mul(feedForward(p, `${name}.${ff}`, modulate(plainNorm(y), shift, scale)), gateFf)) as Tensor;
  });
  return [c, x];
}

/** One stream x [B, T + N, D], attention and MLP side by side. */
function singleBlock(pass: Pass, name: string, x: Tensor): Tensor {
  const { p, signal } = pass;
  const [shift, scale, gate] = modulation(p, `${name}.norm.linear`, signal, 3);
  const normed = modulate(plainNorm(x), shift, scale);
  const [q, k, v] = project(pass, `${name}.attn`, PICTURE, normed);
  const hidden = gelu(linear(p, `${name}.proj_mlp`, normed), 'tanh'); // [B, T + N, 4D]
  return tf.add(x, tf.mul(linear(p, `${name}.proj_out`, tf.concat([attend(pass, q, k, v), hidden], 2)), gate));
}
