// Small distilled autoencoders (Bohan's TAESD family): plain convolutions and residual blocks of one width, no noise.
// Each half is a chain of layers, and a layer's place in it is its name: under `encoder.layers.` and `decoder.layers.`
// in diffusers' `AutoencoderTiny` (TAESD, TAESD3, TAEF1), bare in the makers' own files, which hold one half each
// (TAEF2, whose blocks at the narrow end also pool). Pictures are in [−1, 1] here whatever the file's own range.

import { interpolate, type NamedTensors, type Tensor, tf } from '@fovea/tensor';
import { z } from 'zod';
import { readConfig, size } from './config.ts';
import { conv, convSpecs, norm } from './convolution.ts';
import { layerNormSpecs, type ParamSpecs } from './params.ts';

export interface TinyAutoencoderConfig {
  inChannels: number;
  outChannels: number;
  width: number;
  latentChannels: number;
  /** Blocks per stage, from the picture to the latents; the picture is halved between stages. */
  encoderBlocks: number[];
  /** Blocks per stage, from the latents to the picture. */
  decoderBlocks: number[];
  /** Whether blocks of the stages at the latents' resolution pool. */
  pooled: boolean;
  /** Names as in diffusers' one file, or as in the makers' two. */
  layout: 'diffusers' | 'bare';
  /** A denoiser sees (latent − shift) · scaling. */
  scalingFactor: number;
  shiftFactor: number;
}

/** FLUX.2's latents: 8 pixels each, 32 channels. */
export const TAEF2: TinyAutoencoderConfig = {
  inChannels: 3,
  outChannels: 3,
  width: 64,
  latentChannels: 32,
  encoderBlocks: [1, 3, 3, 3],
  decoderBlocks: [3, 3, 3, 1],
  pooled: true,
  layout: 'bare',
  scalingFactor: 1,
  shiftFactor: 0,
};

const stages = z.array(size).min(1);
const SCHEMA = z
  .object({
    in_channels: size.default(3),
    out_channels: size.default(3),
    encoder_block_out_channels: stages.default([64, 64, 64, 64]),
    decoder_block_out_channels: stages.default([64, 64, 64, 64]),
    act_fn: z.literal('relu').default('relu'),
    upsample_fn: z.literal('nearest').default('nearest'),
    upsampling_scaling_factor: z.literal(2).default(2),
    latent_channels: size.default(4),
    num_encoder_blocks: stages.default([1, 3, 3, 3]),
    num_decoder_blocks: stages.default([3, 3, 3, 1]),
    scaling_factor: z.number().positive().default(1),
    shift_factor: z.number().nullish(),
  })
  .refine((c) => new Set([...c.encoder_block_out_channels, ...c.decoder_block_out_channels]).size === 1, {
    path: ['encoder_block_out_channels'],
    message: 'all widths must be the same, in decoder_block_out_channels too',
  })
  .refine(
    (c) =>
      c.encoder_block_out_channels.length === c.num_encoder_blocks.length &&
      c.decoder_block_out_channels.length === c.num_decoder_blocks.length,
    { path: ['num_encoder_blocks'], message: 'stages and widths must be as many, in the decoder too' },
  );

/** From the config.json of diffusers' `AutoencoderTiny`. */
export function readTinyAutoencoderConfig(json: unknown, where: string): TinyAutoencoderConfig {
  const c = readConfig(SCHEMA, json, where);
  return {
    inChannels: c.in_channels,
    outChannels: c.out_channels,
    width: c.encoder_block_out_channels[0],
    latentChannels: c.latent_channels,
    encoderBlocks: c.num_encoder_blocks,
    decoderBlocks: c.num_decoder_blocks,
    pooled: false,
    layout: 'diffusers',
    scalingFactor: c.scaling_factor,
    shiftFactor: c.shift_factor ?? 0,
  };
}

type Layer =
  | { op: 'conv'; from: number; to: number; stride?: 2; bias?: false }
  | { op: 'block'; pooled: boolean }
  | { op: 'relu' | 'double' | 'bound' };

const blocks = (count: number, pooled: boolean): Layer[] => Array(count).fill({ op: 'block', pooled });

function encoderLayers(c: TinyAutoencoderConfig): Layer[] {
  const last = c.encoderBlocks.length - 1;
  const halve: Layer = { op: 'conv', from: c.width, to: c.width, stride: 2, bias: false };
  return [
    { op: 'conv', from: c.inChannels, to: c.width },
    ...c.encoderBlocks.flatMap((n, i) => [...(i > 0 ? [halve] : []), ...blocks(n, c.pooled && i === last)]),
    { op: 'conv', from: c.width, to: c.latentChannels },
  ];
}

function decoderLayers(c: TinyAutoencoderConfig): Layer[] {
  const enlarge: Layer[] = [{ op: 'double' }, { op: 'conv', from: c.width, to: c.width, bias: false }];
  const chain: Layer[] = [
    { op: 'conv', from: c.latentChannels, to: c.width },
    { op: 'relu' },
    ...c.decoderBlocks.flatMap((n, i) => [...(i > 0 ? enlarge : []), ...blocks(n, c.pooled && i === 0)]),
    { op: 'conv', from: c.width, to: c.outChannels },
  ];
  // The bound has a place in the makers' chain and none in diffusers'.
  return c.layout === 'bare' ? [{ op: 'bound' }, ...chain] : chain;
}

const nameOf = (half: 'encoder' | 'decoder', c: TinyAutoencoderConfig) => (place: number) =>
  c.layout === 'bare' ? `${place}` : `${half}.layers.${place}`;

function blockSpecs(name: string, width: number, pooled: boolean): ParamSpecs {
  return {
    ...Object.assign({}, ...[0, 2, 4].map((i) => convSpecs(`${name}.conv.${i}`, width, width))),
    ...(pooled && {
      ...convSpecs(`${name}.pool.0`, width, 4 * width, 1, false),
      ...layerNormSpecs(`${name}.pool.1`, 4 * width),
      ...convSpecs(`${name}.pool.3`, 4 * width, width, 1, false),
    }),
  };
}

function chainSpecs(layers: Layer[], name: (place: number) => string, width: number): ParamSpecs {
  const specs = layers.map((layer, i) => {
    if (layer.op === 'conv') return convSpecs(name(i), layer.from, layer.to, 3, layer.bias);
    return layer.op === 'block' ? blockSpecs(name(i), width, layer.pooled) : {};
  });
  return Object.assign({}, ...specs);
}

export const tinyEncoderSpecs = (c: TinyAutoencoderConfig): ParamSpecs =>
  chainSpecs(encoderLayers(c), nameOf('encoder', c), c.width);

export const tinyDecoderSpecs = (c: TinyAutoencoderConfig): ParamSpecs =>
  chainSpecs(decoderLayers(c), nameOf('decoder', c), c.width);

/** x [B, D, H, W] -> [B, D, H, W]. */
function block(p: NamedTensors, name: string, x: Tensor, pooled: boolean): Tensor {
  let y = x;
  if (pooled) {
    const wide = norm(p, `${name}.pool.1`, conv(p, `${name}.pool.0`, x), 4, 1e-5); // [B, 4D, H, W]
    y = tf.add(x, conv(p, `${name}.pool.3`, tf.relu(wide)));
  }
  let z = tf.relu(conv(p, `${name}.conv.0`, y));
  z = tf.relu(conv(p, `${name}.conv.2`, z));
  return tf.relu(tf.add(conv(p, `${name}.conv.4`, z), y));
}

const bound = (x: Tensor): Tensor => tf.mul(tf.tanh(tf.div(x, 3)), 3);

function runChain(p: NamedTensors, layers: Layer[], name: (place: number) => string, x: Tensor): Tensor {
  return layers.reduce((y, layer, i) => {
    if (layer.op === 'conv') return conv(p, name(i), y, { stride: layer.stride });
    if (layer.op === 'block') return block(p, name(i), y, layer.pooled);
    if (layer.op === 'double') return interpolate(y, { scale: 2 });
    return layer.op === 'relu' ? tf.relu(y) : bound(y);
  }, x);
}

/** pixels [B, 3, H, W] in [−1, 1], sides multiples of 2 ^ (stages − 1) -> what a denoiser sees [B, C, h, w]. */
export function encodeTiny(p: NamedTensors, pixels: Tensor, c: TinyAutoencoderConfig): Tensor {
  const unit = tf.div(tf.add(pixels, 1), 2);
  const raw = runChain(p, encoderLayers(c), nameOf('encoder', c), unit);
  return tf.mul(tf.sub(raw, c.shiftFactor), c.scalingFactor);
}

/** Latents as {@link encodeTiny} gives them [B, C, h, w] -> pixels [B, 3, H, W], about [−1, 1], not clamped. */
export function decodeTiny(p: NamedTensors, latents: Tensor, c: TinyAutoencoderConfig): Tensor {
  const raw = tf.add(tf.div(latents, c.scalingFactor), c.shiftFactor);
  const unit = runChain(p, decoderLayers(c), nameOf('decoder', c), c.layout === 'bare' ? raw : bound(raw));
  return tf.sub(tf.mul(unit, 2), 1);
}
