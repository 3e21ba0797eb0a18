// Interpolation of pictures as torch.nn.functional.interpolate does it. It is linear and separable, so in general it is
// one product with a small constant matrix per axis, and its gradient the product with the transposed ones; enlarging by
// whole factors to the nearest pixel, which U-Nets do at full width, has a kernel of its own.

import { TensorError } from '../errors.ts';
import type { Pair } from '../kernels/conv.ts';
import { isRecording } from '../recorder.ts';
import type { Tensor } from '../tf.ts';
import tf from '../tf.ts';
import { pairOf } from './conv.ts';
import { runKernel } from './kernel.ts';

export type InterpolateMode = 'nearest' | 'bilinear' | 'bicubic';

export interface InterpolateOptions {
  /** Output height and width; either this or `scale`. */
  size?: number | Pair;
  /** Factor of height and width; the size is rounded down, and pixels are placed by this factor as in PyTorch. */
  scale?: number | Pair;
  /** @default 'nearest' */
  mode?: InterpolateMode;
  /** Whether the corner pixels' centres, not their outer edges, are matched. @default false */
  alignCorners?: boolean;
  /** Widens the filter where the picture shrinks, as Pillow does; for 'bilinear' and 'bicubic'. @default false */
  antialias?: boolean;
}

const triangle = (t: number) => Math.max(0, 1 - Math.abs(t));

/** Keys' cubic; PyTorch takes a = −0.75, and −0.5 where it antialiases. */
function cubic(t: number, a: number): number {
  const x = Math.abs(t);
  if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

/** One axis: how input and output pixels lie on each other. */
interface Axis {
  from: number;
  to: number;
  /** Input pixels per output pixel. */
  step: number;
}

/** Adds up the weights of one output row; positions beyond the border count for the border pixel. */
function row(out: Float32Array, at: number, from: number, taps: [position: number, weight: number][]): void {
  for (const [position, weight] of taps) out[at * from + Math.min(Math.max(position, 0), from - 1)] += weight;
}

function plainTaps(i: number, { step }: Axis, mode: InterpolateMode, alignCorners: boolean): [number, number][] {
  if (mode === 'nearest') return [[Math.floor(Math.fround(i * Math.fround(step))), 1]];
  const centre = alignCorners ? i * step : (i + 0.5) * step - 0.5;
  const position = mode === 'bilinear' ? Math.max(0, centre) : centre;
  const first = Math.floor(position);
  const offsets = mode === 'bilinear' ? [0, 1] : [-1, 0, 1, 2];
  const weigh = mode === 'bilinear' ? triangle : (t: number) => cubic(t, -0.75);
  return offsets.map((o) => [first + o, weigh(first + o - position)]);
}

function smoothTaps(i: number, { from, step }: Axis, mode: InterpolateMode): [number, number][] {
  const width = Math.max(step, 1);
  const support = (mode === 'bilinear' ? 1 : 2) * width;
  const weigh = mode === 'bilinear' ? triangle : (t: number) => cubic(t, -0.5);
  const centre = step * (i + 0.5);
  const low = Math.max(0, Math.trunc(centre - support + 0.5));
  const high = Math.min(from, Math.trunc(centre + support + 0.5));
  const taps = Array.from({ length: high - low }, (_, k): [number, number] => [
    low + k,
    weigh((low + k - centre + 0.5) / width),
  ]);
  const total = taps.reduce((sum, [, weight]) => sum + weight, 0);
  return taps.map(([position, weight]) => [position, weight / total]);
}

/** The interpolation of one axis as a matrix [to, from]. */
function axisMatrix(axis: Axis, mode: InterpolateMode, { alignCorners, antialias }: InterpolateOptions): Tensor {
  const weights = new Float32Array(axis.to * axis.from);
  for (let i = 0; i < axis.to; i++) {
    const taps = antialias ? smoothTaps(i, axis, mode) : plainTaps(i, axis, mode, alignCorners ?? false);
    row(weights, i, axis.from, taps);
  }
  return tf.tensor2d(weights, [axis.to, axis.from]);
}

function axesOf(x: Tensor, { size, scale, alignCorners }: InterpolateOptions): [Axis, Axis] {
  if ((size === undefined) === (scale === undefined))
    throw new TensorError('interpolate takes either a size or a scale; give exactly one of them.');
  const axis = (i: 0 | 1): Axis => {
    const from = x.shape[2 + i] as number;
    const to = size !== undefined ? pairOf(size)[i] : Math.floor(from * pairOf(scale as number)[i]);
    if (!(to >= 1)) throw new TensorError(`interpolate of [${x.shape}] would leave ${to} pixels; give a larger size.`);
    if (alignCorners) return { from, to, step: to > 1 ? (from - 1) / (to - 1) : 0 };
    return { from, to, step: scale === undefined ? from / to : 1 / pairOf(scale)[i] };
  };
  return [axis(0), axis(1)];
}

/**
 * Resizes x [B, C, H, W] to [B, C, Ho, Wo], as torch.nn.functional.interpolate. Throws a {@link TensorError} where neither
 * or both of size and scale are given.
 */
export function interpolate(x: Tensor, options: InterpolateOptions): Tensor {
  const { mode = 'nearest' } = options;
  if (mode === 'nearest' && (options.alignCorners || options.antialias))
    throw new TensorError("interpolate with mode 'nearest' takes neither alignCorners nor antialias; leave them out.");
  const [rows, columns] = axesOf(x, options);
  const factor = [rows, columns].map(({ from, to }) => to / from);
  const whole = [rows, columns].every(({ from, to, step }) => to % from === 0 && step * to === from);
  if (mode === 'nearest' && whole && isRecording()) return runKernel('FoveaNearest', { x }, { factor });
  const [b, c, h] = x.shape as number[];
  let y = x;
  if (columns.to !== columns.from || columns.step !== 1) {
    const flat = tf.reshape(y, [b * c * h, columns.from]);
    y = tf.matMul(flat as never, axisMatrix(columns, mode, options) as never, false, true);
  }
  if (rows.to !== rows.from || rows.step !== 1) {
    const pictures = tf.reshape(y, [b * c, rows.from, columns.to]);
    y = tf.matMul(tf.expandDims(axisMatrix(rows, mode, options), 0) as never, pictures as never);
  }
  return tf.reshape(y, [b, c, rows.to, columns.to]);
}

tf.registerGradient({
  kernelName: 'FoveaNearest',
  gradFunc: (dy, _saved, attrs) => ({ x: () => runKernel('FoveaNearestGrad', { dy: dy as Tensor }, attrs) }),
});
tf.registerGradient({
  kernelName: 'FoveaNearestGrad',
  gradFunc: (ddx, _saved, attrs) => ({ dy: () => runKernel('FoveaNearest', { x: ddx as Tensor }, attrs) }),
});
