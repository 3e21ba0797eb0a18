// Dynamic loss scaling for fp16 (Micikevicius et al. 2018), by the rule of torch.amp.GradScaler: the loss is multiplied
// by a scale before the backward pass so that small gradients do not round to zero, the gradients are divided by it
// after; where one overflows the step is skipped and the scale halved, and after 2000 good steps it doubles.

import { type NamedTensors, type NumericArray, type Spec, type Tensor, tf } from '@fovea/tensor';

const INIT = 2 ** 16;
const GROWTH = 2;
const BACKOFF = 0.5;
const INTERVAL = 2000;

/** The carried scale, [1], and good steps since it last changed, [1]. */
export const SCALE = 'amp/scale';
export const GOOD_STEPS = 'amp/good';

export const lossScaleSpecs: Record<string, Spec> = {
  [SCALE]: { shape: [1], dtype: 'float32' },
  [GOOD_STEPS]: { shape: [1], dtype: 'float32' },
};

/** The state of a first step. */
export const lossScaleStart = (): Record<string, NumericArray> => ({
  [SCALE]: Float32Array.of(INIT),
  [GOOD_STEPS]: Float32Array.of(0),
});

/** The next state, after a step whose `health` is a scalar that is finite exactly when no gradient overflowed. */
export function nextLossScale(state: NamedTensors, health: Tensor): NamedTensors {
  const good = tf.equal(tf.sub(health, health), 0);
  const steps = tf.add(state[GOOD_STEPS], 1);
  const grows = tf.greaterEqual(steps, INTERVAL);
  const grown = tf.where(grows, tf.mul(state[SCALE], GROWTH), state[SCALE]);
  const counted = tf.where(grows, tf.zerosLike(steps), steps);
  const mask = tf.reshape(good, [1]) as Tensor;
  return {
    [SCALE]: tf.where(mask as never, grown, tf.mul(state[SCALE], BACKOFF)),
    [GOOD_STEPS]: tf.where(mask as never, counted, tf.zerosLike(counted)),
  };
}
