// Gradients that tfjs 4.22 gets wrong, registered anew for every engine: maximum, minimum and squaredDifference forget
// to sum over broadcast axes, and cumsum forgets to transpose back and mistakes what `exclusive` and `reverse` undo.

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
