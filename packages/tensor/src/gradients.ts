// Gradients that tfjs 4.22 gets wrong or lacks, registered anew for every engine: maximum, minimum and squaredDifference
// forget to sum over broadcast axes, cumsum forgets to transpose back and mistakes what `exclusive` and `reverse` undo,
// convolutions refuse dilation (here they still do on eager engines, whose kernels have none), the average of a padded
// window is differentiated on the CPU as if nothing were padded, resizing confuses height with width and ignores half
// pixels, einsum has none.

import { einsum } from './functional/einsum.ts';
import { runKernel } from './functional/kernel.ts';
import { resizeMatrix } from './kernels/nhwc.ts';
import { isRecording } from './recorder.ts';
import type { Tensor } from './tf.ts';
import tf from './tf.ts';

/** Sums a gradient over the axes along which an operand of this shape was broadcast. */
function unbroadcast(dy: Tensor, shape: number[]): Tensor {
  const lead = dy.rank - shape.length;
  const axes = dy.shape.map((_, i) => i).filter((i) => i < lead || (shape[i - lead] === 1 && dy.shape[i] !== 1));
  return tf.reshape(axes.length > 0 ? tf.sum(dy, axes) : dy, shape);
}

type Pair = (dy: Tensor, a: Tensor, b: Tensor) => [Tensor, Tensor];

function registerPair(kernelName: string, pair: Pair): void {
  tf.unregisterGradient(kernelName);
  tf.registerGradient({
    kernelName,
    inputsToSave: ['a', 'b'],
    gradFunc: (dy, [a, b]) => ({
      a: () => unbroadcast(pair(dy as Tensor, a, b)[0], a.shape),
      b: () => unbroadcast(pair(dy as Tensor, a, b)[1], b.shape),
    }),
  });
}

const where = (mask: Tensor, dy: Tensor) => tf.mul(dy, tf.cast(mask, 'float32'));

registerPair('Maximum', (dy, a, b) => [where(tf.greaterEqual(a, b), dy), where(tf.less(a, b), dy)]);
registerPair('Minimum', (dy, a, b) => [where(tf.lessEqual(a, b), dy), where(tf.greater(a, b), dy)]);
registerPair('SquaredDifference', (dy, a, b) => {
  const slope = tf.mul(dy, tf.mul(2, tf.sub(a, b)));
  return [slope, tf.neg(slope)];
});

tf.unregisterGradient('Cumsum');
tf.registerGradient({
  kernelName: 'Cumsum',
  inputsToSave: ['x'],
  gradFunc: (dy, _saved, attrs) => {
    const { axis, exclusive, reverse } = attrs as unknown as { axis: number; exclusive: boolean; reverse: boolean };
    return { x: () => tf.cumsum(dy as Tensor, axis, exclusive, !reverse) };
  },
});

interface ConvAttrs {
  dilations: number | [number, number];
}

for (const kernelName of ['Conv2D', 'DepthwiseConv2dNative']) {
  const theirs = tf.getGradient(kernelName);
  tf.unregisterGradient(kernelName);
  tf.registerGradient({
    ...theirs,
    gradFunc: (given, saved, attrs) => {
      const dilated = [(attrs as unknown as ConvAttrs).dilations ?? 1].flat().some((d) => d !== 1);
      if (!dilated || !isRecording()) return theirs.gradFunc(given, saved, attrs);
      const dy = given as Tensor;
      const [x, filter] = saved;
      return {
        x: () => runKernel(`${kernelName}BackpropInput`, { dy, filter }, { ...attrs, inputShape: x.shape }),
        filter: () => runKernel(`${kernelName}BackpropFilter`, { x, dy }, { ...attrs, filterShape: filter.shape }),
      };
    },
  });
}

const averaged = tf.getGradient('AvgPool');
tf.unregisterGradient('AvgPool');
tf.registerGradient({
  ...averaged,
  gradFunc: (given, saved, attrs) => {
    if (tf.getBackend() !== 'cpu') return averaged.gradFunc(given, saved, attrs);
    const { filterSize, strides, pad, dimRoundingMode } = attrs as never as Record<string, never>;
    const [kh, kw] = [filterSize, filterSize].flat() as number[];
    const [, h, w] = saved[0].shape as number[];
    const ones = tf.ones([1, h, w, 1]) as never;
    const count = tf.conv2d(ones, tf.ones([kh, kw, 1, 1]) as never, strides, pad, 'NHWC', 1, dimRoundingMode);
    return averaged.gradFunc(tf.div(tf.mul(given as Tensor, kh * kw), count), saved, attrs);
  },
});

for (const kernelName of ['ResizeBilinear', 'ResizeNearestNeighbor']) {
  tf.unregisterGradient(kernelName);
  tf.registerGradient({
    kernelName,
    inputsToSave: ['images'],
    gradFunc: (given, [images], attrs) => ({
      images: () => {
        const dy = given as Tensor;
        const [b, h, w, c] = images.shape as number[];
        const [, ho, wo] = dy.shape as number[];
        const transposed = (from: number, to: number, x: Tensor) => {
          const weights = resizeMatrix(from, to, kernelName === 'ResizeNearestNeighbor', attrs as object);
          return tf.matMul(tf.tensor3d(weights, [1, to, from]) as never, x as never, true) as Tensor;
        };
        const rows = transposed(h, ho, tf.reshape(dy, [b, ho, wo * c]));
        return tf.reshape(transposed(w, wo, tf.reshape(rows, [b * h, wo, c])), images.shape);
      },
    }),
  });
}

tf.registerGradient({
  kernelName: 'Einsum',
  saveAllInputs: true,
  gradFunc: (dy, saved, attrs) => {
    const [left, result] = (attrs as unknown as { equation: string }).equation.replace(/\s/g, '').split('->');
    const terms = left.split(',');
    const gradient = (at: number) => () => {
      const others = terms.flatMap((term, i) => (i === at ? [] : [{ term, x: saved[i] }]));
      const known = new Set([result, ...others.map(({ term }) => term)].join(''));
      const alone = [...terms[at]].flatMap((label, axis) =>
        known.has(label) ? [] : [{ term: label, x: tf.ones([saved[at].shape[axis] as number]) as Tensor }],
      );
      const operands = [{ term: result, x: dy as Tensor }, ...others, ...alone];
      return einsum(`${operands.map(({ term }) => term).join()}->${terms[at]}`, ...operands.map(({ x }) => x));
    };
    return Object.fromEntries(terms.map((_, i) => [i, gradient(i)]));
  },
});
