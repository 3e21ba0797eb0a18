// CLIP-ConvNeXt as open_clip builds it (ConvNeXt: Liu et al. 2022; DEEM's encoder): a timm trunk under `visual.trunk` and
// open_clip's projection under `visual.head`. Names and shapes are those of open_clip's state dict. The text tower beside
// it has the layout of CLIP's: open-clip.ts gives it the names that clip-text.ts reads.

import { conv2d, gelu, layerNorm, type NamedTensors, type Tensor, tf } from '@fovea/tensor';
import { z } from 'zod';
import { readConfig, size } from './config.ts';
import type { EncoderOutput, EncoderShape } from './encoder.ts';
import { constant, layerNormSpecs, linear, linearSpecs, normal, type ParamSpecs } from './params.ts';

/** Four of them, from fine to coarse. */
type Stages = [number, number, number, number];

export interface ConvNextConfig {
  imageSize: { height: number; width: number };
  /** Channels of the four stages, whose strides are 4, 8, 16 and 32. */
  dims: Stages;
  /** Blocks of the four stages. */
  depths: Stages;
  layerNormEps: number;
  /** open_clip's `timm_proj`: one layer, or two with a GELU between. */
  projectionHead: 'linear' | 'mlp';
  projectionBias: boolean;
  /** Width of the shared image–text space. */
  projection: number;
}

const WIDE: Stages = [3, 3, 27, 3];
/** timm's models by name. */
const TRUNKS = {
  convnext_tiny: { dims: [96, 192, 384, 768], depths: [3, 3, 9, 3], layerNormEps: 1e-6 },
  convnext_small: { dims: [96, 192, 384, 768], depths: WIDE, layerNormEps: 1e-6 },
  convnext_base: { dims: [128, 256, 512, 1024], depths: WIDE, layerNormEps: 1e-6 },
  convnext_large: { dims: [192, 384, 768, 1536], depths: WIDE, layerNormEps: 1e-6 },
  convnext_xlarge: { dims: [256, 512, 1024, 2048], depths: WIDE, layerNormEps: 1e-6 },
  convnext_xxlarge: { dims: [384, 768, 1536, 3072], depths: [3, 4, 30, 3], layerNormEps: 1e-5 },
} satisfies Record<string, Pick<ConvNextConfig, 'dims' | 'depths' | 'layerNormEps'>>;

const schema = z.object({
  model_cfg: z.object({
    embed_dim: size,
    vision_cfg: z.object({
      timm_model_name: z.enum(Object.keys(TRUNKS) as [keyof typeof TRUNKS]),
      timm_pool: z.enum(['', 'avg']).default('avg'),
      timm_proj: z.enum(['linear', 'mlp']).default('linear'),
      timm_proj_bias: z.boolean().default(false),
      image_size: z.union([size, z.tuple([size, size])]).default(224),
    }),
  }),
});

/** Reads `open_clip_config.json`. Throws a FoveaError that names `where` and the field for a trunk that is none of these. */
export function readConvNextConfig(json: unknown, where: string): ConvNextConfig {
  const { embed_dim, vision_cfg: vision } = readConfig(schema, json, where).model_cfg;
  const [height, width] = [vision.image_size, vision.image_size].flat();
  return {
    ...TRUNKS[vision.timm_model_name],
    imageSize: { height, width },
    projectionHead: vision.timm_proj,
    projectionBias: vision.timm_proj_bias,
    projection: embed_dim,
  };
}

const TRUNK = 'visual.trunk';
const HEAD = 'visual.head';
const STRIDE = 32;

/** Tokens are those of the coarsest map, behind one that stands for the whole picture. */
export const convNextShape = (c: ConvNextConfig): EncoderShape => ({
  imageSize: c.imageSize,
  patches: Math.floor(c.imageSize.height / STRIDE) * Math.floor(c.imageSize.width / STRIDE),
  prefix: 1,
  width: c.dims[3],
  projection: c.projection,
});

const conv = (name: string, from: number, to: number, kernel: number): ParamSpecs => ({
  [`${name}.weight`]: normal([to, from, kernel, kernel]),
  [`${name}.bias`]: constant([to], 0),
});

const project = (name: string, from: number, to: number, bias: boolean): ParamSpecs =>
  bias ? linearSpecs(name, from, to) : { [`${name}.weight`]: normal([to, from], 1 / Math.sqrt(from)) };

export function convNextSpecs(c: ConvNextConfig): ParamSpecs {
  const last = c.dims[3];
  const specs: ParamSpecs = {
    ...conv(`${TRUNK}.stem.0`, 3, c.dims[0], 4),
    ...layerNormSpecs(`${TRUNK}.stem.1`, c.dims[0]),
    ...layerNormSpecs(`${TRUNK}.head.norm`, last),
  };
  for (const [stage, width] of c.dims.entries()) {
    const name = `${TRUNK}.stages.${stage}`;
    if (stage > 0) {
      Object.assign(specs, layerNormSpecs(`${name}.downsample.0`, c.dims[stage - 1]));
      Object.assign(specs, conv(`${name}.downsample.1`, c.dims[stage - 1], width, 2));
    }
    for (let i = 0; i < c.depths[stage]; i++) Object.assign(specs, blockSpecs(`${name}.blocks.${i}`, width));
  }
  if (c.projectionHead === 'linear')
    return { ...specs, ...project(`${HEAD}.proj`, last, c.projection, c.projectionBias) };
  return {
    ...specs,
    ...linearSpecs(`${HEAD}.mlp.fc1`, last, 2 * c.projection),
    ...project(`${HEAD}.mlp.fc2`, 2 * c.projection, c.projection, c.projectionBias),
  };
}

const blockSpecs = (name: string, width: number): ParamSpecs => ({
  [`${name}.gamma`]: constant([width], 1e-6),
  ...conv(`${name}.conv_dw`, 1, width, 7),
  ...layerNormSpecs(`${name}.norm`, width),
  ...linearSpecs(`${name}.mlp.fc1`, width, 4 * width, 0.02),
  ...linearSpecs(`${name}.mlp.fc2`, 4 * width, width, 0.02),
});

const channelsLast = (x: Tensor): Tensor => tf.transpose(x, [0, 2, 3, 1]);
const channelsFirst = (x: Tensor): Tensor => tf.transpose(x, [0, 3, 1, 2]);

/**
 * pixels [B, 3, H, W], normalised -> the feature maps of all stages and what is pooled from the last.
 * - `maps`: after each stage, [B, dims[i], H / s, W / s] for strides s of 4, 8, 16 and 32.
 * - `hidden`: the mean over the last map, then its pixels row by row, [B, 1 + HW / 32², dims[3]]; `normed` is that after
 *   the head's norm, so that its first token is `pooled`. DEEM's sequence is another: its adapters bring `pooled` and
 *   the tokens of `maps[2]`, which differ in width, to one width and join them.
 * - `pooled`: what timm's head pools, DEEM's class token before its adapter, [B, dims[3]].
 * - `embeds`: after open_clip's projection, [B, projection].
 */
export function convNext(p: NamedTensors, pixels: Tensor, c: ConvNextConfig): EncoderOutput & { maps: Tensor[] } {
  const norm = (name: string, x: Tensor) => layerNorm(x, p[`${name}.weight`], p[`${name}.bias`], c.layerNormEps);
  const maps: Tensor[] = [];
  const stem = conv2d(pixels, p[`${TRUNK}.stem.0.weight`], p[`${TRUNK}.stem.0.bias`], { stride: 4 }); // [B, D₀, H/4, W/4]
  let x = channelsFirst(norm(`${TRUNK}.stem.1`, channelsLast(stem)));
  for (const [stage, depth] of c.depths.entries()) {
    const name = `${TRUNK}.stages.${stage}`;
    if (stage > 0) {
      const normed = channelsFirst(norm(`${name}.downsample.0`, channelsLast(x)));
      x = conv2d(normed, p[`${name}.downsample.1.weight`], p[`${name}.downsample.1.bias`], { stride: 2 });
    }
    for (let i = 0; i < depth; i++) x = block(p, `${name}.blocks.${i}`, x, norm);
    maps.push(x);
  }
  const [b, width, h, w] = x.shape;
  const tokens = tf.reshape(channelsLast(x), [b, h * w, width]); // [B, N, D]
  const hidden = tf.concat([tf.mean(tokens, 1, true), tokens], 1) as Tensor; // [B, 1 + N, D]
  const normed = norm(`${TRUNK}.head.norm`, hidden);
  const pooled = tf.reshape(tf.slice(normed, [0, 0, 0], [b, 1, width]), [b, width]) as Tensor;
  return { hidden, normed, pooled, embeds: projectImage(p, pooled, c), maps };
}

/** x [B, D, H, W] -> the same shape. */
function block(p: NamedTensors, name: string, x: Tensor, norm: (name: string, x: Tensor) => Tensor): Tensor {
  const groups = x.shape[1];
  const mixed = conv2d(x, p[`${name}.conv_dw.weight`], p[`${name}.conv_dw.bias`], { padding: 3, groups }); // [B, D, H, W]
  const hidden = gelu(linear(p, `${name}.mlp.fc1`, norm(`${name}.norm`, channelsLast(mixed)))); // [B, H, W, 4D]
  const out = tf.mul(linear(p, `${name}.mlp.fc2`, hidden), p[`${name}.gamma`]); // [B, H, W, D]
  return tf.add(x, channelsFirst(out));
}

function projectImage(p: NamedTensors, pooled: Tensor, c: ConvNextConfig): Tensor {
  if (c.projectionHead === 'linear') return linear(p, `${HEAD}.proj`, pooled);
  return linear(p, `${HEAD}.mlp.fc2`, gelu(linear(p, `${HEAD}.mlp.fc1`, pooled)));
}
