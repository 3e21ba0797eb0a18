// The U-Net of Stable Diffusion 1.x, 2.x and Stable unCLIP (Rombach et al. 2022): residual and transformer blocks with
// cross-attention from fine to coarse and back, every feature map of the way down kept for the way up. Configuration and
// parameter names are those of diffusers' `UNet2DConditionModel`; its SDXL, Kandinsky and DeepFloyd variants are not here.

import { FoveaError } from '@fovea/artifacts';
import { attention, gelu, interpolate, layerNorm, type NamedTensors, silu, type Tensor, tf } from '@fovea/tensor';
import { embedder, timeAngles } from './adaln.ts';
import { conv, convSpecs, norm } from './convolution.ts';
import { layerNormSpecs, linear, linearSpecs, normal, type ParamSpecs, splitHeads } from './params.ts';

export interface UnetConfig {
  /** Sides of the latents that it was trained on; it takes others. */
  sampleSize: number | [number, number] | null;
  inChannels: number;
  outChannels: number;
  /** Whether samples come in [0, 1]. */
  centerInputSample: boolean;
  /** Whether the time features' cosines stand before their sines. */
  flipSinToCos: boolean;
  freqShift: number;
  downBlockTypes: ('CrossAttnDownBlock2D' | 'DownBlock2D')[];
  upBlockTypes: ('CrossAttnUpBlock2D' | 'UpBlock2D')[];
  /** Of each resolution, from fine to coarse. */
  blockOutChannels: number[];
  layersPerBlock: number;
  transformerLayersPerBlock: number;
  /** Of each resolution. */
  heads: number[];
  /** Width of the condition's tokens. */
  crossAttentionDim: number;
  normNumGroups: number;
  normEps: number;
  /** Whether transformers project by a linear layer (2.x), not by a 1×1 convolution (1.x). */
  useLinearProjection: boolean;
  /** Width of the class labels; null without them. */
  classWidth: number | null;
}

/** What is added inside, and the second condition of Stable unCLIP. */
export interface UnetOptions {
  /** [B, classWidth]; needed exactly where the configuration has a class embedding. */
  classLabels?: Tensor;
  /** Added to the feature maps on their way from down to up, in the order of {@link unetSkipShapes}. */
  skipResiduals?: Tensor[];
  /** Added to what the middle block gives. */
  midResidual?: Tensor;
  /** Gives both from the feature maps themselves, the middle's last, as DEEM's dense skips do (dense-skip.ts). */
  residualsOf?: (features: Tensor[]) => Tensor[];
}

/** One resolution on the way down or up, or the middle. */
interface Block {
  name: string;
  width: number;
  /** Channels into each residual block. */
  inputs: number[];
  /** 0 without attention. */
  heads: number;
  /** Whether a convolution to the next resolution ends it. */
  resizes: boolean;
}

/** The blocks in their order. */
function blocksOf(c: UnetConfig): { down: Block[]; mid: Block; up: Block[] } {
  const last = c.blockOutChannels.length - 1;
  const skips = [c.blockOutChannels[0]];
  const down = c.blockOutChannels.map((width, i): Block => {
    const inputs = Array.from({ length: c.layersPerBlock }, (_, j) => (j > 0 ? width : (skips.at(-1) as number)));
    const resizes = i < last;
    skips.push(...inputs.map(() => width), ...(resizes ? [width] : []));
    const heads = c.downBlockTypes[i] === 'DownBlock2D' ? 0 : c.heads[i];
    return { name: `down_blocks.${i}`, width, inputs, heads, resizes };
  });
  const bottom = c.blockOutChannels[last];
  const mid = { name: 'mid_block', width: bottom, inputs: [bottom, bottom], heads: c.heads[last], resizes: false };
  let below = bottom;
  const up = c.upBlockTypes.map((type, i): Block => {
    const width = c.blockOutChannels[last - i];
    const inputs = Array.from(
      { length: c.layersPerBlock + 1 },
      (_, j) => (j > 0 ? width : below) + (skips.pop() as number),
    );
    below = width;
    const heads = type === 'UpBlock2D' ? 0 : c.heads[last - i];
    return { name: `up_blocks.${i}`, width, inputs, heads, resizes: i < last };
  });
  return { down, mid, up };
}

/** [C, H, W] of each feature map from down to up and of the middle, for latents of the given sides. */
export function unetSkipShapes(c: UnetConfig, height: number, width: number): { skips: number[][]; mid: number[] } {
  let sides = [height, width];
  const skips = [[c.blockOutChannels[0], ...sides]];
  for (const block of blocksOf(c).down) {
    for (const _ of block.inputs) skips.push([block.width, ...sides]);
    if (!block.resizes) continue;
    sides = sides.map((side) => Math.ceil(side / 2));
    skips.push([block.width, ...sides]);
  }
  return { skips, mid: skips[skips.length - 1] };
}

const mlpSpecs = (name: string, from: number, to: number): ParamSpecs => ({
  ...linearSpecs(`${name}.linear_1`, from, to),
  ...linearSpecs(`${name}.linear_2`, to, to),
});

function resnetSpecs(name: string, from: number, to: number, time: number): ParamSpecs {
  return {
    ...layerNormSpecs(`${name}.norm1`, from),
    ...convSpecs(`${name}.conv1`, from, to),
    ...linearSpecs(`${name}.time_emb_proj`, time, to),
    ...layerNormSpecs(`${name}.norm2`, to),
    ...convSpecs(`${name}.conv2`, to, to),
    ...(from === to ? {} : convSpecs(`${name}.conv_shortcut`, from, to, 1)),
  };
}

function attendSpecs(name: string, width: number, over: number): ParamSpecs {
  const project = (from: number) => normal([width, from], 1 / Math.sqrt(from));
  return {
    [`${name}.to_q.weight`]: project(width),
    [`${name}.to_k.weight`]: project(over),
    [`${name}.to_v.weight`]: project(over),
    ...linearSpecs(`${name}.to_out.0`, width, width),
  };
}

function transformerSpecs(name: string, width: number, c: UnetConfig): ParamSpecs {
  const project = (part: string) =>
    c.useLinearProjection
      ? linearSpecs(`${name}.${part}`, width, width)
      : convSpecs(`${name}.${part}`, width, width, 1);
  const specs = { ...layerNormSpecs(`${name}.norm`, width), ...project('proj_in'), ...project('proj_out') };
  for (let i = 0; i < c.transformerLayersPerBlock; i++) {
    const layer = `${name}.transformer_blocks.${i}`;
    Object.assign(
      specs,
      layerNormSpecs(`${layer}.norm1`, width),
      attendSpecs(`${layer}.attn1`, width, width),
      layerNormSpecs(`${layer}.norm2`, width),
      attendSpecs(`${layer}.attn2`, width, c.crossAttentionDim),
      layerNormSpecs(`${layer}.norm3`, width),
      linearSpecs(`${layer}.ff.net.0.proj`, width, 8 * width),
      linearSpecs(`${layer}.ff.net.2`, 4 * width, width),
    );
  }
  return specs;
}

export function unetSpecs(c: UnetConfig): ParamSpecs {
  const [first] = c.blockOutChannels;
  const time = 4 * first;
  const { down, mid, up } = blocksOf(c);
  const specs: ParamSpecs = {
    ...convSpecs('conv_in', c.inChannels, first),
    ...mlpSpecs('time_embedding', first, time),
    ...(c.classWidth === null ? {} : mlpSpecs('class_embedding', c.classWidth, time)),
    ...layerNormSpecs('conv_norm_out', first),
    ...convSpecs('conv_out', first, c.outChannels),
  };
  for (const block of [...down, mid, ...up]) {
    const { name, width, inputs, heads } = block;
    const attentions = heads === 0 ? 0 : block === mid ? 1 : inputs.length;
    for (const [j, from] of inputs.entries())
      Object.assign(specs, resnetSpecs(`${name}.resnets.${j}`, from, width, time));
    for (let j = 0; j < attentions; j++) Object.assign(specs, transformerSpecs(`${name}.attentions.${j}`, width, c));
    if (block.resizes) Object.assign(specs, convSpecs(`${name}.${samplerOf(block)}`, width, width));
  }
  return specs;
}

const samplerOf = ({ name }: Block) => `${name.startsWith('down') ? 'downsamplers' : 'upsamplers'}.0.conv`;

/** All that every layer of one pass reads. */
interface Pass {
  p: NamedTensors;
  c: UnetConfig;
  /** Time and class, after the activation: [B, 4·D₀]. */
  signal: Tensor;
  condition: Tensor;
}

/**
 * latents [B, C, H, W], t [B] in 0..999, may be fractional, condition [B, K, crossAttentionDim] -> what the network
 * predicts of the noise, [B, outChannels, H, W]. Throws a {@link FoveaError} where the condition, the class labels or the
 * residuals do not fit the configuration.
 */
export function unet(
  p: NamedTensors,
  latents: Tensor,
  t: Tensor,
  condition: Tensor,
  c: UnetConfig,
  options: UnetOptions = {},
): Tensor {
  checkFit(latents, condition, c, options);
  const { down, mid, up } = blocksOf(c);
  const pass: Pass = { p, c, condition, signal: timeSignal(p, t, c, options.classLabels) };
  const sample = c.centerInputSample ? tf.sub(tf.mul(latents, 2), 1) : latents;
  let x = conv(p, 'conv_in', sample); // [B, D₀, H, W]
  let skips = [x];
  for (const block of down) {
    for (let j = 0; j < block.inputs.length; j++) {
      x = layer(pass, block, j, x); // [B, D, h, w]
      skips.push(x);
    }
    if (!block.resizes) continue;
    x = conv(p, `${block.name}.${samplerOf(block)}`, x, { stride: 2, padding: 1 }); // [B, D, h/2, w/2]
    skips.push(x);
  }
  x = resnet(pass, `${mid.name}.resnets.1`, layer(pass, mid, 0, x));
  const found = options.residualsOf?.([...skips, x]) ?? [];
  const [skipResiduals = found.slice(0, -1), midResidual = found.at(-1)] = [options.skipResiduals, options.midResidual];
  if (midResidual) x = tf.add(x, midResidual);
  if (skipResiduals.length > 0) skips = skips.map((skip, i) => tf.add(skip, skipResiduals[i]));
  for (const block of up) {
    for (let j = 0; j < block.inputs.length; j++) x = layer(pass, block, j, tf.concat([x, skips.pop() as Tensor], 1));
    if (!block.resizes) continue;
    const [height, width] = skips[skips.length - 1].shape.slice(2);
    x = conv(p, `${block.name}.${samplerOf(block)}`, interpolate(x, { size: [height, width] })); // [B, D, 2h, 2w]
  }
  return conv(p, 'conv_out', silu(norm(p, 'conv_norm_out', x, c.normNumGroups, c.normEps)));
}

function checkFit(latents: Tensor, condition: Tensor, c: UnetConfig, options: UnetOptions): void {
  const fits = (what: string, x: Tensor | undefined, wanted: (number | null)[]) => {
    if (x && x.rank === wanted.length && wanted.every((side, i) => side === null || side === x.shape[i])) return;
    const given = x ? `[${x.shape}]` : 'absent';
    const shape = wanted.map((side) => side ?? '*').join();
    throw new FoveaError(
      `The U-Net's ${what} must have the shape [${shape}], and is ${given}; give what fits its configuration.`,
    );
  };
  const [batch, , height, width] = latents.shape;
  fits('input', latents, [null, c.inChannels, null, null]);
  fits('condition', condition, [batch, null, c.crossAttentionDim]);
  const { classLabels, skipResiduals, midResidual } = options;
  if (c.classWidth !== null) fits('class labels', classLabels, [batch, c.classWidth]);
  else if (classLabels) throw new FoveaError('The U-Net has no class embedding; leave the class labels out.');
  const { skips, mid } = unetSkipShapes(c, height, width);
  if (midResidual) fits('residual for the middle block', midResidual, [batch, ...mid]);
  if (!skipResiduals) return;
  if (skipResiduals.length !== skips.length)
    throw new FoveaError(`The U-Net has ${skips.length} skips, not ${skipResiduals.length}; give a residual for each.`);
  for (const [i, residual] of skipResiduals.entries()) fits(`residual for skip ${i}`, residual, [batch, ...skips[i]]);
}

function timeSignal(p: NamedTensors, t: Tensor, c: UnetConfig, classLabels?: Tensor): Tensor {
  const time = embedder(p, 'time_embedding', timeFeatures(t, c)); // [B, 4·D₀]
  return silu(classLabels ? tf.add(time, embedder(p, 'class_embedding', classLabels)) : time);
}

/** Sines and cosines of t [B] at the frequencies of DDPM, -> [B, D₀]. */
function timeFeatures(t: Tensor, c: UnetConfig): Tensor {
  const angles = timeAngles(t, c.blockOutChannels[0], c.freqShift); // [B, D₀ / 2]
  const [sin, cos] = [tf.sin(angles), tf.cos(angles)];
  return tf.concat(c.flipSinToCos ? [cos, sin] : [sin, cos], 1);
}

/** Residual block j of a block, and its transformer where the block has them. */
function layer(pass: Pass, { name, heads }: Block, j: number, x: Tensor): Tensor {
  const y = resnet(pass, `${name}.resnets.${j}`, x);
  return heads > 0 ? transformer(pass, `${name}.attentions.${j}`, y, heads) : y;
}

/** x [B, D, H, W] -> [B, D', H, W]. */
function resnet({ p, c, signal }: Pass, name: string, x: Tensor): Tensor {
  const active = (part: string, y: Tensor) => silu(norm(p, `${name}.${part}`, y, c.normNumGroups, c.normEps));
  const shift = linear(p, `${name}.time_emb_proj`, signal); // [B, D']
  const lifted = conv(p, `${name}.conv1`, active('norm1', x)); // [B, D', H, W]
  const timed = tf.add(lifted, tf.reshape(shift, [...shift.shape, 1, 1]));
  const out = conv(p, `${name}.conv2`, active('norm2', timed));
  return tf.add(`${name}.conv_shortcut.weight` in p ? conv(p, `${name}.conv_shortcut`, x, {}) : x, out);
}

/** Self-attention over the places of x [B, D, H, W], and cross-attention to the condition. */
function transformer({ p, c, condition }: Pass, name: string, x: Tensor, heads: number): Tensor {
  const [b, d, h, w] = x.shape;
  const toTokens = (y: Tensor) => tf.transpose(tf.reshape(y, [b, d, h * w]), [0, 2, 1]); // [B, HW, D]
  const toMap = (y: Tensor) => tf.reshape(tf.transpose(y, [0, 2, 1]), [b, d, h, w]);
  const normed = norm(p, `${name}.norm`, x, c.normNumGroups, 1e-6);
  let y = c.useLinearProjection
    ? linear(p, `${name}.proj_in`, toTokens(normed))
    : toTokens(conv(p, `${name}.proj_in`, normed, {}));
  for (let i = 0; i < c.transformerLayersPerBlock; i++)
    y = transformerBlock(p, `${name}.transformer_blocks.${i}`, y, condition, heads);
  const out = c.useLinearProjection
    ? toMap(linear(p, `${name}.proj_out`, y))
    : conv(p, `${name}.proj_out`, toMap(y), {});
  return tf.add(out, x);
}

/** x [B, T, D] -> [B, T, D]: attention among itself, attention to the condition, gated MLP. */
function transformerBlock(p: NamedTensors, name: string, x: Tensor, condition: Tensor, heads: number): Tensor {
  const norm = (part: string, y: Tensor) => layerNorm(y, p[`${name}.${part}.weight`], p[`${name}.${part}.bias`]);
  const attend = (part: string, y: Tensor, over: Tensor): Tensor => {
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
