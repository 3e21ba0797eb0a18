// SigLIP's picture tower (Zhai et al. 2023): CLIP's blocks without a class token and without a norm in front, a patch
// embedding with bias, and a head that pools by attention from one learned probe. Names and shapes are those of the
// picture half of a published `SiglipModel`; SigLIP 2 of fixed resolution is the same network.

import { attention, type NamedTensors, type Tensor, tf } from '@fovea/tensor';
import { z } from 'zod';
import { readConfig, size } from './config.ts';
import type { EncoderOutput, EncoderShape } from './encoder.ts';
import { constant, layerNormSpecs, linear, linearSpecs, normal, type ParamSpecs, splitHeads } from './params.ts';
import { interpolatePositions } from './positions.ts';
import { headsDivide, patchFits, towerFields, transformerFields, transformerOf } from './towers.ts';
import {
  encoder,
  encoderSpecs,
  gridOf,
  mlp,
  mlpSpecs,
  norm,
  patchEmbed,
  repeatToken,
  type TransformerConfig,
} from './transformer.ts';

export interface SiglipConfig extends TransformerConfig {
  /** Sides of the square picture whose grid the position embedding is for; others are interpolated to. */
  imageSize: number;
  patchSize: number;
}

const fields = z
  .object({
    ...transformerFields({
      width: 768,
      layers: 12,
      heads: 12,
      hidden: 3072,
      activation: 'gelu_pytorch_tanh',
      epsilon: 1e-6,
    }),
    image_size: size.default(224),
    patch_size: size.default(16),
    num_channels: z.literal(3).default(3),
    vision_use_head: z.literal(true).default(true),
  })
  .refine(...headsDivide)
  .refine(...patchFits);

/** From the config.json of a picture tower (`siglip_vision_model`) or of a whole SigLIP (`siglip`). */
export function readSiglipConfig(json: unknown, where: string): SiglipConfig {
  const c = readConfig(fields, towerFields(json, 'siglip', 'vision', where), where);
  return { ...transformerOf(c), imageSize: c.image_size, patchSize: c.patch_size };
}

export function siglipShape(c: SiglipConfig): EncoderShape {
  return {
    imageSize: { height: c.imageSize, width: c.imageSize },
    patches: Math.floor(c.imageSize / c.patchSize) ** 2,
    prefix: 0,
    width: c.width,
    projection: c.width,
  };
}

const EMBEDDINGS = 'vision_model.embeddings';
const HEAD = 'vision_model.head';

export function siglipSpecs(c: SiglipConfig): ParamSpecs {
  const fan = 3 * c.patchSize ** 2;
  return {
    [`${EMBEDDINGS}.patch_embedding.weight`]: normal([c.width, 3, c.patchSize, c.patchSize], 1 / Math.sqrt(fan)),
    [`${EMBEDDINGS}.patch_embedding.bias`]: constant([c.width], 0),
    [`${EMBEDDINGS}.position_embedding.weight`]: normal([siglipShape(c).patches, c.width], 1 / Math.sqrt(c.width)),
    ...encoderSpecs('vision_model.encoder', c),
    ...layerNormSpecs('vision_model.post_layernorm', c.width),
    [`${HEAD}.probe`]: normal([1, 1, c.width], 1 / Math.sqrt(c.width)),
    [`${HEAD}.attention.in_proj_weight`]: normal([3 * c.width, c.width], 1 / Math.sqrt(2 * c.width)),
    [`${HEAD}.attention.in_proj_bias`]: constant([3 * c.width], 0),
    ...linearSpecs(`${HEAD}.attention.out_proj`, c.width, c.width),
    ...layerNormSpecs(`${HEAD}.layernorm`, c.width),
    ...mlpSpecs(`${HEAD}.mlp`, c),
  };
}

/** pixels [B, 3, H, W], normalised; each side at least one patch. Positions are interpolated to its grid. */
export function siglip(p: NamedTensors, pixels: Tensor, c: SiglipConfig): EncoderOutput {
  const patches = patchEmbed(p, `${EMBEDDINGS}.patch_embedding`, pixels); // [B, N, D]
  const positions = interpolatePositions(p[`${EMBEDDINGS}.position_embedding.weight`], gridOf(pixels, c.patchSize));
  const hidden = encoder(p, 'vision_model.encoder', tf.add(patches, positions), c); // [B, N, D]
  const normed = norm(p, 'vision_model.post_layernorm', hidden, c.epsilon);
  const pooled = attentionPool(p, normed, c); // [B, D]
  return { hidden, normed, pooled, embeds: pooled };
}

/** One learned query over all tokens [B, N, D], and an MLP on what it found -> [B, D]. */
function attentionPool(p: NamedTensors, tokens: Tensor, c: SiglipConfig): Tensor {
  const [b] = tokens.shape;
  const weights = tf.split(p[`${HEAD}.attention.in_proj_weight`], 3); // each [D, D]
  const biases = tf.split(p[`${HEAD}.attention.in_proj_bias`], 3); // each [D]
  const probe = repeatToken(p[`${HEAD}.probe`], b, c.width); // [B, 1, D]
  const [q, k, v] = [probe, tokens, tokens].map((x, i) =>
    splitHeads(linear({ 'in.weight': weights[i], 'in.bias': biases[i] }, 'in', x), c.heads),
  ); // [B, H, 1 | N, D / H]
  const found = tf.reshape(attention(q, k, v), [b, c.width]); // [B, D]
  const x = linear(p, `${HEAD}.attention.out_proj`, found);
  return tf.add(x, mlp(p, `${HEAD}.mlp`, norm(p, `${HEAD}.layernorm`, x, c.epsilon), c.activation));
}
