// DEEM's second way into the U-Net: the encoder's feature maps, from fine to coarse, enter every skip and the middle by
// deformable attention (Zhu et al. 2021; DEEM's MMFSNet) behind a 1×1 convolution that starts at zero. The condition is
// then no bottleneck: a 64 × 64 map tells the denoiser the picture. Off by default.
//
// One picture a sequence, so MMFS's position between pictures, its ignore token (zeros) and the outputs that only scale the
// latter are left out; what remains of them is a one in the softmax's denominator.

import { FoveaError } from '@fovea/artifacts';
import { checkpoint, conv2d, layerNorm, type NamedTensors, type Tensor, tf } from '@fovea/tensor';
import { projectionSpecs } from './adaln.ts';
import type { EncoderOutput } from './encoder.ts';
import { constant, layerNormSpecs, linear, normal, type ParamSpecs } from './params.ts';
import { gridPositions } from './perceiver.ts';

export interface DenseSkipConfig {
  /** Channels of the encoder's maps from fine to coarse. */
  mapChannels: number[];
  /** Of the encoder's pooled vector. */
  pooledWidth: number;
  /** Width that all maps are brought to, and of the attention. */
  width: number;
  heads: number;
  points: number;
  /** Channels of each of the U-Net's skips, from first to last, then of its middle. */
  queryWidths: number[];
}

/** DEEM's: CLIP-ConvNeXt-B and Stable Diffusion 2.1. */
export const DENSE_SKIP: DenseSkipConfig = {
  mapChannels: [128, 256, 512, 1024],
  pooledWidth: 1024,
  width: 1024,
  heads: 16,
  points: 8,
  queryWidths: [320, 320, 320, 320, 640, 640, 640, 1280, 1280, 1280, 1280, 1280, 1280],
};

/** Sides of the grids that positions are made for: of the maps and of the U-Net's skips. */
const MAP_GRID = 16;
const SKIP_GRID = 64;
/** Start of the sampling points: up to a pixel of the skip away. */
const OFFSET_STD = 1 / Math.sqrt(3);

const ADAPTER = (level: number) => `adapter_c${level + 2}`;
const BLOCK = (name: string, i: number, last: number) =>
  i < last ? `${name}.mmfs_down_blocks.${i}` : `${name}.mmfs_mid_block`;

/** adapter_c2 … adapter_c5 and adapter_cls. */
export function adapterSpecs(name: string, c: DenseSkipConfig): ParamSpecs {
  const maps = c.mapChannels.map((channels, level) => projectionSpecs(`${name}.${ADAPTER(level)}`, channels, c.width));
  return Object.assign({}, ...maps, projectionSpecs(`${name}.adapter_cls`, c.pooledWidth, c.width));
}

/**
 * An encoder's maps at one width, from fine to coarse [B, H · W, D] each, and the tokens that DEEM's Q-Former reads: the pooled
 * vector, then the map before the last, [B, 1 + N, D]. Throws a {@link FoveaError} on an encoder without maps.
 */
export function adaptMaps(p: NamedTensors, name: string, output: EncoderOutput): { tokens: Tensor; maps: Tensor[] } {
  if (!output.maps || output.maps.length < 2)
    throw new FoveaError(
      "DEEM's adapters read an encoder's feature maps, and this encoder has none; take one with maps, such as ConvNeXt.",
    );
  const maps = output.maps.map((map, level) => {
    const [b, channels, h, w] = map.shape;
    const rows = tf.transpose(tf.reshape(map, [b, channels, h * w]), [0, 2, 1]);
    return linear(p, `${name}.${ADAPTER(level)}`, rows);
  });
  const cls = tf.expandDims(linear(p, `${name}.adapter_cls`, output.pooled), 1) as Tensor; // [B, 1, D]
  return { tokens: tf.concat([cls, maps[maps.length - 2]], 1), maps };
}

function blockSpecs(name: string, query: number, c: DenseSkipConfig): ParamSpecs {
  const samples = c.heads * c.points;
  return {
    ...layerNormSpecs(`${name}.query_norm`, query),
    ...layerNormSpecs(`${name}.feat_norm`, c.width),
    ...projectionSpecs(`${name}.mmfs.dynamic_offset_mask`, query, query),
    [`${name}.mmfs.sampling_offsets.weight`]: constant([2 * samples, query], 0),
    [`${name}.mmfs.sampling_offsets.bias`]: normal([2 * samples], OFFSET_STD),
    ...projectionSpecs(`${name}.mmfs.attention_weights`, query, samples * c.mapChannels.length),
    ...projectionSpecs(`${name}.mmfs.value_proj`, c.width, c.width),
    ...projectionSpecs(`${name}.mmfs.output_proj`, c.width, query),
    [`${name}.conv.weight`]: constant([query, query, 1, 1], 0),
    [`${name}.conv.bias`]: constant([query], 0),
  };
}

export function denseSkipSpecs(name: string, c: DenseSkipConfig): ParamSpecs {
  const last = c.queryWidths.length - 1;
  return Object.assign({}, ...c.queryWidths.map((query, i) => blockSpecs(BLOCK(name, i, last), query, c)));
}

/**
 * What is added to the U-Net's skips and middle, features [B, C, S, S] each, the middle last, given the adapted maps
 * (squares) of {@link adaptMaps}. At the start exactly zero. Throws a {@link FoveaError} on features of other channels.
 */
export function denseSkips(
  p: NamedTensors,
  name: string,
  features: readonly Tensor[],
  maps: readonly Tensor[],
  c: DenseSkipConfig,
): Tensor[] {
  const last = c.queryWidths.length - 1;
  if (features.some((feature, i) => feature.shape[1] !== c.queryWidths[i]) || features.length !== last + 1)
    throw new FoveaError(
      `The dense skips take features of ${c.queryWidths} channels, not ${features.map((x) => x.shape[1])}; give the U-Net's skips and its middle.`,
    );
  const placed = maps.map((map) => tf.add(map, gridPositions(c.width, sideOf(map), MAP_GRID)) as Tensor);
  return features.map((feature, i) => {
    const block = BLOCK(name, i, last);
    return checkpoint((x: Tensor, ...levels: Tensor[]) => denseSkip(p, block, x, levels, c))(feature, ...placed);
  });
}

const sideOf = (map: Tensor) => Math.round(Math.sqrt(map.shape[1] as number));

/** One block: feature [B, C, S, S] and maps [B, S · S, D] -> what is added to the feature. */
export function denseSkip(
  p: NamedTensors,
  name: string,
  feature: Tensor,
  maps: readonly Tensor[],
  c: DenseSkipConfig,
): Tensor {
  const [b, channels, h, w] = feature.shape;
  const rows = tf.transpose(tf.reshape(feature, [b, channels, h * w]), [0, 2, 1]); // [B, Q, C]
  const normed = layerNorm(rows, p[`${name}.query_norm.weight`], p[`${name}.query_norm.bias`], 1e-6);
  const query = linear(p, `${name}.mmfs.dynamic_offset_mask`, tf.add(normed, gridPositions(channels, h, SKIP_GRID)));
  const points = samplingPoints(linear(p, `${name}.mmfs.sampling_offsets`, query), h, w, c); // [B·H, Q, P, 2]
  const weights = samplingWeights(linear(p, `${name}.mmfs.attention_weights`, query), maps.length, c);
  const sampled = maps.map((map, level) => {
    const feat = layerNorm(map, p[`${name}.feat_norm.weight`], p[`${name}.feat_norm.bias`], 1e-6);
    const value = headsFirst(linear(p, `${name}.mmfs.value_proj`, feat), c.heads); // [B·H, S·S, D / H]
    return deformableSample(value, points, weights[level]); // [B·H, Q, D / H]
  });
  const sum = tf.reshape(
    sampled.reduce((x, y) => tf.add(x, y)),
    [b, c.heads, h * w, -1],
  );
  const joined = tf.reshape(tf.transpose(sum, [0, 2, 1, 3]), [b, h * w, c.width]);
  const out = tf.transpose(linear(p, `${name}.mmfs.output_proj`, joined), [0, 2, 1]); // [B, C, Q]
  return conv2d(tf.reshape(out, feature.shape), p[`${name}.conv.weight`], p[`${name}.conv.bias`]);
}

/** [B, T, heads · D] -> [B · heads, T, D]. */
function headsFirst(x: Tensor, heads: number): Tensor {
  const [b, t, d] = x.shape;
  const split = tf.transpose(tf.reshape(x, [b, t, heads, d / heads]), [0, 2, 1, 3]);
  return tf.reshape(split, [b * heads, t, d / heads]);
}

/** Offsets [B, Q, heads · points · 2] in pixels of the feature, from each pixel's centre -> x, y in [0, 1], [B · heads, Q, points, 2]. */
function samplingPoints(offsets: Tensor, height: number, width: number, { heads, points }: DenseSkipConfig): Tensor {
  const split = tf.reshape(headsFirst(offsets, heads), [-1, height * width, points, 2]);
  const centres = Float32Array.from({ length: 2 * height * width }, (_, i) => {
    const at = i >> 1;
    return i % 2 === 0 ? ((at % width) + 0.5) / width : (Math.floor(at / width) + 0.5) / height;
  });
  const sides = tf.tensor1d([1 / width, 1 / height]);
  return tf.add(tf.tensor4d(centres, [1, height * width, 1, 2]), tf.mul(split, sides));
}

/** Logits [B, Q, heads · levels · points] -> each level's weights [B · heads, Q, points]; all of a query add up to less than one. */
function samplingWeights(logits: Tensor, levels: number, { heads, points }: DenseSkipConfig): Tensor[] {
  const split = headsFirst(logits, heads); // [B·H, Q, L · P]
  const none = tf.zeros([split.shape[0], split.shape[1] as number, 1]);
  return tf.split(tf.softmax(tf.concat([split, none], 2)), [...Array(levels).fill(points), 1], 2).slice(0, levels);
}

/**
 * Σ over points of weight · value at the point, bilinear between pixel centres and zero outside, as
 * torch.nn.functional.grid_sample with align_corners false: value [N, S · S, D], points [N, Q, P, 2] as x, y in [0, 1], weights
 * [N, Q, P] -> [N, Q, D]. The gradient looks the corners up again instead of keeping them.
 */
export function deformableSample(value: Tensor, points: Tensor, weights: Tensor): Tensor {
  const sample = tf.customGrad((...args: unknown[]) => {
    const [v, at, w] = args as Tensor[];
    const save = args[3] as (tensors: Tensor[]) => void;
    save([v, at, w]);
    const parts = cornersOf(v, at).map((corner) => blend(corner.rows(v), tf.mul(w, corner.share)));
    return {
      value: parts.reduce((x, y) => tf.add(x, y)) as never,
      gradFunc: (dy: unknown, saved: unknown) => sampleGrads(dy as Tensor, saved as Tensor[]) as never,
    };
  });
  return sample(value as never, points as never, weights as never) as Tensor;
}

/** rows [N, Q, P, D] under weights [N, Q, P] -> [N, Q, D]. */
function blend(rows: Tensor, weights: Tensor): Tensor {
  const [n, q, points, d] = rows.shape;
  const flat = tf.matMul(tf.reshape(weights, [n * q, 1, points]), tf.reshape(rows, [n * q, points, d]));
  return tf.reshape(flat, [n, q, d]);
}

/** One of the four pixels around every point. */
interface Corner {
  /** Its share of the point, zero outside the map, and how that changes along x and y, in pixels: [N, Q, P] each. */
  share: Tensor;
  byX: Tensor;
  byY: Tensor;
  /** Row of the value, all maps after each other: [N · Q · P]. */
  ids: Tensor;
  rows: (value: Tensor) => Tensor;
}

function cornersOf(value: Tensor, points: Tensor): Corner[] {
  const [n, size, d] = value.shape as number[];
  const side = sideOf(value);
  const [, q, p] = points.shape as number[];
  const [x, y] = tf.split(tf.sub(tf.mul(points, side), 0.5), 2, 3).map((axis) => tf.reshape(axis, [n, q, p]));
  const [left, top] = [tf.floor(x), tf.floor(y)];
  const [fx, fy] = [tf.sub(x, left), tf.sub(y, top)];
  const starts = tf.tensor3d(
    Int32Array.from({ length: n }, (_, i) => i * size),
    [n, 1, 1],
    'int32',
  );
  return [0, 1, 2, 3].map((corner) => {
    const [right, below] = [corner % 2 === 1, corner > 1];
    const [column, row] = [tf.add(left, right ? 1 : 0), tf.add(top, below ? 1 : 0)];
    const [wx, wy] = [right ? fx : tf.sub(1, fx), below ? fy : tf.sub(1, fy)];
    const inside = tf.mul(insideOf(column, side), insideOf(row, side));
    const clip = (at: Tensor) => tf.clipByValue(at, 0, side - 1);
    const pixel = tf.cast(tf.add(tf.mul(clip(row), side), clip(column)), 'int32');
    const ids = tf.reshape(tf.add(pixel, starts), [-1]);
    return {
      share: tf.mul(inside, tf.mul(wx, wy)),
      byX: tf.mul(inside, right ? wy : tf.neg(wy)),
      byY: tf.mul(inside, below ? wx : tf.neg(wx)),
      ids,
      rows: (v) => tf.reshape(tf.gather(tf.reshape(v, [n * size, d]), ids as never), [n, q, p, d]),
    };
  });
}

const insideOf = (at: Tensor, side: number): Tensor =>
  tf.cast(tf.logicalAnd(tf.greaterEqual(at, 0), tf.lessEqual(at, side - 1)), 'float32');

/** Gradients by value, points and weights. */
function sampleGrads(dy: Tensor, [value, points, weights]: Tensor[]): Tensor[] {
  const [n, size, d] = value.shape as number[];
  const [, q, p] = weights.shape as number[];
  const add = (x: Tensor | null, y: Tensor): Tensor => (x === null ? y : tf.add(x, y));
  let [byValue, byX, byY, byWeight]: (Tensor | null)[] = [null, null, null, null];
  for (const corner of cornersOf(value, points)) {
    const rows = tf.reshape(corner.rows(value), [n * q, p, d]);
    const dot = tf.reshape(tf.matMul(rows, tf.reshape(dy, [n * q, d, 1])), [n, q, p]);
    const share = tf.reshape(tf.mul(weights, corner.share), [n, q, p, 1]);
    const update = tf.reshape(tf.mul(share, tf.expandDims(dy, 2)), [n * q * p, d]);
    byValue = add(byValue, tf.unsortedSegmentSum(update, corner.ids as never, n * size));
    byX = add(byX, tf.mul(dot, corner.byX));
    byY = add(byY, tf.mul(dot, corner.byY));
    byWeight = add(byWeight, tf.mul(dot, corner.share));
  }
  const scaled = [byX, byY].map((slope) => tf.mul(tf.mul(slope as Tensor, weights), sideOf(value)));
  return [tf.reshape(byValue as Tensor, value.shape), tf.stack(scaled, 3), byWeight as Tensor];
}
