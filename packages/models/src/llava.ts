// LLaVA 1.5 (Liu et al. 2023): the patches of a CLIP, taken before its last block, go through a small MLP and stand among
// a language model's tokens. Names and shapes are those of Hugging Face's published `LlavaForConditionalGeneration`.

import { FoveaError } from '@fovea/artifacts';
import { embedding, type NamedTensors, prefixed, type Tensor, tf } from '@fovea/tensor';
import { z } from 'zod';
import { type ClipVitConfig, clipVit, clipVitShape, clipVitSpecs, readClipVitConfig } from './clip-vit.ts';
import { ACTIVATIONS, type ActivationName, activationName, readConfig } from './config.ts';
import { type LlamaConfig, llamaSpecs, readLlamaConfig } from './llama.ts';
import { linear, linearSpecs, type ParamSpecs } from './params.ts';

export interface LlavaConfig {
  vision: ClipVitConfig;
  text: LlamaConfig;
  /** Blocks of the picture tower that are computed. */
  visionDepth: number;
  /** Whether the class token goes along (`full`), which it does not by default. */
  withClass: boolean;
  activation: ActivationName;
  bias: boolean;
  /** Id that stands where a token of the picture goes. */
  imageToken: number;
  /** Tokens that a picture takes. */
  imageTokens: number;
}

const id = z.int().nonnegative();
const part = z.record(z.string(), z.unknown());
const fields = z.object({
  model_type: z.literal('llava'),
  vision_config: part,
  text_config: part.default({ model_type: 'llama' }),
  image_token_index: id.nullish(),
  image_token_id: id.nullish(),
  projector_hidden_act: activationName.default('gelu'),
  multimodal_projector_bias: z.boolean().default(true),
  vision_feature_layer: z.int({ error: 'features of one layer can be taken' }).default(-2),
  vision_feature_select_strategy: z.enum(['default', 'full']).default('default'),
});

/** From a config.json of model_type `llava`. Throws a FoveaError that names what cannot be done. */
export function readLlavaConfig(json: unknown, where: string): LlavaConfig {
  const c = readConfig(fields, json, where);
  const vision: ClipVitConfig = {
    ...readClipVitConfig({ model_type: 'clip_vision_model', ...c.vision_config }, `${where} (vision_config)`),
    projection: null,
  };
  const visionDepth = c.vision_feature_layer < 0 ? vision.layers + 1 + c.vision_feature_layer : c.vision_feature_layer;
  if (visionDepth < 0 || visionDepth > vision.layers)
    throw new FoveaError(
      `The configuration ${where} cannot be used: vision_feature_layer — ${c.vision_feature_layer} is no layer of a tower of ${vision.layers}.`,
    );
  const withClass = c.vision_feature_select_strategy === 'full';
  return {
    vision,
    text: readLlamaConfig(c.text_config, `${where} (text_config)`),
    visionDepth,
    withClass,
    activation: c.projector_hidden_act,
    bias: c.multimodal_projector_bias,
    imageToken: c.image_token_index ?? c.image_token_id ?? 32000,
    imageTokens: clipVitShape(vision).patches + (withClass ? 1 : 0),
  };
}

const [VISION, PROJECTOR, TEXT] = ['vision_tower.', 'multi_modal_projector.', 'language_model.'];

export function llavaSpecs(c: LlavaConfig): ParamSpecs {
  const { width } = c.text;
  const layers = {
    ...linearSpecs(`${PROJECTOR}linear_1`, c.vision.width, width),
    ...linearSpecs(`${PROJECTOR}linear_2`, width, width),
  };
  const projector = Object.entries(layers).filter(([name]) => c.bias || !name.endsWith('.bias'));
  return {
    ...prefixed(VISION, clipVitSpecs(c.vision)),
    ...Object.fromEntries(projector),
    ...prefixed(TEXT, llamaSpecs(c.text)),
  };
}

/** The parameters of the language model alone, under the names that llama.ts knows. */
export function llavaText<T>(p: Record<string, T>): Record<string, T> {
  const own = Object.entries(p).filter(([name]) => name.startsWith(TEXT));
  return Object.fromEntries(own.map(([name, value]) => [name.slice(TEXT.length), value]));
}

/** The name of a tensor as LLaVA was published, from what any transformers since 4.52 writes. */
export function llavaPublished(name: string): string {
  if (name === 'lm_head.weight') return `${TEXT}lm_head.weight`;
  if (name.startsWith(`model.${TEXT}`)) return `${TEXT}model.${name.slice(`model.${TEXT}`.length)}`;
  return name
    .replace(/^model\.(vision_tower|multi_modal_projector)\./, '$1.')
    .replace(/^vision_tower\.(?!vision_model\.)/, 'vision_tower.vision_model.');
}

/** pixels [B, 3, H, W], normalised, H and W the tower's own -> tokens of the language model [B, imageTokens, D]. */
export function llavaImage(p: NamedTensors, pixels: Tensor, c: LlavaConfig): Tensor {
  const tower = Object.fromEntries(Object.entries(p).map(([name, value]) => [name.replace(VISION, ''), value]));
  const { hidden } = clipVit(tower, pixels, { ...c.vision, layers: c.visionDepth }); // [B, 1 + N, V]
  const tokens = c.withClass ? hidden : tf.slice(hidden, [0, 1, 0], [-1, -1, -1]);
  const inner = ACTIVATIONS[c.activation](linear(p, `${PROJECTOR}linear_1`, tokens));
  return linear(p, `${PROJECTOR}linear_2`, inner);
}

/**
 * Tokens as they go into the decoder: ids int32 [B, T], and where one is the picture's, the row of `pictures`
 * [B, T, D] that stands at its place.
 */
export function llavaEmbed(p: NamedTensors, ids: Tensor, pictures: Tensor, c: LlavaConfig): Tensor {
  const isPicture = tf.equal(ids, tf.scalar(c.imageToken, 'int32'));
  // The picture's id may lie beyond the vocabulary.
  const words = embedding(p[`${TEXT}model.embed_tokens.weight`], tf.where(isPicture, tf.zerosLike(ids), ids)); // [B, T, D]
  return tf.where(tf.expandDims(isPicture, 2), pictures, words);
}
