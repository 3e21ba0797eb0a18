// Activations with a gradient of their own; composed from tfjs operations on eager engines, as in norm.ts.

import { isRecording } from '../recorder.ts';
import type { Tensor } from '../tf.ts';
import tf from '../tf.ts';

/** x · sigmoid(1.702 x), element-wise (OpenAI CLIP's activation). */
export function quickGelu(x: Tensor): Tensor {
  if (isRecording()) return tf.engine().runKernel('FoveaQuickGelu', { x } as never) as Tensor;
  return tf.mul(x, tf.sigmoid(tf.mul(x, 1.702)));
}

tf.registerGradient({
  kernelName: 'FoveaQuickGelu',
  inputsToSave: ['x'],
  gradFunc: (dy, [x]) => ({
    x: () => tf.engine().runKernel('FoveaQuickGeluGrad', { dy, x } as never) as Tensor,
  }),
});
