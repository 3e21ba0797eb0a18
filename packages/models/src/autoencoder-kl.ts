// The autoencoder of latent diffusion (Rombach et al. 2022): residual blocks that halve a picture three times, one
// attention in the middle, and a Gaussian over latents at the narrow end. Parameters and configuration are those of
// diffusers' `AutoencoderKL`, Stable Diffusion's (4 channels) and FLUX's (16 channels, no quant convolutions) alike.
// It takes noise as an input and draws none; whole pictures only, no tiles.

import { FoveaError } from '@fovea/artifacts';
import { attention, interpolate, type NamedTensors, silu, type Tensor, tf } from '@fovea/tensor';
import { z } from 'zod';
import { readConfig, size } from './config.ts';
import { conv, convSpecs, norm } from './convolution.ts';
import { layerNormSpecs, linear, linearSpecs, type ParamSpecs } from './params.ts';

export interface AutoencoderKlConfig {
  inChannels: number;
  outChannels: number;
  /** Widths from the picture to the latents; each but the last is followed by a halving of the picture. */
  blockOutChannels: number[];
  /** Residual blocks per width in the encoder; the decoder has one more. */
  layersPerBlock: number;
  latentChannels: number;
  normNumGroups: number;
  useQuantConv: boolean;
  usePostQuantConv: boolean;
  midBlockAddAttention: boolean;
  /** A denoiser sees (latent − shift) · scaling. */
  scalingFactor: number;
  shiftFactor: number;
}

const SCHEMA = z
  .object({
    in_channels: size.default(3),
    out_channels: size.default(3),
    block_out_channels: z.array(size).min(1).default([64]),
    down_block_types: z.array(z.literal('DownEncoderBlock2D')).default(['DownEncoderBlock2D']),
    up_block_types: z.array(z.literal('UpDecoderBlock2D')).default(['UpDecoderBlock2D']),
    layers_per_block: size.default(1),
    act_fn: z.enum(['silu', 'swish']).default('silu'),
    latent_channels: size.default(4),
    norm_num_groups: size.default(32),
    use_quant_conv: z.boolean().default(true),
    use_post_quant_conv: z.boolean().default(true),
    mid_block_add_attention: z.boolean().default(true),
    scaling_factor: z.number().positive().default(0.18215),
    shift_factor: z.number().nullish(),
    latents_mean: z.null().optional(),
    latents_std: z.null().optional(),
    force_upcast: z.union([z.boolean(), z.number()]).nullish(),
  })
  .refine(
    ({ block_out_channels: { length }, down_block_types, up_block_types }) =>
      down_block_types.length === length && up_block_types.length === length,
    {
      path: ['block_out_channels'],
      message: 'it must have one width per entry of down_block_types and up_block_types',
    },
  )
  .refine(({ block_out_channels, norm_num_groups }) => block_out_channels.every((w) => w % norm_num_groups === 0), {
    path: ['block_out_channels'],
    message: 'each width must be a multiple of norm_num_groups',
  });

/** From diffusers' config.json. `force_upcast` is accepted and needs nothing: everything but products is computed in fp32. */
export function readAutoencoderKlConfig(json: unknown, where: string): AutoencoderKlConfig {
  const c = readConfig(SCHEMA, json, where);
  return {
    inChannels: c.in_channels,
    outChannels: c.out_channels,
    blockOutChannels: c.block_out_channels,
    layersPerBlock: c.layers_per_block,
    latentChannels: c.latent_channels,
    normNumGroups: c.norm_num_groups,
    useQuantConv: c.use_quant_conv,
    usePostQuantConv: c.use_post_quant_conv,
    midBlockAddAttention: c.mid_block_add_attention,
    scalingFactor: c.scaling_factor,
    shiftFactor: c.shift_factor ?? 0,
  };
}

/** Pixels per latent, along each side. */
export const klStride = (c: AutoencoderKlConfig): number => 2 ** (c.blockOutChannels.length - 1);

const EPSILON = 1e-6;

function resnetSpecs(name: string, from: number, to: number): ParamSpecs {
  return {
    ...layerNormSpecs(`${name}.norm1`, from),
    ...convSpecs(`${name}.conv1`, from, to),
    ...layerNormSpecs(`${name}.norm2`, to),
    ...convSpecs(`${name}.conv2`, to, to),
    ...(from !== to && convSpecs(`${name}.conv_shortcut`, from, to, 1)),
  };
}

function middleSpecs(name: string, width: number, c: AutoencoderKlConfig): ParamSpecs {
  const mixer = `${name}.attentions.0`;
  const parts = ['to_q', 'to_k', 'to_v', 'to_out.0'].map((part) => linearSpecs(`${mixer}.${part}`, width, width));
  return {
    ...resnetSpecs(`${name}.resnets.0`, width, width),
    ...(c.midBlockAddAttention && Object.assign(layerNormSpecs(`${mixer}.group_norm`, width), ...parts)),
    ...resnetSpecs(`${name}.resnets.1`, width, width),
  };
}

/** `count` residual blocks, the first of which changes the width. */
function stageSpecs(name: string, from: number, to: number, count: number): ParamSpecs {
  const blocks = Array.from({ length: count }, (_, i) => resnetSpecs(`${name}.resnets.${i}`, i === 0 ? from : to, to));
  return Object.assign({}, ...blocks);
}

export function klEncoderSpecs(c: AutoencoderKlConfig): ParamSpecs {
  const widths = c.blockOutChannels;
  const last = widths.length - 1;
  const moments = 2 * c.latentChannels;
  const specs = convSpecs('encoder.conv_in', c.inChannels, widths[0]);
  for (const [i, width] of widths.entries()) {
    const stage = `encoder.down_blocks.${i}`;
    Object.assign(specs, stageSpecs(stage, widths[Math.max(0, i - 1)], width, c.layersPerBlock));
    if (i < last) Object.assign(specs, convSpecs(`${stage}.downsamplers.0.conv`, width, width));
  }
  return {
    ...specs,
    ...middleSpecs('encoder.mid_block', widths[last], c),
    ...layerNormSpecs('encoder.conv_norm_out', widths[last]),
    ...convSpecs('encoder.conv_out', widths[last], moments),
    ...(c.useQuantConv && convSpecs('quant_conv', moments, moments, 1)),
  };
}

export function klDecoderSpecs(c: AutoencoderKlConfig): ParamSpecs {
  const widths = [...c.blockOutChannels].reverse();
  const last = widths.length - 1;
  const specs: ParamSpecs = {
    ...(c.usePostQuantConv && convSpecs('post_quant_conv', c.latentChannels, c.latentChannels, 1)),
    ...convSpecs('decoder.conv_in', c.latentChannels, widths[0]),
    ...middleSpecs('decoder.mid_block', widths[0], c),
  };
  for (const [i, width] of widths.entries()) {
    const stage = `decoder.up_blocks.${i}`;
    Object.assign(specs, stageSpecs(stage, widths[Math.max(0, i - 1)], width, c.layersPerBlock + 1));
    if (i < last) Object.assign(specs, convSpecs(`${stage}.upsamplers.0.conv`, width, width));
  }
  return {
    ...specs,
    ...layerNormSpecs('decoder.conv_norm_out', widths[last]),
    ...convSpecs('decoder.conv_out', widths[last], c.outChannels),
  };
}

export const autoencoderKlSpecs = (c: AutoencoderKlConfig): ParamSpecs => ({
  ...klEncoderSpecs(c),
  ...klDecoderSpecs(c),
});

const EARLY: Record<string, string> = { query: 'to_q', key: 'to_k', value: 'to_v', proj_attn: 'to_out.0' };

/**
 * The tensors of a checkpoint under today's names: until 2023 diffusers called the middle attention's projections `query`,
 * `key`, `value` and `proj_attn`, and Stable Diffusion's files still do. All other names stay, and none is lost: a
 * FoveaError if a file has a tensor under both names.
 */
export function renameEarlyAttention<T>(tensors: Record<string, T>, where: string): Record<string, T> {
  const renamed: Record<string, T> = {};
  for (const [name, tensor] of Object.entries(tensors)) {
    const today = name.replace(
      /(\.mid_block\.attentions\.0\.)(query|key|value|proj_attn)(?=\.(?:weight|bias)$)/,
      (_, path, part) => path + EARLY[part],
    );
    if (Object.hasOwn(renamed, today))
      throw new FoveaError(`The autoencoder ${where} has "${today}" under its early name as well; get a good copy.`);
    renamed[today] = tensor;
  }
  return renamed;
}

/** x [B, from, H, W] -> [B, to, H, W]. */
function resnet(p: NamedTensors, name: string, x: Tensor, c: AutoencoderKlConfig): Tensor {
  const lifted = conv(p, `${name}.conv1`, silu(norm(p, `${name}.norm1`, x, c.normNumGroups, EPSILON)));
  const changed = conv(p, `${name}.conv2`, silu(norm(p, `${name}.norm2`, lifted, c.normNumGroups, EPSILON)));
  const kept = `${name}.conv_shortcut.weight` in p ? conv(p, `${name}.conv_shortcut`, x) : x;
  return tf.add(kept, changed);
}

/** Every place attends to every other, with one head of full width: x [B, D, H, W] -> [B, D, H, W]. */
function mix(p: NamedTensors, name: string, x: Tensor, c: AutoencoderKlConfig): Tensor {
  const [b, d, h, w] = x.shape;
  const normed = norm(p, `${name}.group_norm`, x, c.normNumGroups, EPSILON);
  const places = tf.transpose(tf.reshape(normed, [b, d, h * w]), [0, 2, 1]); // [B, HW, D]
  const [q, k, v] = ['to_q', 'to_k', 'to_v'].map((part) =>
    tf.reshape(linear(p, `${name}.${part}`, places), [b, 1, h * w, d]),
  );
  const mixed = linear(p, `${name}.to_out.0`, tf.reshape(attention(q, k, v), [b, h * w, d])); // [B, HW, D]
  return tf.add(x, tf.reshape(tf.transpose(mixed, [0, 2, 1]), x.shape));
}

function middle(p: NamedTensors, name: string, x: Tensor, c: AutoencoderKlConfig): Tensor {
  const y = resnet(p, `${name}.resnets.0`, x, c);
  return resnet(p, `${name}.resnets.1`, c.midBlockAddAttention ? mix(p, `${name}.attentions.0`, y, c) : y, c);
}

/** The Gaussian over latents, before scaling: each [B, C, H / stride, W / stride]. */
export interface Moments {
  mean: Tensor;
  /** Logarithm of the variance, between −30 and 20. */
  logvar: Tensor;
}

/** pixels [B, 3, H, W] in [−1, 1], sides multiples of {@link klStride} -> moments. */
export function encodeKl(p: NamedTensors, pixels: Tensor, c: AutoencoderKlConfig): Moments {
  const last = c.blockOutChannels.length - 1;
  let x = conv(p, 'encoder.conv_in', pixels); // [B, D₀, H, W]
  for (let i = 0; i <= last; i++) {
    const stage = `encoder.down_blocks.${i}`;
    for (let j = 0; j < c.layersPerBlock; j++) x = resnet(p, `${stage}.resnets.${j}`, x, c);
    // Padded at the bottom and right alone, as the halvings were trained.
    if (i < last) x = conv(p, `${stage}.downsamplers.0.conv`, x, { stride: 2, padding: [0, 0, 1, 1] });
  }
  x = middle(p, 'encoder.mid_block', x, c); // [B, D, h, w]
  x = conv(p, 'encoder.conv_out', silu(norm(p, 'encoder.conv_norm_out', x, c.normNumGroups, EPSILON))); // [B, 2C, h, w]
  const [mean, logvar] = tf.split(c.useQuantConv ? conv(p, 'quant_conv', x) : x, 2, 1);
  return { mean, logvar: tf.clipByValue(logvar, -30, 20) };
}

/** What a denoiser sees: (mean + std · noise − shift) · scaling, [B, C, h, w]; the mean itself where noise is null. */
export function latentOf({ mean, logvar }: Moments, noise: Tensor | null, c: AutoencoderKlConfig): Tensor {
  const drawn = noise ? tf.add(mean, tf.mul(tf.exp(tf.mul(logvar, 0.5)), noise)) : mean;
  return tf.mul(tf.sub(drawn, c.shiftFactor), c.scalingFactor);
}

/** Latents as {@link latentOf} gives them [B, C, h, w] -> pixels [B, 3, H, W], about [−1, 1], not clamped. */
export function decodeKl(p: NamedTensors, latents: Tensor, c: AutoencoderKlConfig): Tensor {
  const last = c.blockOutChannels.length - 1;
  const raw = tf.add(tf.div(latents, c.scalingFactor), c.shiftFactor);
  let x = conv(p, 'decoder.conv_in', c.usePostQuantConv ? conv(p, 'post_quant_conv', raw) : raw); // [B, D, h, w]
  x = middle(p, 'decoder.mid_block', x, c);
  for (let i = 0; i <= last; i++) {
    const stage = `decoder.up_blocks.${i}`;
    for (let j = 0; j <= c.layersPerBlock; j++) x = resnet(p, `${stage}.resnets.${j}`, x, c);
    if (i < last) x = conv(p, `${stage}.upsamplers.0.conv`, interpolate(x, { scale: 2 }));
  }
  return conv(p, 'decoder.conv_out', silu(norm(p, 'decoder.conv_norm_out', x, c.normNumGroups, EPSILON)));
}
