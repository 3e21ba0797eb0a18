// open_clip's and OpenAI's own state dicts of CLIP under Hugging Face's names, and back: a table of names, with the
// projections transposed and the attention's joined q, k, v taken apart. A timm vision tower (convnext.ts) keeps its
// names; the text tower beside it is renamed all the same. Tensors are not checked against a network here.

import { FoveaError } from '@fovea/artifacts';
import { z } from 'zod';
import { readConfig, size } from './config.ts';
import type { Weights } from './params.ts';

export interface OpenClipLayers {
  /** Layers of the ViT, or null for a tower of timm's, whose tensors pass under their own names. */
  vision: number | null;
  text: number;
}

const off = z.literal(false).default(false);
const none = z.null().default(null);
/** What open_clip can build and CLIP does not have. */
const plain = {
  ls_init_value: none,
  act_kwargs: none,
  norm_kwargs: none,
  block_type: z.literal('default').nullable().default(null),
  final_ln_after_pool: off,
  qk_norm: off,
  scaled_cosine_attn: off,
  scale_heads: off,
  scale_attn_inner: off,
  scale_attn: off,
  scale_fc: off,
};
const visionSchema = z.object({
  ...plain,
  image_size: size.default(224),
  patch_size: size.default(16),
  width: size.default(768),
  layers: size.default(12),
  head_width: size.default(64),
  mlp_ratio: z.number().positive().default(4),
  attentional_pool: off,
  no_ln_pre: off,
  pos_embed_type: z.literal('learnable').default('learnable'),
  pool_type: z.literal('tok').default('tok'),
});
const textSchema = z.object({
  ...plain,
  context_length: size.default(77),
  vocab_size: size.default(49408),
  width: size.default(512),
  heads: size.default(8),
  layers: size.default(12),
  mlp_ratio: z.number().positive().default(4),
  hf_model_name: none,
  embed_cls: off,
  no_causal_mask: off,
  proj_bias: off,
  proj_type: z.literal('linear').default('linear'),
  pool_type: z.literal('argmax').default('argmax'),
});
const timmSchema = z.object({ timm_model_name: z.string().nullable().default(null) });
const withVision = <T extends z.ZodType>(vision_cfg: T) => z.object({ model_cfg: z.object({ vision_cfg }) });
const schema = z.object({
  model_cfg: z.object({
    embed_dim: size,
    quick_gelu: z.boolean().default(false),
    custom_text: off,
    init_logit_bias: none,
    text_cfg: textSchema,
  }),
});

/**
 * `open_clip_config.json` as the config.json of transformers' CLIPModel with the same towers, and how many layers they
 * have. With a tower of timm's there is no `vision_config`. Throws a FoveaError that names what CLIP does not have.
 */
export function readOpenClipConfig(
  json: unknown,
  where: string,
): { layers: OpenClipLayers; config: Record<string, unknown> } {
  const { embed_dim, quick_gelu, text_cfg: text } = readConfig(schema, json, where).model_cfg;
  const shared = { hidden_act: quick_gelu ? 'quick_gelu' : 'gelu', layer_norm_eps: 1e-5, projection_dim: embed_dim };
  const text_config = {
    model_type: 'clip_text_model',
    ...shared,
    hidden_size: text.width,
    intermediate_size: Math.floor(text.width * text.mlp_ratio),
    num_hidden_layers: text.layers,
    num_attention_heads: text.heads,
    max_position_embeddings: text.context_length,
    vocab_size: text.vocab_size,
    // open_clip pools at the largest id, so the last one ends a text.
    bos_token_id: text.vocab_size - 2,
    eos_token_id: text.vocab_size - 1,
  };
  const config = { model_type: 'clip', architectures: ['CLIPModel'], projection_dim: embed_dim, text_config };
  const isTimm = readConfig(withVision(timmSchema), json, where).model_cfg.vision_cfg.timm_model_name !== null;
  if (isTimm) return { layers: { vision: null, text: text.layers }, config };
  const vision = readConfig(withVision(visionSchema), json, where).model_cfg.vision_cfg;
  const vision_config = {
    model_type: 'clip_vision_model',
    ...shared,
    hidden_size: vision.width,
    intermediate_size: Math.floor(vision.width * vision.mlp_ratio),
    num_hidden_layers: vision.layers,
    num_attention_heads: Math.floor(vision.width / vision.head_width),
    num_channels: 3,
    image_size: vision.image_size,
    patch_size: vision.patch_size,
  };
  return { layers: { vision: vision.layers, text: text.layers }, config: { ...config, vision_config } };
}

/** One tensor of open_clip's and what it is in Hugging Face's files; three names are its rows in three equal parts. */
interface Rule {
  openClip: string;
  clip: string[];
  transposed?: true;
}

const same = (openClip: string, clip: string): Rule => ({ openClip, clip: [clip] });
const both = (openClip: string, clip: string): Rule[] =>
  ['weight', 'bias'].map((part) => same(`${openClip}.${part}`, `${clip}.${part}`));

function layerRules(openClip: string, clip: string): Rule[] {
  const joined = (part: string): Rule => ({
    openClip: `${openClip}.attn.in_proj_${part}`,
    clip: ['q', 'k', 'v'].map((which) => `${clip}.self_attn.${which}_proj.${part}`),
  });
  return [
    ...both(`${openClip}.ln_1`, `${clip}.layer_norm1`),
    joined('weight'),
    joined('bias'),
    ...both(`${openClip}.attn.out_proj`, `${clip}.self_attn.out_proj`),
    ...both(`${openClip}.ln_2`, `${clip}.layer_norm2`),
    ...both(`${openClip}.mlp.c_fc`, `${clip}.mlp.fc1`),
    ...both(`${openClip}.mlp.c_proj`, `${clip}.mlp.fc2`),
  ];
}

const towerRules = (openClip: string, clip: string, layers: number): Rule[] =>
  Array.from({ length: layers }, (_, i) =>
    layerRules(`${openClip}transformer.resblocks.${i}`, `${clip}.encoder.layers.${i}`),
  ).flat();

const visionRules = (layers: number): Rule[] => [
  same('visual.class_embedding', 'vision_model.embeddings.class_embedding'),
  same('visual.conv1.weight', 'vision_model.embeddings.patch_embedding.weight'),
  same('visual.positional_embedding', 'vision_model.embeddings.position_embedding.weight'),
  ...both('visual.ln_pre', 'vision_model.pre_layrnorm'),
  ...towerRules('visual.', 'vision_model', layers),
  ...both('visual.ln_post', 'vision_model.post_layernorm'),
  { openClip: 'visual.proj', clip: ['visual_projection.weight'], transposed: true },
];

const textRules = (layers: number): Rule[] => [
  same('token_embedding.weight', 'text_model.embeddings.token_embedding.weight'),
  same('positional_embedding', 'text_model.embeddings.position_embedding.weight'),
  ...towerRules('', 'text_model', layers),
  ...both('ln_final', 'text_model.final_layer_norm'),
  { openClip: 'text_projection', clip: ['text_projection.weight'], transposed: true },
  same('logit_scale', 'logit_scale'),
];

const rules = ({ vision, text }: OpenClipLayers): Rule[] => [
  ...(vision === null ? [] : visionRules(vision)),
  ...textRules(text),
];

/** Not parameters: sizes that OpenAI's files carry, and the counters that older files of transformers do. */
const IGNORED = new Set([
  ...['input_resolution', 'context_length', 'vocab_size'],
  ...['text_model.embeddings.position_ids', 'vision_model.embeddings.position_ids'],
]);

/**
 * A state dict of open_clip under the names of transformers' CLIPModel. Data is shared with `tensors` where it is the same.
 * `where` names the file. Throws a FoveaError that lists the names that are missing, or that no tower has.
 */
export function fromOpenClip(tensors: Weights, layers: OpenClipLayers, where: string): Weights {
  const table = rules(layers);
  const out = account(
    tensors,
    table.map((rule) => rule.openClip),
    layers,
    where,
  );
  for (const { openClip, clip, transposed } of table) {
    const tensor = tensors[openClip];
    const parts = clip.length === 1 ? [transposed ? transpose(tensor) : tensor] : thirds(tensor, openClip, where);
    for (const [i, name] of clip.entries()) out[name] = parts[i];
  }
  return out;
}

/** The inverse of {@link fromOpenClip}, to the last bit. */
export function toOpenClip(tensors: Weights, layers: OpenClipLayers, where: string): Weights {
  const table = rules(layers);
  const out = account(
    tensors,
    table.flatMap((rule) => rule.clip),
    layers,
    where,
  );
  for (const { openClip, clip, transposed } of table) {
    const parts = clip.map((name) => tensors[name]);
    out[openClip] = parts.length > 1 ? joined(parts) : transposed ? transpose(parts[0]) : parts[0];
  }
  return out;
}

/** The tensors that keep their names, once nothing is missing and nothing left over. */
function account(tensors: Weights, wanted: string[], { vision }: OpenClipLayers, where: string): Weights {
  const known = new Set(wanted);
  const kept = (name: string) => vision === null && name.startsWith('visual.');
  const missing = wanted.filter((name) => !Object.hasOwn(tensors, name));
  const extra = Object.keys(tensors).filter((name) => !known.has(name) && !kept(name) && !IGNORED.has(name));
  const faults = [
    ...(missing.length > 0 ? [`lack ${missing.join(', ')}`] : []),
    ...(extra.length > 0 ? [`hold ${extra.join(', ')}, which the towers do not have`] : []),
  ];
  if (faults.length > 0)
    throw new FoveaError(`The weights ${where} ${faults.join(' and ')}; check that its configuration is theirs.`);
  return Object.fromEntries(Object.entries(tensors).filter(([name]) => kept(name)));
}

type Weight = Weights[string];

function transpose({ shape: [rows, columns], data }: Weight): Weight {
  const out = new Float32Array(data.length);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) out[j * rows + i] = data[i * columns + j];
  return { shape: [columns, rows], data: out };
}

function thirds({ shape: [rows, ...rest], data }: Weight, name: string, where: string): Weight[] {
  if (rows % 3 !== 0)
    throw new FoveaError(`The tensor ${name} of ${where} has ${rows} rows, which are not q, k and v; get a good copy.`);
  const part = data.length / 3;
  return [0, 1, 2].map((i) => ({ shape: [rows / 3, ...rest], data: data.subarray(i * part, (i + 1) * part) }));
}

function joined(parts: Weight[]): Weight {
  const [{ shape }] = parts;
  const data = new Float32Array(parts.reduce((n, part) => n + part.data.length, 0));
  let at = 0;
  for (const part of parts) {
    data.set(part.data, at);
    at += part.data.length;
  }
  return { shape: [parts.reduce((n, part) => n + part.shape[0], 0), ...shape.slice(1)], data };
}
