// SigLIP's text tower (Zhai et al. 2023): blocks that see all tokens, padding too, pooled at the last token whatever it is
// (so texts must be padded to the trained length), and a linear head. Names and shapes are those of the text half of a
// published `SiglipModel`.

import type { NamedTensors, Tensor } from '@fovea/tensor';
import { z } from 'zod';
import { readConfig, size } from './config.ts';
import { layerNormSpecs, linear, linearSpecs, type ParamSpecs } from './params.ts';
import { type TextOutput, tokenEmbed, tokenEmbedSpecs } from './text.ts';
import { headsDivide, towerFields, transformerFields, transformerOf } from './towers.ts';
import { encoder, encoderSpecs, norm, type TransformerConfig, tokenAt } from './transformer.ts';

export interface SiglipTextConfig extends TransformerConfig {
  vocabulary: number;
  /** Tokens that every text is padded or cut to. */
  positions: number;
  /** Width of the image–text space. */
  projection: number;
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
    vocab_size: size.default(32000),
    max_position_embeddings: size.default(64),
    projection_size: size.nullish(),
  })
  .refine(...headsDivide);

/** From the config.json of a text tower (`siglip_text_model`) or of a whole SigLIP (`siglip`). */
export function readSiglipTextConfig(json: unknown, where: string): SiglipTextConfig {
  const c = readConfig(fields, towerFields(json, 'siglip', 'text', where), where);
  return {
    ...transformerOf(c),
    vocabulary: c.vocab_size,
    positions: c.max_position_embeddings,
    projection: c.projection_size ?? c.hidden_size,
  };
}

export function siglipTextSpecs(c: SiglipTextConfig): ParamSpecs {
  return {
    ...tokenEmbedSpecs(c),
    ...encoderSpecs('text_model.encoder', c),
    ...layerNormSpecs('text_model.final_layer_norm', c.width),
    ...linearSpecs('text_model.head', c.width, c.projection),
  };
}

/** ids [B, T], int32, T the tower's `positions` as trained, never more -> states and features; `embeds` is `pooled`, [B, P]. */
export function siglipText(p: NamedTensors, ids: Tensor, c: SiglipTextConfig): TextOutput {
  const hidden = encoder(p, 'text_model.encoder', tokenEmbed(p, ids), c); // [B, T, D]
  const normed = norm(p, 'text_model.final_layer_norm', hidden, c.epsilon);
  const pooled = linear(p, 'text_model.head', tokenAt(normed, -1)); // [B, P]
  return { hidden, normed, pooled, embeds: pooled };
}
