// CLIP's text tower (Radford et al. 2021): causal pre-norm blocks over tokens, pooled at the end-of-text token. Names and
// shapes are Hugging Face's `CLIPTextModelWithProjection`, those of the text half of a `CLIPModel` and, without the
// projection, of Stable Diffusion's text encoder, whose condition is `normed`. Padding is not masked: the causal order hides
// it from the pooled vector, and Stable Diffusion reads its states.

import { embedding, type NamedTensors, type Tensor, tf } from '@fovea/tensor';
import { z } from 'zod';
import { readConfig, size } from './config.ts';
import { layerNormSpecs, linear, normal, type ParamSpecs } from './params.ts';
import { type TextOutput, tokenEmbed, tokenEmbedSpecs } from './text.ts';
import { headsDivide, towerFields, transformerFields, transformerOf } from './towers.ts';
import { encoder, encoderSpecs, norm, type TransformerConfig } from './transformer.ts';

export interface ClipTextConfig extends TransformerConfig {
  vocabulary: number;
  /** The most tokens of a text. */
  positions: number;
  /** The end-of-text token, at which a text is pooled; 2 in files that have it wrong, where the highest id is it. */
  endOfText: number;
  /** Width of the image–text space; null in a `CLIPTextModel`, which has none. */
  projection: number | null;
}

const fields = z
  .object({
    ...transformerFields({
      width: 512,
      layers: 12,
      heads: 8,
      hidden: 2048,
      activation: 'quick_gelu',
      epsilon: 1e-5,
    }),
    vocab_size: size.default(49408),
    max_position_embeddings: size.default(77),
    eos_token_id: z.int().default(49407),
    projection_dim: size.nullable().default(512),
  })
  .refine(...headsDivide);

/** From the config.json of a text tower (`clip_text_model`) or of a whole CLIP (`clip`). */
export function readClipTextConfig(json: unknown, where: string): ClipTextConfig {
  const c = readConfig(fields, towerFields(json, 'clip', 'text', where), where);
  return {
    ...transformerOf(c),
    vocabulary: c.vocab_size,
    positions: c.max_position_embeddings,
    endOfText: c.eos_token_id,
    projection: c.projection_dim,
  };
}

export function clipTextSpecs(c: ClipTextConfig): ParamSpecs {
  return {
    ...tokenEmbedSpecs(c),
    ...encoderSpecs('text_model.encoder', c),
    ...layerNormSpecs('text_model.final_layer_norm', c.width),
    ...(c.projection === null
      ? {}
      : { 'text_projection.weight': normal([c.projection, c.width], 1 / Math.sqrt(c.width)) }),
  };
}

/** ids [B, T], int32, T at most `positions` -> states and features. */
export function clipText(p: NamedTensors, ids: Tensor, c: ClipTextConfig): TextOutput {
  const hidden = encoder(p, 'text_model.encoder', tokenEmbed(p, ids), c, true); // [B, T, D]
  const normed = norm(p, 'text_model.final_layer_norm', hidden, c.epsilon);
  const pooled = pickEach(normed, endOf(ids, c.endOfText)); // [B, D]
  const embeds = c.projection === null ? pooled : linear(p, 'text_projection', pooled); // [B, P]
  return { hidden, normed, pooled, embeds };
}

/** Where each text of ids [B, T] ends: at the first end-of-text token, or by the older rule at the highest id -> [B]. */
function endOf(ids: Tensor, endOfText: number): Tensor {
  const LEGACY = 2;
  const marks = endOfText === LEGACY ? ids : tf.cast(tf.equal(ids, tf.scalar(endOfText, 'int32')), 'int32');
  return tf.argMax(marks, -1);
}

/** The token at `index` [B] of each row of x [B, T, D] -> [B, D]. */
function pickEach(x: Tensor, index: Tensor): Tensor {
  const [b, t, d] = x.shape;
  const starts = tf.tensor1d(Int32Array.from({ length: b }, (_, row) => row * t));
  return embedding(tf.reshape(x, [b * t, d]), tf.add(starts, index));
}
