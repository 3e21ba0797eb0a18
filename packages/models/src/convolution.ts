// Convolutions and group norms under the names that PyTorch's modules give them: what the autoencoders are made of.

import { type Conv2dOptions, conv2d, groupNorm, type NamedTensors, type Tensor } from '@fovea/tensor';
import { constant, normal, type ParamSpecs } from './params.ts';

/** `${name}.weight` [to, from, kernel, kernel] and `${name}.bias` [to]. */
export function convSpecs(name: string, from: number, to: number, kernel = 3, bias = true): ParamSpecs {
  const weight = normal([to, from, kernel, kernel], 1 / Math.sqrt(from * kernel ** 2));
  return { [`${name}.weight`]: weight, ...(bias && { [`${name}.bias`]: constant([to], 0) }) };
}

/** x [B, from, H, W] -> [B, to, H', W']. An odd kernel keeps height and width unless told otherwise; the bias is optional. */
export function conv(p: NamedTensors, name: string, x: Tensor, options: Conv2dOptions = {}): Tensor {
  const weight = p[`${name}.weight`];
  const padding = Math.floor((weight.shape[2] as number) / 2);
  return conv2d(x, weight, p[`${name}.bias`], { padding, ...options });
}

/** x [B, C, H, W] by groups of channels, with `${name}.weight` and `${name}.bias` [C]. */
export function norm(p: NamedTensors, name: string, x: Tensor, groups: number, epsilon: number): Tensor {
  return groupNorm(x, groups, p[`${name}.weight`], p[`${name}.bias`], epsilon);
}
