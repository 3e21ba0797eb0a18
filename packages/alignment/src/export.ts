// The aligned encoder as files that others load: Hugging Face's CLIPVisionModelWithProjection (model.safetensors,
// config.json, preprocessor_config.json) and one ONNX graph that takes plain RGB. Nothing of the denoiser is in them.

import { mkdir, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { encodeSafetensors, FoveaError } from '@fovea/artifacts';
import { adapterFiles, interpolate, openEncoder, PIXEL_MEAN, PIXEL_STD, pictureConfig, readJson } from '@fovea/models';
import type { BuiltinEncoder, Recipe } from '@fovea/recipe';
import { lowerToOnnx } from '@fovea/tensor';
import { loraOf, recipeLora } from './model.ts';
import { type Networks, openNetworks } from './networks.ts';
import { imageTower } from './subject.ts';
import type { WeightFile } from './weights.ts';

export interface ExportedFile {
  name: string;
  bytes: Uint8Array;
}

/** The files of an export. `batch` is the fixed number of pictures that the ONNX graph takes. */
export async function exportedFiles(
  file: WeightFile,
  { recipe, recipeDir }: { recipe: Recipe; recipeDir: string },
  checkpoint: string,
  batch: number,
): Promise<ExportedFile[]> {
  const networks = await openNetworks(recipe, recipeDir, file.vocabulary);
  const own = Object.keys(networks.encoder.specs).map((name) => [name, file.weights[name]] as const);
  const { encoder, data } = recipe;
  const configs =
    encoder.kind === 'builtin'
      ? builtinConfigs(encoder, data.imageSize)
      : await folderConfigs(path.resolve(recipeDir, encoder.from));
  const json = (value: unknown) => new TextEncoder().encode(`${JSON.stringify(value, null, 2)}\n`);
  const metadata = { format: 'pt', checkpoint, adapters: recipeLora(recipe) ? 'merged' : 'none' };
  return [
    { name: 'model.safetensors', bytes: encodeSafetensors(new Map(own), { metadata }) },
    ...Object.entries(configs).map(([name, value]) => ({ name, bytes: json(value) })),
    { name: 'encoder.onnx', bytes: lowerToOnnx(...imageTower(file.weights, networks, batch)).bytes },
  ];
}

/** The adapters of a checkpoint in PEFT's layout; a FoveaError where its recipe trains none. */
export function adapterExport({ weights }: WeightFile, { encoder, stages }: Recipe): ExportedFile[] {
  const lora = stages.map(loraOf).find((each) => each !== null);
  const adapters = Object.fromEntries(Object.entries(weights).filter(([name]) => /\.lora_[AB]\.weight$/.test(name)));
  if (!lora || Object.keys(adapters).length === 0)
    throw new FoveaError(
      'The checkpoint has no adapters, because its stage trains the encoder whole; leave --adapters out, or set stages.align.trainable.',
    );
  const baseModel = encoder.kind === 'pretrained' ? encoder.from : null;
  return adapterFiles({ config: { ...lora, baseModel }, weights: adapters });
}

/** An encoder between the one that the align stage began with and a checkpoint's; alpha 1 is the checkpoint. */
export function mixedWeights(start: WeightFile, end: WeightFile, { encoder }: Networks, alpha: number): WeightFile {
  const own = ({ weights }: WeightFile) =>
    Object.fromEntries(Object.keys(encoder.specs).map((name) => [name, weights[name]]));
  return { ...end, weights: { ...end.weights, ...interpolate(own(start), own(end), alpha) } };
}

/** Writes the files; each appears whole or not at all. Returns their paths. */
export async function writeExport(files: ExportedFile[], folder: string): Promise<string[]> {
  await mkdir(folder, { recursive: true });
  const written: string[] = [];
  for (const { name, bytes } of files) {
    const target = path.join(folder, name);
    await writeFile(`${target}.tmp`, bytes);
    await rename(`${target}.tmp`, target);
    written.push(target);
  }
  return written;
}

const builtinConfigs = (encoder: BuiltinEncoder, imageSize: number) => ({
  'config.json': huggingFaceConfig(encoder, imageSize),
  'preprocessor_config.json': preprocessorConfig(imageSize),
});

/** Configurations of an encoder that came from a folder: its own, told that there is no text half beside it. */
async function folderConfigs(from: string): Promise<Record<string, unknown>> {
  const { family, config } = await openEncoder(from);
  if (family === 'open_clip') return { 'open_clip_config.json': config };
  return {
    'config.json': pictureConfig(family, config as Record<string, unknown>),
    'preprocessor_config.json': await readJson(from, 'preprocessor_config.json'),
  };
}

function huggingFaceConfig(vision: BuiltinEncoder, imageSize: number) {
  return {
    architectures: ['CLIPVisionModelWithProjection'],
    model_type: 'clip_vision_model',
    hidden_size: vision.width,
    intermediate_size: Math.round(vision.width * vision.mlpRatio),
    num_hidden_layers: vision.layers,
    num_attention_heads: vision.heads,
    image_size: imageSize,
    patch_size: vision.patchSize,
    projection_dim: vision.projection,
    hidden_act: 'quick_gelu',
    layer_norm_eps: 1e-5,
    attention_dropout: 0,
    num_channels: 3,
  };
}

function preprocessorConfig(imageSize: number) {
  const three = (value: number) => [value, value, value];
  return {
    image_processor_type: 'CLIPImageProcessor',
    do_convert_rgb: true,
    do_resize: true,
    size: { shortest_edge: imageSize },
    resample: 3,
    do_center_crop: true,
    crop_size: { height: imageSize, width: imageSize },
    do_rescale: true,
    rescale_factor: 1 / 255,
    do_normalize: true,
    image_mean: three(PIXEL_MEAN),
    image_std: three(PIXEL_STD),
  };
}
