// CLIP's picture tower (Radford et al. 2021): a pre-norm ViT with a class token, a norm in front of the blocks, and
// quick-GELU in OpenAI's weights, GELU in LAION's and others. Names and shapes are Hugging Face's
// `CLIPVisionModelWithProjection`, which are also those of the picture half of a `CLIPModel`.

import { type NamedTensors, type Tensor, tf } from '@fovea/tensor';
import { z } from 'zod';
import { readConfig, size } from './config.ts';
import type { EncoderOutput, EncoderShape } from './encoder.ts';
import { layerNormSpecs, linear, normal, type ParamSpecs } from './params.ts';
import { interpolatePositions } from './positions.ts';
import { headsDivide, patchFits, towerFields, transformerFields, transformerOf } from './towers.ts';
import {
  encoder,
  encoderSpecs,
  gridOf,
  norm,
  patchEmbed,
  repeatToken,
  type TransformerConfig,
  tokenAt,
} from './transformer.ts';

export interface ClipVitConfig extends TransformerConfig {
  /** Sides of the square picture whose grid the position embedding is for; others are interpolated to. */
  imageSize: number;
  patchSize: number;
  /** Width of the image–text space; null in a `CLIPVisionModel`, which has none. */
  projection: number | null;
}

const fields = z
  .object({
    ...transformerFields({
      width: 768,
      layers: 12,
      heads: 12,
      hidden: 3072,
      activation: 'quick_gelu',
      epsilon: 1e-5,
    }),
    image_size: size.default(224),
    patch_size: size.default(32),
    num_channels: z.literal(3).default(3),
    projection_dim: size.nullable().default(512),
  })
  .refine(...headsDivide)
  .refine(...patchFits);

/** From the config.json of a picture tower (`clip_vision_model`) or of a whole CLIP (`clip`). */
export function readClipVitConfig(json: unknown, where: string): ClipVitConfig {
  const c = readConfig(fields, towerFields(json, 'clip', 'vision', where), where);
  return { ...transformerOf(c), imageSize: c.image_size, patchSize: c.patch_size, projection: c.projection_dim };
}

export function clipVitShape(c: ClipVitConfig): EncoderShape {
  return {
    imageSize: { height: c.imageSize, width: c.imageSize },
    patches: Math.floor(c.imageSize / c.patchSize) ** 2,
    prefix: 1,
    width: c.width,
    projection: c.projection ?? c.width,
  };
}

const EMBEDDINGS = 'vision_model.embeddings';

export function clipVitSpecs(c: ClipVitConfig): ParamSpecs {
  const positions = 1 + Math.floor(c.imageSize / c.patchSize) ** 2;
  return {
    [`${EMBEDDINGS}.class_embedding`]: normal([c.width]),
    [`${EMBEDDINGS}.patch_embedding.weight`]: normal(
      [c.width, 3, c.patchSize, c.patchSize],
      1 / Math.sqrt(3 * c.patchSize ** 2),
    ),
    [`${EMBEDDINGS}.position_embedding.weight`]: normal([positions, c.width]),
    ...layerNormSpecs('vision_model.pre_layrnorm', c.width),
    ...layerNormSpecs('vision_model.post_layernorm', c.width),
    ...(c.projection === null
      ? {}
      : { 'visual_projection.weight': normal([c.projection, c.width], 1 / Math.sqrt(c.width)) }),
    ...encoderSpecs('vision_model.encoder', c),
  };
}

/** pixels [B, 3, H, W], normalised; each side at least one patch. Positions are interpolated to its grid. */
export function clipVit(p: NamedTensors, pixels: Tensor, c: ClipVitConfig): EncoderOutput {
  const [b] = pixels.shape;
  const patches = patchEmbed(p, `${EMBEDDINGS}.patch_embedding`, pixels); // [B, N, D]
  const cls = repeatToken(p[`${EMBEDDINGS}.class_embedding`], b, c.width); // [B, 1, D]
  const grid = gridOf(pixels, c.patchSize);
  const positions = interpolatePositions(p[`${EMBEDDINGS}.position_embedding.weight`], grid, { prefix: 1 }); // [1 + N, D]
  const x = norm(p, 'vision_model.pre_layrnorm', tf.add(tf.concat([cls, patches], 1), positions), c.epsilon);
  const hidden = encoder(p, 'vision_model.encoder', x, c); // [B, 1 + N, D]
  const postNorm = (y: Tensor) => norm(p, 'vision_model.post_layernorm', y, c.epsilon);
  const pooled = postNorm(tokenAt(hidden, 0)); // [B, D]
  const embeds = c.projection === null ? pooled : linear(p, 'visual_projection', pooled); // [B, P]
  return { hidden, normed: postNorm(hidden), pooled, embeds };
}
