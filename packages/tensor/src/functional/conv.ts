// Convolutions over [B, C, H, W] under PyTorch's names. While recording each is one kernel, and so are its gradients; on
// an eager engine they are composed from tf.conv2d, with dilation as a filter with holes and a transposed convolution as
// an input with holes, because tfjs differentiates neither.

import { TensorError } from '../errors.ts';
import type { ConvAttrs, Pads, Pair } from '../kernels/conv.ts';
import { isRecording } from '../recorder.ts';
import type { Tensor } from '../tf.ts';
import tf from '../tf.ts';
import { runKernel } from './kernel.ts';

export interface Conv2dOptions {
  /** Of both axes, or [height, width]. @default 1 */
  stride?: number | Pair;
  /**
   * Zeros around the input: of all sides, [height, width], or [top, left, bottom, right]. 'valid' is none; 'same' keeps
   * height and width and, as in PyTorch, takes no stride. @default 0
   */
  padding?: number | Pair | Pads | 'same' | 'valid';
  /** Distance between filter taps. @default 1 */
  dilation?: number | Pair;
  /** Channels are convolved in this many separate groups. @default 1 */
  groups?: number;
}

export interface ConvTranspose2dOptions {
  /** @default 1 */
  stride?: number | Pair;
  /** Rows and columns taken off the result's border. @default 0 */
  padding?: number | Pair;
  /** Rows and columns added at the bottom and right; less than the stride. @default 0 */
  outputPadding?: number | Pair;
  /** @default 1 */
  dilation?: number | Pair;
  /** @default 1 */
  groups?: number;
}

export const pairOf = (value: number | Pair): Pair => (typeof value === 'number' ? [value, value] : value);

function padsOf(padding: NonNullable<Conv2dOptions['padding']>, kernel: Pair, stride: Pair, dilation: Pair): Pads {
  if (padding === 'valid') return [0, 0, 0, 0];
  if (padding === 'same') {
    if (stride.some((s) => s !== 1))
      throw new TensorError(`conv2d with padding 'same' takes stride 1, not [${stride}]; give the padding in numbers.`);
    const total = kernel.map((k, i) => dilation[i] * (k - 1));
    const first = total.map((t) => Math.floor(t / 2));
    return [first[0], first[1], total[0] - first[0], total[1] - first[1]];
  }
  if (typeof padding !== 'number' && padding.length === 4) return padding;
  const [h, w] = pairOf(padding);
  return [h, w, h, w];
}

/**
 * 2-D cross-correlation, as torch.nn.functional.conv2d: x [B, C, H, W], w [O, C/groups, kH, kW], bias [O] ->
 * [B, O, Ho, Wo]. Throws a {@link TensorError} that names the shapes where they do not fit.
 */
export function conv2d(x: Tensor, w: Tensor, bias?: Tensor | null, options: Conv2dOptions = {}): Tensor {
  const stride = pairOf(options.stride ?? 1);
  const dilation = pairOf(options.dilation ?? 1);
  const pads = padsOf(options.padding ?? 0, [w.shape[2] as number, w.shape[3] as number], stride, dilation);
  const attrs: ConvAttrs = { stride, pads, dilation, groups: options.groups ?? 1 };
  if (isRecording()) return runKernel('FoveaConv2d', { x, w, bias: bias ?? undefined }, attrs);
  return addBias(composed(x, w, attrs), bias);
}

/**
 * Transposed convolution, as torch.nn.functional.conv_transpose2d: x [B, I, H, W], w [I, O/groups, kH, kW], bias [O] ->
 * [B, O, (H − 1)·stride − 2·padding + dilation·(kH − 1) + outputPadding + 1, …].
 */
export function convTranspose2d(
  x: Tensor,
  w: Tensor,
  bias?: Tensor | null,
  options: ConvTranspose2dOptions = {},
): Tensor {
  const stride = pairOf(options.stride ?? 1);
  const dilation = pairOf(options.dilation ?? 1);
  const [ph, pw] = pairOf(options.padding ?? 0);
  const extra = pairOf(options.outputPadding ?? 0);
  if (extra.some((e, i) => e < 0 || e >= stride[i]))
    throw new TensorError(`convTranspose2d: an outputPadding of [${extra}] must be less than the stride [${stride}].`);
  const attrs: ConvAttrs = { stride, pads: [ph, pw, ph, pw], dilation, groups: options.groups ?? 1 };
  const size = [0, 1].map((i) => {
    const reach = dilation[i] * ((w.shape[2 + i] as number) - 1) + 1;
    return ((x.shape[2 + i] as number) - 1) * stride[i] + reach - 2 * [ph, pw][i] + extra[i];
  });
  if (isRecording()) return addBias(runKernel('FoveaConv2dInputGrad', { dy: x, w }, { ...attrs, size }), bias);
  return addBias(composedTranspose(x, w, attrs, extra), bias);
}

function addBias(y: Tensor, bias?: Tensor | null): Tensor {
  return bias ? tf.add(y, tf.reshape(bias, [1, -1, 1, 1])) : y;
}

/** Spreads the last two axes: `step` − 1 zeros between neighbours. */
function spread(x: Tensor, step: Pair): Tensor {
  if (step.every((s) => s === 1)) return x;
  const [a, b, h, w] = x.shape as number[];
  const cells = tf.reshape(x, [a * b, h, 1, w, 1]);
  const holes = tf.pad(cells, [
    [0, 0],
    [0, 0],
    [0, step[0] - 1],
    [0, 0],
    [0, step[1] - 1],
  ]);
  const grid = tf.reshape(holes, [a, b, h * step[0], w * step[1]]);
  return tf.slice(grid, [0, 0, 0, 0], [a, b, (h - 1) * step[0] + 1, (w - 1) * step[1] + 1]);
}

/** Pads the last two axes; a negative number cuts. */
function padOrCut(x: Tensor, [top, left, bottom, right]: Pads): Tensor {
  const [a, b, h, w] = x.shape as number[];
  const cut = (p: number) => Math.max(0, -p);
  const add = (p: number) => Math.max(0, p);
  const kept = tf.slice(x, [0, 0, cut(top), cut(left)], [a, b, h - cut(top) - cut(bottom), w - cut(left) - cut(right)]);
  return tf.pad(kept, [
    [0, 0],
    [0, 0],
    [add(top), add(bottom)],
    [add(left), add(right)],
  ]);
}

function composed(x: Tensor, w: Tensor, { stride, pads, dilation, groups }: ConvAttrs): Tensor {
  const field = tf.transpose(padOrCut(x, pads), [0, 2, 3, 1]); // [B, H, W, C]
  const filter = tf.transpose(spread(w, dilation), [2, 3, 1, 0]); // [kH, kW, C/g, O]
  const one = (part: Tensor, taps: Tensor) => tf.conv2d(part as never, taps as never, stride, 'valid') as Tensor;
  if (groups === 1) return tf.transpose(one(field, filter), [0, 3, 1, 2]);
  const parts = tf.split(field, groups, 3);
  const taps = tf.split(filter, groups, 3);
  const all = tf.concat(
    parts.map((part, i) => one(part, taps[i])),
    3,
  );
  return tf.transpose(all, [0, 3, 1, 2]);
}

function composedTranspose(x: Tensor, w: Tensor, { stride, pads, dilation, groups }: ConvAttrs, extra: Pair): Tensor {
  const [i, og, kh, kw] = w.shape as number[];
  const grouped = tf.reshape(w, [groups, i / groups, og, kh, kw]);
  const turned = tf.reshape(tf.transpose(grouped, [0, 2, 1, 3, 4]), [groups * og, i / groups, kh, kw]);
  const reach = [kh, kw].map((k, at) => dilation[at] * (k - 1));
  const full = pads.map((p, at) => reach[at % 2] - p + (at >= 2 ? extra[at - 2] : 0)) as Pads;
  const attrs: ConvAttrs = { stride: [1, 1], pads: full, dilation, groups };
  return composed(spread(x, stride), tf.reverse(turned, [2, 3]), attrs);
}

const sizeAttr = (like: Tensor, attrs: unknown) => ({ ...(attrs as ConvAttrs), size: like.shape.slice(2) });

tf.registerGradient({
  kernelName: 'FoveaConv2d',
  inputsToSave: ['x', 'w'],
  gradFunc: (given, [x, w], attrs) => {
    const dy = given as Tensor;
    return {
      x: () => runKernel('FoveaConv2dInputGrad', { dy, w }, sizeAttr(x, attrs)),
      w: () => runKernel('FoveaConv2dFilterGrad', { x, dy }, sizeAttr(w, attrs)),
      bias: () => tf.sum(dy, [0, 2, 3]),
    };
  },
});

tf.registerGradient({
  kernelName: 'FoveaConv2dInputGrad',
  inputsToSave: ['dy', 'w'],
  gradFunc: (given, [dy, w], attrs) => {
    const ddx = given as Tensor;
    return {
      dy: () => runKernel('FoveaConv2d', { x: ddx, w }, attrs),
      w: () => runKernel('FoveaConv2dFilterGrad', { x: ddx, dy }, sizeAttr(w, attrs)),
    };
  },
});

tf.registerGradient({
  kernelName: 'FoveaConv2dFilterGrad',
  inputsToSave: ['x', 'dy'],
  gradFunc: (given, [x, dy], attrs) => {
    const ddw = given as Tensor;
    return {
      x: () => runKernel('FoveaConv2dInputGrad', { dy, w: ddw }, sizeAttr(x, attrs)),
      dy: () => runKernel('FoveaConv2d', { x, w: ddw }, attrs),
    };
  },
});
