// A small U-Net as Stable Diffusion's (Rombach et al. 2022): two resolutions of residual and transformer blocks with
// cross-attention, in NCHW, under diffusers' parameter names. It is here to be timed; the product's denoiser is a DiT.

import { layerNormSpecs, linear, linearSpecs, normal, type ParamSpecs, splitHeads } from '@fovea/models';
import {
  attention,
  conv2d,
  gelu,
  groupNorm,
  interpolate,
  layerNorm,
  type NamedTensors,
  silu,
  type Tensor,
  tf,
} from '@fovea/tensor';

export interface UnetConfig {
  /** Of the picture, as of a latent. */
  channels: number;
  /** Of the two resolutions; multiples of 32. */
  widths: [number, number];
  headWidth: number;
  /** Width of the condition's tokens. */
  crossWidth: number;
  groups: number;
}

const conv = (name: string, from: number, to: number, kernel = 3): ParamSpecs => ({
  [`${name}.weight`]: normal([to, from, kernel, kernel], 1 / Math.sqrt(from * kernel * kernel)),
  [`${name}.bias`]: normal([to]),
});

const project = (name: string, from: number, to: number): ParamSpecs => ({
  [`${name}.weight`]: normal([to, from], 1 / Math.sqrt(from)),
});

function resnetSpecs(name: string, from: number, to: number, time: number): ParamSpecs {
  return {
    ...layerNormSpecs(`${name}.norm1`, from),
    ...conv(`${name}.conv1`, from, to),
    ...linearSpecs(`${name}.time_emb_proj`, time, to),
    ...layerNormSpecs(`${name}.norm2`, to),
    ...conv(`${name}.conv2`, to, to),
    ...(from === to ? {} : conv(`${name}.conv_shortcut`, from, to, 1)),
  };
}

function attentionSpecs(name: string, width: number, cross: number): ParamSpecs {
  return {
    ...project(`${name}.to_q`, width, width),
    ...project(`${name}.to_k`, cross, width),
    ...project(`${name}.to_v`, cross, width),
    ...linearSpecs(`${name}.to_out.0`, width, width),
  };
}

function transformerSpecs(name: string, width: number, cross: number): ParamSpecs {
  const block = `${name}.transformer_blocks.0`;
  return {
    ...layerNormSpecs(`${name}.norm`, width),
    ...linearSpecs(`${name}.proj_in`, width, width),
    ...layerNormSpecs(`${block}.norm1`, width),
    ...attentionSpecs(`${block}.attn1`, width, width),
    ...layerNormSpecs(`${block}.norm2`, width),
    ...attentionSpecs(`${block}.attn2`, width, cross),
    ...layerNormSpecs(`${block}.norm3`, width),
    ...linearSpecs(`${block}.ff.net.0.proj`, width, 8 * width),
    ...linearSpecs(`${block}.ff.net.2`, 4 * width, width),
    ...linearSpecs(`${name}.proj_out`, width, width),
  };
}

export function unetSpecs({ channels, widths: [low, high], crossWidth }: UnetConfig): ParamSpecs {
  const time = 4 * low;
  return {
    ...conv('conv_in', channels, low),
    ...linearSpecs('time_embedding.linear_1', low, time),
    ...linearSpecs('time_embedding.linear_2', time, time),
    ...resnetSpecs('down_blocks.0.resnets.0', low, low, time),
    ...transformerSpecs('down_blocks.0.attentions.0', low, crossWidth),
    ...conv('down_blocks.0.downsamplers.0.conv', low, low),
    ...resnetSpecs('down_blocks.1.resnets.0', low, high, time),
    ...transformerSpecs('down_blocks.1.attentions.0', high, crossWidth),
    ...resnetSpecs('mid_block.resnets.0', high, high, time),
    ...transformerSpecs('mid_block.attentions.0', high, crossWidth),
    ...resnetSpecs('mid_block.resnets.1', high, high, time),
    ...resnetSpecs('up_blocks.0.resnets.0', 2 * high, high, time),
    ...transformerSpecs('up_blocks.0.attentions.0', high, crossWidth),
    ...conv('up_blocks.0.upsamplers.0.conv', high, high),
    ...resnetSpecs('up_blocks.1.resnets.0', high + low, low, time),
    ...transformerSpecs('up_blocks.1.attentions.0', low, crossWidth),
    ...layerNormSpecs('conv_norm_out', low),
    ...conv('conv_out', low, channels),
  };
}

/** x [B, C, H, W], t [B] in 0..999, condition [B, K, crossWidth] -> [B, C, H, W]. */
export function unet(p: NamedTensors, x: Tensor, t: Tensor, condition: Tensor, c: UnetConfig): Tensor {
  const at = (name: string, y: Tensor, options = {}) => conv2d(y, p[`${name}.weight`], p[`${name}.bias`], options);
  const norm = (name: string, y: Tensor, epsilon: number) =>
    groupNorm(y, c.groups, p[`${name}.weight`], p[`${name}.bias`], epsilon);

  const resnet = (name: string, y: Tensor): Tensor => {
    const shift = linear(p, `${name}.time_emb_proj`, signal); // [B, D]
    const lifted = at(`${name}.conv1`, silu(norm(`${name}.norm1`, y, 1e-5)), { padding: 1 });
    const timed = tf.add(lifted, tf.reshape(shift, [...shift.shape, 1, 1]));
    const out = at(`${name}.conv2`, silu(norm(`${name}.norm2`, timed, 1e-5)), { padding: 1 });
    return tf.add(`${name}.conv_shortcut.weight` in p ? at(`${name}.conv_shortcut`, y) : y, out);
  };
  const transformer = (name: string, y: Tensor): Tensor => {
    const [b, d, h, w] = y.shape;
    const tokens = tf.transpose(tf.reshape(norm(`${name}.norm`, y, 1e-6), [b, d, h * w]), [0, 2, 1]); // [B, HW, D]
    const mixed = transformerBlock(
      p,
      `${name}.transformer_blocks.0`,
      linear(p, `${name}.proj_in`, tokens),
      condition,
      c,
    );
    const out = tf.transpose(linear(p, `${name}.proj_out`, mixed), [0, 2, 1]);
    return tf.add(tf.reshape(out, [b, d, h, w]), y);
  };
  const both = (block: string, y: Tensor) => transformer(`${block}.attentions.0`, resnet(`${block}.resnets.0`, y));

  const time = linear(p, 'time_embedding.linear_1', timeFeatures(t, c.widths[0]));
  const signal = silu(linear(p, 'time_embedding.linear_2', silu(time))); // [B, D]
  const low = both('down_blocks.0', at('conv_in', x, { padding: 1 })); // [B, D₀, H, W]
  const high = both('down_blocks.1', at('down_blocks.0.downsamplers.0.conv', low, { stride: 2, padding: 1 }));
  const middle = resnet('mid_block.resnets.1', both('mid_block', high)); // [B, D₁, H/2, W/2]
  const up = interpolate(both('up_blocks.0', tf.concat([middle, high], 1)), { scale: 2 });
  const wide = at('up_blocks.0.upsamplers.0.conv', up, { padding: 1 }); // [B, D₁, H, W]
  const last = both('up_blocks.1', tf.concat([wide, low], 1)); // [B, D₀, H, W]
  return at('conv_out', silu(norm('conv_norm_out', last, 1e-5)), { padding: 1 });
}

function transformerBlock(p: NamedTensors, name: string, x: Tensor, condition: Tensor, c: UnetConfig): Tensor {
  const norm = (part: string, y: Tensor) => layerNorm(y, p[`${name}.${part}.weight`], p[`${name}.${part}.bias`]);
  const attend = (part: string, y: Tensor, over: Tensor): Tensor => {
    const heads = (y.shape[2] as number) / c.headWidth;
    const [q, k, v] = [y, over, over].map((z, i) => splitHeads(linear(p, `${name}.${part}.to_${'qkv'[i]}`, z), heads)); // each [B, H, T, D / H]
    const mixed = tf.transpose(attention(q, k, v), [0, 2, 1, 3]); // [B, T, H, D / H]
    return linear(p, `${name}.${part}.to_out.0`, tf.reshape(mixed, y.shape));
  };
  const normed = norm('norm1', x);
  let y = tf.add(x, attend('attn1', normed, normed)); // [B, T, D]
  y = tf.add(y, attend('attn2', norm('norm2', y), condition));
  const [hidden, gate] = tf.split(linear(p, `${name}.ff.net.0.proj`, norm('norm3', y)), 2, 2); // each [B, T, 4D]
  return tf.add(y, linear(p, `${name}.ff.net.2`, tf.mul(hidden, gelu(gate))));
}

/** Sinusoidal features, cosines first, as diffusers with flip_sin_to_cos: [B] -> [B, width]. */
function timeFeatures(t: Tensor, width: number): Tensor {
  const half = width / 2;
  const frequencies = Array.from({ length: half }, (_, i) => Math.exp((-Math.log(10000) * i) / half));
  const angles = tf.mul(tf.reshape(t, [-1, 1]), tf.tensor2d([frequencies])); // [B, width / 2]
  return tf.concat([tf.cos(angles), tf.sin(angles)], 1);
}
