// Low-rank adapters (Hu et al. 2022): W + (alpha / rank) · B · A on the linear layers of the vision tower. A starts
// normal and B at zero, so an adapted model starts equal to its base. Names follow PEFT.

import { type NamedTensors, type Tensor, tf } from '@fovea/tensor';
import { constant, normal, type ParamSpecs, type Weights } from './params.ts';

export interface LoraConfig {
  rank: number;
  alpha: number;
}

const adapts = (name: string, shape: readonly number[]) =>
  /^vision_model\.encoder\.layers\.\d+\..*\.weight$/.test(name) && shape.length === 2;

const baseOf = (name: string) => name.replace(/\.weight$/, '');

/** Adapters for every linear layer of the vision tower's blocks. */
export function loraSpecs(base: Record<string, { shape: number[] }>, { rank }: LoraConfig): ParamSpecs {
  const specs: ParamSpecs = {};
  for (const [name, { shape }] of Object.entries(base)) {
    if (!adapts(name, shape)) continue;
    specs[`${baseOf(name)}.lora_A.weight`] = normal([rank, shape[1]], 1 / Math.sqrt(shape[1]));
    specs[`${baseOf(name)}.lora_B.weight`] = constant([shape[0], rank], 0);
  }
  return specs;
}

/** Base parameters with the adapters' product added where there is one. */
export function applyLora(base: NamedTensors, adapters: NamedTensors, { rank, alpha }: LoraConfig): NamedTensors {
  const merged: NamedTensors = {};
  for (const [name, weight] of Object.entries(base)) {
    const a = adapters[`${baseOf(name)}.lora_A.weight`];
    const b = adapters[`${baseOf(name)}.lora_B.weight`];
    merged[name] = a && b ? tf.add(weight, tf.mul(tf.matMul(b as never, a as never) as Tensor, alpha / rank)) : weight;
  }
  return merged;
}

/** The same on plain arrays, for scoring and export. Adapter tensors are left out of the result. */
export function mergeLora(weights: Weights, { rank, alpha }: LoraConfig): Weights {
  const merged: Weights = {};
  for (const [name, { shape, data }] of Object.entries(weights)) {
    if (/\.lora_[AB]\.weight$/.test(name)) continue;
    const a = weights[`${baseOf(name)}.lora_A.weight`]?.data;
    const b = weights[`${baseOf(name)}.lora_B.weight`]?.data;
    merged[name] = { shape, data: a && b ? addProduct(data, shape, b, a, rank, alpha / rank) : data };
  }
  return merged;
}

function addProduct(
  w: Float32Array,
  [rows, cols]: number[],
  b: Float32Array,
  a: Float32Array,
  rank: number,
  scale: number,
): Float32Array {
  const out = w.slice();
  for (let i = 0; i < rows; i++) {
    for (let k = 0; k < rank; k++) {
      const factor = scale * b[i * rank + k];
      for (let j = 0; j < cols; j++) out[i * cols + j] += factor * a[k * cols + j];
    }
  }
  return out;
}
