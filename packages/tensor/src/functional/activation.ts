// Activations with a gradient of their own; composed from tfjs operations on eager engines, as in norm.ts.

import { isRecording } from '../recorder.ts';
import type { Tensor } from '../tf.ts';
import tf from '../tf.ts';
import { runKernel } from './kernel.ts';

/** x · sigmoid(1.702 x), element-wise (OpenAI CLIP's activation). */
export function quickGelu(x: Tensor): Tensor {
  if (isRecording()) return runKernel('FoveaQuickGelu', { x });
  return tf.mul(x, tf.sigmoid(tf.mul(x, 1.702)));
}

/** x · sigmoid(x), element-wise: torch.nn.functional.silu. */
export function silu(x: Tensor): Tensor {
  if (isRecording()) return runKernel('FoveaSilu', { x });
  return tf.mul(x, tf.sigmoid(x));
}

/** x · Φ(x), element-wise: torch.nn.functional.gelu, exact ('none', by erf) or by its 'tanh' form. */
export function gelu(x: Tensor, approximate: 'none' | 'tanh' = 'none'): Tensor {
  if (isRecording()) return runKernel('FoveaGelu', { x }, { approximate });
  if (approximate === 'none') return tf.mul(tf.mul(x, 0.5), tf.add(tf.erf(tf.mul(x, Math.SQRT1_2)), 1));
  const inner = tf.add(x, tf.mul(tf.mul(x, tf.square(x)), 0.044715));
  return tf.mul(tf.mul(x, 0.5), tf.add(tf.tanh(tf.mul(inner, Math.sqrt(2 / Math.PI))), 1));
}

for (const name of ['FoveaQuickGelu', 'FoveaSilu']) {
  tf.registerGradient({
    kernelName: name,
    inputsToSave: ['x'],
    outputsToSave: [true],
    gradFunc: (dy, [x, y]) => ({ x: () => runKernel(`${name}Grad`, { dy: dy as Tensor, x, y }) }),
  });
}

tf.registerGradient({
  kernelName: 'FoveaGelu',
  inputsToSave: ['x'],
  gradFunc: (dy, [x], attrs) => ({ x: () => runKernel('FoveaGeluGrad', { dy: dy as Tensor, x }, attrs) }),
});
