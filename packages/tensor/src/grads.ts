// Named gradients. tfjs differentiates positional lists; models here speak of parameters by name.

import { endForward } from './recorder.ts';
import type { NamedTensors, Tensor } from './tf.ts';
import tf from './tf.ts';

export interface GradResult {
  /** What was differentiated: a scalar. */
  value: Tensor;
  /** One gradient per parameter, under its name. */
  grads: NamedTensors;
  /** Whatever else `fn` reported. */
  aux: NamedTensors;
  /** Parameters that `fn` does not use, whose gradients are therefore zero. */
  unused: string[];
}

/**
 * Value and gradients of a scalar function of named parameters. A parameter that `fn` does not use gets a zero
 * gradient. Nothing is computed for tensors that `fn` closes over: frozen means frozen.
 */
export function valueAndGrads(
  fn: (params: NamedTensors) => { value: Tensor; aux?: NamedTensors },
  params: NamedTensors,
): GradResult {
  const names = Object.keys(params);
  const aux: NamedTensors = {};
  const used = (...tensors: Tensor[]): Tensor => {
    const given = Object.fromEntries(names.map((name, i) => [name, tensors[i]]));
    const result = fn(given);
    for (const [name, tensor] of Object.entries(result.aux ?? {})) aux[name] = tf.keep(tensor);
    endForward(tensors);
    return result.value;
  };
  const xs = names.map((name) => params[name]);
  const { value, grads } = tf.engine().gradients(() => used(...xs) as never, xs as never, undefined, true);
  return {
    value,
    grads: Object.fromEntries(names.map((name, i) => [name, grads[i] ?? tf.zerosLike(xs[i])])),
    aux,
    unused: names.filter((_, i) => !grads[i]),
  };
}
