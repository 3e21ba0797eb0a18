// EfficientNet-Lite (Tan & Le 2019, and Google's Lite variants): inverted residuals with batch normalisation and ReLU6,
// no squeeze-and-excitation, TensorFlow's SAME padding. Parameter names are those of the PyTorch port whose ImageNet-1k
// weights infra/weights fetches. Batch normalisation runs by its stored statistics, `running_mean` and `running_var`,
// which stand among the parameters and are nothing to train.

import { batchNorm, type Conv2dOptions, conv2d, type NamedTensors, type Tensor, tf } from '@fovea/tensor';
import type { EncoderOutput, EncoderShape, Preprocessing } from './encoder.ts';
import { constant, layerNormSpecs, linear, linearSpecs, normal, type ParamSpecs } from './params.ts';

export interface EfficientNetLiteConfig {
  imageSize: number;
  stem: number;
  stages: { kernel: 3 | 5; stride: 1 | 2; expand: number; width: number; blocks: number }[];
  /** Channels after the last convolution. */
  head: number;
  classes: number;
}

export const EFFICIENTNET_LITE0: EfficientNetLiteConfig = {
  imageSize: 224,
  stem: 32,
  stages: [
    { kernel: 3, stride: 1, expand: 1, width: 16, blocks: 1 },
    { kernel: 3, stride: 2, expand: 6, width: 24, blocks: 2 },
    { kernel: 5, stride: 2, expand: 6, width: 40, blocks: 2 },
    { kernel: 3, stride: 2, expand: 6, width: 80, blocks: 3 },
    { kernel: 5, stride: 1, expand: 6, width: 112, blocks: 3 },
    { kernel: 5, stride: 2, expand: 6, width: 192, blocks: 4 },
    { kernel: 3, stride: 1, expand: 6, width: 320, blocks: 1 },
  ],
  head: 1280,
  classes: 1000,
};

/** (x − 127) / 128 in 8-bit levels, on the middle 7/8 of the picture. */
export const EFFICIENTNET_LITE0_PREPROCESSING: Preprocessing = {
  resize: { shortestEdge: 256 },
  resample: 'bicubic',
  crop: { height: 224, width: 224 },
  mean: [127 / 255, 127 / 255, 127 / 255],
  std: [128 / 255, 128 / 255, 128 / 255],
};

const EPSILON = 1e-3;

interface Block {
  name: string;
  from: number;
  to: number;
  expand: number;
  kernel: number;
  stride: number;
}

function blocksOf(c: EfficientNetLiteConfig): Block[] {
  const blocks: Block[] = [];
  let from = c.stem;
  for (const { kernel, stride, expand, width, blocks: count } of c.stages) {
    for (let i = 0; i < count; i++) {
      const name = `_blocks.${blocks.length}`;
      blocks.push({ name, from, to: width, expand, kernel, stride: i === 0 ? stride : 1 });
      from = width;
    }
  }
  return blocks;
}

const strideOf = (c: EfficientNetLiteConfig): number => c.stages.reduce((product, { stride }) => product * stride, 2);

export function efficientNetLiteShape(c: EfficientNetLiteConfig): EncoderShape {
  const side = Math.ceil(c.imageSize / strideOf(c));
  const imageSize = { height: c.imageSize, width: c.imageSize };
  return { imageSize, patches: side * side, prefix: 0, width: c.head, projection: c.head };
}

/** A convolution without bias, and the batch normalisation after it. */
const convSpecs = (conv: string, bn: string, from: number, to: number, kernel: number): ParamSpecs => ({
  [`${conv}.weight`]: normal([to, from, kernel, kernel], Math.sqrt(2 / (to * kernel * kernel))),
  ...layerNormSpecs(bn, to),
  [`${bn}.running_mean`]: constant([to], 0),
  [`${bn}.running_var`]: constant([to], 1),
});

export function efficientNetLiteSpecs(c: EfficientNetLiteConfig): ParamSpecs {
  const specs = convSpecs('_conv_stem', '_bn0', 3, c.stem, 3);
  const blocks = blocksOf(c);
  for (const { name, from, to, expand, kernel } of blocks) {
    const inner = from * expand;
    if (expand > 1) Object.assign(specs, convSpecs(`${name}._expand_conv`, `${name}._bn0`, from, inner, 1));
    Object.assign(specs, convSpecs(`${name}._depthwise_conv`, `${name}._bn1`, 1, inner, kernel));
    Object.assign(specs, convSpecs(`${name}._project_conv`, `${name}._bn2`, inner, to, 1));
  }
  const last = blocks[blocks.length - 1].to;
  return { ...specs, ...convSpecs('_conv_head', '_bn1', last, c.head, 1), ...linearSpecs('_fc', c.head, c.classes) };
}

/** TensorFlow's SAME: ⌈side / stride⌉ places, the odd row or column of padding below and to the right. */
function samePadding(x: Tensor, kernel: number, stride: number): Conv2dOptions {
  const total = x.shape.slice(2).map((side) => Math.max(0, (Math.ceil(side / stride) - 1) * stride + kernel - side));
  const [top, left] = total.map((pad) => Math.floor(pad / 2));
  return { stride, padding: [top, left, total[0] - top, total[1] - left] };
}

const relu6 = (x: Tensor): Tensor => tf.relu6(x);

/** x -> conv -> batch normalisation. */
function convNorm(p: NamedTensors, conv: string, bn: string, x: Tensor, stride = 1, groups = 1): Tensor {
  const weight = p[`${conv}.weight`];
  const y = conv2d(x, weight, null, { ...samePadding(x, weight.shape[2] as number, stride), groups });
  const [gamma, beta, mean, variance] = ['weight', 'bias', 'running_mean', 'running_var'].map((k) => p[`${bn}.${k}`]);
  return batchNorm(y, gamma, beta, mean, variance, EPSILON);
}

/** x [B, from, H, W] -> [B, to, ⌈H / stride⌉, ⌈W / stride⌉]. */
function invertedResidual(p: NamedTensors, x: Tensor, { name, from, to, expand, stride }: Block): Tensor {
  const wide = expand > 1 ? relu6(convNorm(p, `${name}._expand_conv`, `${name}._bn0`, x)) : x;
  const mixed = relu6(convNorm(p, `${name}._depthwise_conv`, `${name}._bn1`, wide, stride, from * expand));
  const out = convNorm(p, `${name}._project_conv`, `${name}._bn2`, mixed);
  return stride === 1 && from === to ? tf.add(x, out) : out;
}

export interface ClassifierOutput extends EncoderOutput {
  maps: Tensor[];
  /** [B, classes]. */
  logits: Tensor;
}

/**
 * pixels [B, 3, H, W], normalised -> ImageNet-1k logits and features. Tokens are the places of the last convolution's map,
 * without a class token; there is no norm after them and no projection, so `normed` is `hidden` and `embeds` is `pooled`,
 * their mean. `maps` are the blocks' outputs just before each halving, and the last: strides 2, 4, 8, 16 and 32.
 */
export function efficientNetLite(p: NamedTensors, pixels: Tensor, c: EfficientNetLiteConfig): ClassifierOutput {
  let x = relu6(convNorm(p, '_conv_stem', '_bn0', pixels, 2)); // [B, stem, H/2, W/2]
  const maps: Tensor[] = [];
  for (const block of blocksOf(c)) {
    if (block.stride > 1) maps.push(x);
    x = invertedResidual(p, x, block);
  }
  maps.push(x);
  const [b, , h, w] = x.shape;
  const last = relu6(convNorm(p, '_conv_head', '_bn1', x)); // [B, head, h, w]
  const hidden = tf.reshape(tf.transpose(last, [0, 2, 3, 1]), [b, h * w, c.head]) as Tensor; // [B, N, D]
  const pooled = tf.mean(hidden, 1) as Tensor; // [B, D]
  return { hidden, normed: hidden, pooled, embeds: pooled, maps, logits: linear(p, '_fc', pooled) };
}
