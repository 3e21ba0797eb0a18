// What of diffusers' `UNet2DConditionModel` configuration Stable Diffusion's U-Nets use; all other fields must be absent or
// at the library's default, since each would change the network.

import { FoveaError } from '@fovea/artifacts';
import { z } from 'zod';
import { readConfig, size } from './config.ts';
import type { UnetConfig } from './unet.ts';

const absent = z.null().optional();
const only = <T extends string | number | boolean>(value: T) => z.literal(value).nullish();

const schema = z.object({
  _class_name: only('UNet2DConditionModel'),
  sample_size: z.union([size, z.tuple([size, size])]).nullish(),
  in_channels: size.default(4),
  out_channels: size.default(4),
  center_input_sample: z.boolean().default(false),
  flip_sin_to_cos: z.boolean().default(true),
  freq_shift: z.number().default(0),
  down_block_types: z
    .array(z.enum(['CrossAttnDownBlock2D', 'DownBlock2D']))
    .default(['CrossAttnDownBlock2D', 'CrossAttnDownBlock2D', 'CrossAttnDownBlock2D', 'DownBlock2D']),
  up_block_types: z
    .array(z.enum(['CrossAttnUpBlock2D', 'UpBlock2D']))
    .default(['UpBlock2D', 'CrossAttnUpBlock2D', 'CrossAttnUpBlock2D', 'CrossAttnUpBlock2D']),
  block_out_channels: z.array(size).min(1).default([320, 640, 1280, 1280]),
  layers_per_block: size.default(2),
  transformer_layers_per_block: size.default(1),
  attention_head_dim: z.union([size, z.array(size)]).default(8),
  cross_attention_dim: size.default(1280),
  norm_num_groups: size.default(32),
  norm_eps: z.number().positive().default(1e-5),
  use_linear_projection: z.boolean().default(false),
  upcast_attention: z.boolean().nullish(),
  class_embed_type: z.literal('projection').nullish(),
  projection_class_embeddings_input_dim: size.nullish(),
  mid_block_type: only('UNetMidBlock2DCrossAttn'),
  act_fn: z.enum(['silu', 'swish']).default('silu'),
  attention_type: only('default'),
  class_embeddings_concat: only(false),
  conv_in_kernel: only(3),
  conv_out_kernel: only(3),
  downsample_padding: only(1),
  dropout: only(0),
  dual_cross_attention: only(false),
  mid_block_only_cross_attention: only(false),
  mid_block_scale_factor: only(1),
  only_cross_attention: only(false),
  resnet_out_scale_factor: only(1),
  resnet_skip_time_act: only(false),
  resnet_time_scale_shift: only('default'),
  time_embedding_type: only('positional'),
  addition_embed_type: absent,
  addition_time_embed_dim: absent,
  cross_attention_norm: absent,
  encoder_hid_dim: absent,
  encoder_hid_dim_type: absent,
  num_attention_heads: absent,
  num_class_embeds: absent,
  reverse_transformer_layers_per_block: absent,
  time_cond_proj_dim: absent,
  time_embedding_act_fn: absent,
  time_embedding_dim: absent,
  timestep_post_act: absent,
});

/** The U-Net of a config.json of diffusers; throws a {@link FoveaError} that names the field it cannot do. */
export const readUnetConfig = (json: unknown, where: string): UnetConfig => {
  const c = readConfig(schema, json, where);
  const levels = c.block_out_channels.length;
  // diffusers takes `attention_head_dim` for the number of heads: an old mistake that every published file relies on.
  const heads = [c.attention_head_dim].flat();
  const refuse = (field: keyof typeof c, why: string): never => {
    throw new FoveaError(`The configuration ${where} cannot be used: ${field} — ${why}.`);
  };
  for (const field of ['down_block_types', 'up_block_types'] as const)
    if (c[field].length !== levels)
      refuse(field, `it names ${c[field].length} blocks, and block_out_channels has ${levels}`);
  if (Array.isArray(c.attention_head_dim) && heads.length !== levels)
    refuse('attention_head_dim', `it has ${heads.length} entries, and block_out_channels has ${levels}`);
  for (const [i, width] of c.block_out_channels.entries()) {
    const count = heads[i] ?? heads[0];
    if (width % count !== 0) refuse('attention_head_dim', `${count} heads do not divide the ${width} channels`);
    if (width % c.norm_num_groups !== 0)
      refuse('norm_num_groups', `${c.norm_num_groups} groups do not divide the ${width} channels`);
  }
  const classWidth = c.class_embed_type ? c.projection_class_embeddings_input_dim : null;
  if (classWidth === undefined)
    refuse('projection_class_embeddings_input_dim', 'class_embed_type "projection" needs it');
  return {
    sampleSize: c.sample_size ?? null,
    inChannels: c.in_channels,
    outChannels: c.out_channels,
    centerInputSample: c.center_input_sample,
    flipSinToCos: c.flip_sin_to_cos,
    freqShift: c.freq_shift,
    downBlockTypes: c.down_block_types,
    upBlockTypes: c.up_block_types,
    blockOutChannels: c.block_out_channels,
    layersPerBlock: c.layers_per_block,
    transformerLayersPerBlock: c.transformer_layers_per_block,
    heads: c.block_out_channels.map((_, i) => heads[i] ?? heads[0]),
    crossAttentionDim: c.cross_attention_dim,
    normNumGroups: c.norm_num_groups,
    normEps: c.norm_eps,
    useLinearProjection: c.use_linear_projection,
    classWidth: classWidth ?? null,
  };
};
