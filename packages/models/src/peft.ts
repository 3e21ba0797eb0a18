// LoRA adapters in the files of PEFT (huggingface/peft): a folder with `adapter_config.json` and
// `adapter_model.safetensors`. Only plain LoRA on linear layers; of the many variants that the same files can describe,
// whatever would change what the adapter computes is refused by its name. An adapter that is read names its layers
// itself, by its tensors: a regular expression in the file is kept out of our matcher.

import path from 'node:path';
import { encodeSafetensors, FoveaError, ParamStore } from '@fovea/artifacts';
import { z } from 'zod';
import { readConfig, size } from './config.ts';
import { readJsonFile } from './json-file.ts';
import type { LoraConfig } from './lora.ts';
import type { Weights } from './params.ts';

export const ADAPTER_CONFIG = 'adapter_config.json';
export const ADAPTER_MODEL = 'adapter_model.safetensors';
const PREFIX = 'base_model.model.';
const MAX_CONFIG = 1_000_000;

/** Starts that leave the base weights alone; PiSSA, OLoRA, LoftQ and CorDA change them, and the file is only the difference. */
const STARTS = z.union([z.boolean(), z.enum(['gaussian', 'eva', 'orthogonal'])]);

/** Fields that say where an adapter came from, or how it found its layers, which its tensors name: read over. */
const PROVENANCE = [
  ...['task_type', 'auto_mapping', 'peft_version', 'revision', 'inference_mode', 'megatron_core', 'megatron_config'],
  ...['target_modules', 'exclude_modules', 'layers_to_transform', 'layers_pattern'],
  ...['loftq_config', 'eva_config', 'corda_config', 'lora_ga_config', 'qalora_group_size'],
];

const off = z
  .union([z.null(), z.literal(false), z.tuple([]), z.strictObject({})], { error: 'it is not supported; leave it off' })
  .optional();

const SCHEMA = z
  .object({
    peft_type: z.literal('LORA'),
    r: size,
    lora_alpha: z.number().positive(),
    lora_dropout: z.number().min(0).max(1).default(0),
    use_rslora: z.boolean().default(false),
    bias: z.literal('none').default('none'),
    init_lora_weights: STARTS.default(true),
    base_model_name_or_path: z.string().nullish(),
    ...Object.fromEntries(PROVENANCE.map((name) => [name, z.unknown().optional()])),
  })
  .catchall(off);

export interface PeftConfig extends LoraConfig {
  /** What the adapter was trained on, as its maker named it. */
  baseModel: string | null;
}

/** From an adapter_config.json; `targets` is left for the adapter's tensors to say. */
export function readPeftConfig(json: unknown, where: string): PeftConfig {
  const c = readConfig(SCHEMA, json, where);
  return {
    rank: c.r,
    alpha: c.lora_alpha,
    rslora: c.use_rslora,
    dropout: c.lora_dropout,
    baseModel: c.base_model_name_or_path ?? null,
  };
}

export interface Adapter {
  config: PeftConfig;
  /** `<layer>.lora_A.weight` [rank, in] and `<layer>.lora_B.weight` [out, rank]. */
  weights: Weights;
}

/**
 * Reads an adapter folder for the model `base`, a record by its parameters' names. A FoveaError if a file is missing, a
 * pickle or broken, describes more than plain LoRA, lacks half of a pair, or does not fit the model.
 */
export async function readAdapter(folder: string, base: Record<string, { shape: number[] }>): Promise<Adapter> {
  const file = path.join(folder, ADAPTER_CONFIG);
  const config = readPeftConfig(readAdapterConfig(file), `"${file}"`);
  const store = await ParamStore.open(folder);
  const weights: Weights = {};
  const layers = new Set<string>();
  const copies = await store.copy(store.tensors.keys());
  for (const [stored, { shape, data }] of Object.entries(copies)) {
    const [, layer, side] = stored.match(/^base_model\.model\.(.+)\.lora_([AB])\.weight$/) ?? [];
    if (layer === undefined)
      throw new FoveaError(
        `The adapter ${folder} holds "${stored}", which is no LoRA weight of a linear layer; only plain LoRA can be read.`,
      );
    const [outputs, inputs] = (Object.hasOwn(base, `${layer}.weight`) && base[`${layer}.weight`].shape) || [];
    if (inputs === undefined)
      throw new FoveaError(
        `The adapter ${folder} adapts "${layer}", which the model does not have; give its base model.`,
      );
    const wanted = side === 'A' ? [config.rank, inputs] : [outputs, config.rank];
    if (shape.join() !== wanted.join())
      throw new FoveaError(
        `The adapter ${folder} has "${stored}" as [${shape}], and the model and rank ${config.rank} need [${wanted}]; give its base model.`,
      );
    layers.add(layer);
    weights[stored.slice(PREFIX.length)] = { shape, data };
  }
  for (const layer of layers) {
    const missing = ['A', 'B'].find((side) => !Object.hasOwn(weights, `${layer}.lora_${side}.weight`));
    if (missing)
      throw new FoveaError(`The adapter ${folder} lacks lora_${missing} of "${layer}"; get a good copy of it.`);
  }
  if (layers.size === 0) throw new FoveaError(`The adapter ${folder} holds no tensors; get a good copy of it.`);
  return { config: { ...config, targets: [...layers].sort() }, weights };
}

function readAdapterConfig(file: string): unknown {
  const fail = (why: string): never => {
    throw new FoveaError(
      `The adapter's configuration "${file}" cannot be read: ${why}; give a folder that PEFT saved.`,
    );
  };
  const limits = { most: MAX_CONFIG, kind: 'configuration', fail: (why: string) => fail(`it ${why}`) };
  return readJsonFile(file, limits) ?? fail('ENOENT, no such file');
}

/** The configuration that PEFT reads back, for the layers that `layers` names. */
export function peftConfig(config: LoraConfig & { baseModel?: string | null }, layers: string[]): object {
  return {
    peft_type: 'LORA',
    task_type: null,
    base_model_name_or_path: config.baseModel ?? null,
    inference_mode: true,
    r: config.rank,
    lora_alpha: config.alpha,
    lora_dropout: config.dropout ?? 0,
    use_rslora: config.rslora ?? false,
    bias: 'none',
    fan_in_fan_out: false,
    init_lora_weights: true,
    modules_to_save: null,
    target_modules: layers,
  };
}

/** The two files of an adapter whose tensors are named `<layer>.lora_A.weight` and `<layer>.lora_B.weight`. */
export function adapterFiles({
  config,
  weights,
}: {
  config: LoraConfig & { baseModel?: string | null };
  weights: Weights;
}): { name: string; bytes: Uint8Array }[] {
  const layers = new Set(Object.keys(weights).map((name) => name.replace(/\.lora_[AB]\.weight$/, '')));
  const tensors = new Map(Object.entries(weights).map(([name, tensor]) => [PREFIX + name, tensor]));
  const json = JSON.stringify(peftConfig(config, [...layers].sort()), null, 2);
  return [
    { name: ADAPTER_CONFIG, bytes: new TextEncoder().encode(`${json}\n`) },
    { name: ADAPTER_MODEL, bytes: encodeSafetensors(tensors, { metadata: { format: 'pt' } }) },
  ];
}
