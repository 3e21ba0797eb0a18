// Low-rank adapters (Hu et al. 2022): W + scale · B · A on linear layers. A starts normal and B at zero, so an adapted
// model starts equal to its base. Which layers, and what they are called, follow PEFT; peft.ts reads and writes its files.

import { FoveaError } from '@fovea/artifacts';
import { type NamedTensors, type Tensor, tf } from '@fovea/tensor';
import { constant, normal, type ParamSpecs, type Weights } from './params.ts';

export interface LoraConfig {
  rank: number;
  /** B · A is scaled by alpha / rank. */
  alpha: number;
  /**
   * The linear layers that are adapted, as PEFT's `target_modules`: a regular expression for a layer's whole name; or names, each
   * of which may leave out the beginning (`q_proj` is every layer of that name); or 'all-linear'.
   * @default all in the blocks of a CLIP vision tower
   */
  targets?: string | readonly string[];
  /** Scaled by alpha / √rank instead (Kalajdzievski 2023, rsLoRA). @default false */
  rslora?: boolean;
  /**
   * What an adapter's maker dropped of the input of A. Recorded for PEFT, of no effect on a trained adapter; here adapters are
   * added to the weights, which leaves nothing to drop, so that one with dropout cannot be trained. @default 0
   */
  dropout?: number;
}

const VISION_BLOCKS = 'vision_model\\.encoder\\.layers\\.\\d+\\..*';
export const ALL_LINEAR = 'all-linear';
/** Tables of embeddings have two axes too. */
const TABLE = /(^|\.)(\w*embeddings?|embed_tokens|wte|wpe)$/;
const WEIGHT = /\.weight$/;
const ADAPTER = /\.lora_[AB]\.weight$/;

const baseOf = (name: string) => name.replace(WEIGHT, '');

const scaleOf = ({ rank, alpha, rslora }: LoraConfig) => alpha / (rslora ? Math.sqrt(rank) : rank);

/** Names of a model's linear layers: two-axis weights that are not embeddings. */
export function linearLayers(base: Record<string, { shape: number[] }>): string[] {
  return Object.entries(base)
    .filter(([name, { shape }]) => WEIGHT.test(name) && shape.length === 2 && !ADAPTER.test(name))
    .map(([name]) => baseOf(name))
    .filter((name) => !TABLE.test(name));
}

/** The linear layers that `targets` names; a FoveaError for a target that names none says which there are. */
export function adaptedLayers(
  base: Record<string, { shape: number[] }>,
  targets: LoraConfig['targets'] = VISION_BLOCKS,
): string[] {
  const layers = linearLayers(base);
  const refuse = (target: string): never => {
    const kinds = [...new Set(layers.map((name) => name.slice(name.lastIndexOf('.') + 1)))].sort();
    throw new FoveaError(
      `The LoRA target "${target}" names no linear layer of the model; it has ${layers.length}, called ${kinds.join(', ')} (the first is ${layers[0] ?? 'none'}).`,
    );
  };
  const named = (target: string) => {
    const found = layers.filter((name) => name === target || name.endsWith(`.${target}`));
    return found.length > 0 ? found : refuse(target);
  };
  if (typeof targets !== 'string') {
    const wanted = new Set(targets.length > 0 ? targets.flatMap(named) : refuse(''));
    return layers.filter((name) => wanted.has(name));
  }
  if (targets.toLowerCase() === ALL_LINEAR) return layers.length > 0 ? layers : refuse(targets);
  const pattern = wholeName(targets);
  const found = layers.filter((name) => pattern.test(name));
  return found.length > 0 ? found : refuse(targets);
}

function wholeName(pattern: string): RegExp {
  try {
    return new RegExp(`^(?:${pattern})$`);
  } catch (error) {
    throw new FoveaError(
      `The LoRA target "${pattern}" is no regular expression (${(error as Error).message}); mend it, or list names.`,
    );
  }
}

/** Adapters to train for the layers that `config` names. A FoveaError for a target that names none, and for dropout. */
export function loraSpecs(base: Record<string, { shape: number[] }>, config: LoraConfig): ParamSpecs {
  const { rank, dropout = 0 } = config;
  if (dropout > 0)
    throw new FoveaError(
      `LoRA dropout ${dropout} cannot be trained with, because adapters are added to the weights before they meet an input; set it to 0.`,
    );
  const specs: ParamSpecs = {};
  for (const layer of adaptedLayers(base, config.targets)) {
    const [outputs, inputs] = base[`${layer}.weight`].shape;
    specs[`${layer}.lora_A.weight`] = normal([rank, inputs], 1 / Math.sqrt(inputs));
    specs[`${layer}.lora_B.weight`] = constant([outputs, rank], 0);
  }
  return specs;
}

/** Base parameters with the adapters' product added where there is one. */
export function applyLora(base: NamedTensors, adapters: NamedTensors, config: LoraConfig): NamedTensors {
  const merged: NamedTensors = {};
  for (const [name, weight] of Object.entries(base)) {
    const a = adapters[`${baseOf(name)}.lora_A.weight`];
    const b = adapters[`${baseOf(name)}.lora_B.weight`];
    merged[name] =
      a && b ? tf.add(weight, tf.mul(tf.matMul(b as never, a as never) as Tensor, scaleOf(config))) : weight;
  }
  return merged;
}

/** The same on plain arrays, for scoring and export. Adapter tensors are left out of the result. */
export function mergeLora(weights: Weights, config: LoraConfig): Weights {
  const merged: Weights = {};
  for (const [name, { shape, data }] of Object.entries(weights)) {
    if (ADAPTER.test(name)) continue;
    const a = weights[`${baseOf(name)}.lora_A.weight`]?.data;
    const b = weights[`${baseOf(name)}.lora_B.weight`]?.data;
    merged[name] = { shape, data: a && b ? addProduct(data, shape, b, a, config.rank, scaleOf(config)) : data };
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
