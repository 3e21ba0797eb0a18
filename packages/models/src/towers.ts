// The configurations of CLIP's and SigLIP's towers: what all four say, and where one of them is found in the
// configuration of a whole two-tower model.

import { z } from 'zod';
import { activationName, readConfig, size } from './config.ts';
import type { TransformerConfig } from './transformer.ts';

type Rule<C> = [holds: (c: C) => boolean, otherwise: { path: string[]; message: string }];

/** For zod's `refine`: every head takes an equal share of the width. */
export const headsDivide: Rule<{ hidden_size: number; num_attention_heads: number }> = [
  (c) => c.hidden_size % c.num_attention_heads === 0,
  { path: ['num_attention_heads'], message: 'it must divide hidden_size' },
];

/** For zod's `refine`: there is at least one patch. */
export const patchFits: Rule<{ patch_size: number; image_size: number }> = [
  (c) => c.patch_size <= c.image_size,
  { path: ['patch_size'], message: 'it must not exceed image_size' },
];

/** Fields that all towers have, with the family's defaults. */
export const transformerFields = (defaults: TransformerConfig) => ({
  hidden_size: size.default(defaults.width),
  num_hidden_layers: size.default(defaults.layers),
  num_attention_heads: size.default(defaults.heads),
  intermediate_size: size.default(defaults.hidden),
  hidden_act: activationName.default(defaults.activation),
  layer_norm_eps: z.number().positive().default(defaults.epsilon),
});

export const transformerOf = (c: z.infer<z.ZodObject<ReturnType<typeof transformerFields>>>): TransformerConfig => ({
  width: c.hidden_size,
  layers: c.num_hidden_layers,
  heads: c.num_attention_heads,
  hidden: c.intermediate_size,
  activation: c.hidden_act,
  epsilon: c.layer_norm_eps,
});

const loose = z.record(z.string(), z.unknown());

/**
 * The fields of one tower: the configuration itself where it is that tower's (`clip_vision_model`), else the part of the
 * whole model's. `projection_dim` comes out as the weights beside the configuration have it: the whole model's own, null
 * where `architectures` names a tower without a projection. Throws a FoveaError on another model_type.
 */
export function towerFields(json: unknown, family: 'clip' | 'siglip', part: 'vision' | 'text', where: string): unknown {
  const tower = `${family}_${part}_model`;
  const schema = z.looseObject({
    model_type: z.enum([family, tower]),
    architectures: z.array(z.string()).nullish(),
    // Files of 2021 and 2022 hold the tower twice, and transformers believes this one.
    [`${part}_config_dict`]: loose.nullish(),
    [`${part}_config`]: loose.nullish(),
  });
  const config: Record<string, unknown> = readConfig(schema, json, where);
  if (config.model_type === family) {
    const fields = config[`${part}_config_dict`] ?? config[`${part}_config`] ?? {};
    return { ...(fields as object), projection_dim: config.projection_dim };
  }
  const bare = part === 'vision' ? 'CLIPVisionModel' : 'CLIPTextModel';
  const alone = (config.architectures as string[] | null | undefined)?.includes(bare);
  return alone ? { ...config, projection_dim: null } : config;
}
