// Pooling over [B, C, H, W] under PyTorch's names: kernels of ours while recording, tfjs's own on eager engines.

import type { Pair } from '../kernels/conv.ts';
import type { PoolAttrs } from '../kernels/pool.ts';
import { isRecording } from '../recorder.ts';
import type { Tensor } from '../tf.ts';
import tf from '../tf.ts';
import { pairOf } from './conv.ts';
import { runKernel } from './kernel.ts';
import { separable } from './resize.ts';

export interface PoolOptions {
  /** @default the window's size */
  stride?: number | Pair;
  /** Rows and columns around the input, at most half of the window: −∞ for a maximum, zeros for an average. @default 0 */
  padding?: number | Pair;
}

export interface AvgPoolOptions extends PoolOptions {
  /** Whether the padding's zeros count in the average. @default true */
  countIncludePad?: boolean;
}

function attrsOf(kernel: number | Pair, { stride, padding = 0 }: PoolOptions): PoolAttrs {
  const [h, w] = pairOf(padding);
  return { kernel: pairOf(kernel), stride: pairOf(stride ?? kernel), pads: [h, w, h, w] };
}

/** Applies a tfjs pooling, which is over [B, H, W, C], to x padded by `value`. */
function composed(x: Tensor, { pads }: PoolAttrs, value: number, pool: (x: Tensor) => Tensor): Tensor {
  const padded = tf.pad(
    x,
    [
      [0, 0],
      [0, 0],
      [pads[0], pads[2]],
      [pads[1], pads[3]],
    ],
    value,
  );
  return tf.transpose(pool(tf.transpose(padded, [0, 2, 3, 1])), [0, 3, 1, 2]);
}

/** Maximum of each window, as torch.nn.functional.max_pool2d: x [B, C, H, W] -> [B, C, Ho, Wo]. */
export function maxPool2d(x: Tensor, kernel: number | Pair, options: PoolOptions = {}): Tensor {
  const attrs = attrsOf(kernel, options);
  if (isRecording()) return runKernel('FoveaMaxPool2d', { x }, attrs);
  return composed(x, attrs, -3.4e38, (y) => tf.maxPool(y as never, attrs.kernel, attrs.stride, 'valid') as Tensor);
}

/** Mean of each window, as torch.nn.functional.avg_pool2d: x [B, C, H, W] -> [B, C, Ho, Wo]. */
export function avgPool2d(x: Tensor, kernel: number | Pair, options: AvgPoolOptions = {}): Tensor {
  const attrs = { ...attrsOf(kernel, options), countPadding: options.countIncludePad ?? true };
  if (isRecording()) return runKernel('FoveaAvgPool2d', { x }, attrs);
  const mean = (y: Tensor) =>
    composed(y, attrs, 0, (z) => tf.avgPool(z as never, attrs.kernel, attrs.stride, 'valid') as Tensor);
  return attrs.countPadding ? mean(x) : tf.div(mean(x), mean(tf.onesLike(x)));
}

/** Mean of size[0] × size[1] nearly equal parts, as torch.nn.functional.adaptive_avg_pool2d; size 1 is the global mean. */
export function adaptiveAvgPool2d(x: Tensor, size: number | Pair): Tensor {
  const [rows, columns] = pairOf(size).map((to, i) => {
    const from = x.shape[2 + i] as number;
    const weights = new Float32Array(to * from);
    for (let part = 0; part < to; part++) {
      const first = Math.floor((part * from) / to);
      const end = Math.ceil(((part + 1) * from) / to);
      weights.fill(1 / (end - first), part * from + first, part * from + end);
    }
    return tf.tensor2d(weights, [to, from]);
  });
  return separable(x, rows, columns);
}

tf.registerGradient({
  kernelName: 'FoveaMaxPool2d',
  inputsToSave: ['x'],
  outputsToSave: [false, true],
  gradFunc: (dys, [x, indices]) => ({
    x: () => runKernel('FoveaMaxPool2dGrad', { dy: (dys as Tensor[])[0], indices }, { shape: x.shape }),
  }),
});
tf.registerGradient({
  kernelName: 'FoveaAvgPool2d',
  inputsToSave: ['x'],
  gradFunc: (dy, [x], attrs) => ({
    x: () =>
      runKernel('FoveaAvgPool2dGrad', { dy: dy as Tensor }, { ...(attrs as unknown as PoolAttrs), shape: x.shape }),
  }),
});
