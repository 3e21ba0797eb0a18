// The aligned encoder as files that others load: Hugging Face's CLIPVisionModelWithProjection (model.safetensors,
// config.json, preprocessor_config.json) and one ONNX graph that takes plain RGB. Nothing of the denoiser is in them.

import { mkdir, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { encodeSafetensors } from '@fovea/artifacts';
import { PIXEL_MEAN, PIXEL_STD } from '@fovea/models';
import type { Recipe } from '@fovea/recipe';
import { lowerToOnnx } from '@fovea/tensor';
import { recipeLora } from './model.ts';
import { builtinNetworks } from './networks.ts';
import { imageTower } from './subject.ts';
import type { WeightFile } from './weights.ts';

export interface ExportedFile {
  name: string;
  bytes: Uint8Array;
}

/** The files of an export. `batch` is the fixed number of pictures that the ONNX graph takes. */
export function exportedFiles(file: WeightFile, recipe: Recipe, checkpoint: string, batch: number): ExportedFile[] {
  const networks = builtinNetworks(recipe, file.vocabulary.length);
  const vision = Object.entries(file.weights).filter(([name]) => /^vision_model\.|^visual_projection\./.test(name));
  const json = (value: unknown) => new TextEncoder().encode(`${JSON.stringify(value, null, 2)}\n`);
  const metadata = { format: 'pt', checkpoint, adapters: recipeLora(recipe) ? 'merged' : 'none' };
  return [
    { name: 'model.safetensors', bytes: encodeSafetensors(new Map(vision), { metadata }) },
    { name: 'config.json', bytes: json(huggingFaceConfig(recipe)) },
    { name: 'preprocessor_config.json', bytes: json(preprocessorConfig(recipe)) },
    { name: 'encoder.onnx', bytes: lowerToOnnx(...imageTower(file.weights, networks, batch)).bytes },
  ];
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

function huggingFaceConfig({ encoder: vision, data }: Recipe) {
  return {
    architectures: ['CLIPVisionModelWithProjection'],
    model_type: 'clip_vision_model',
    hidden_size: vision.width,
    intermediate_size: Math.round(vision.width * vision.mlpRatio),
    num_hidden_layers: vision.layers,
    num_attention_heads: vision.heads,
    image_size: data.imageSize,
    patch_size: vision.patchSize,
    projection_dim: vision.projection,
    hidden_act: 'quick_gelu',
    layer_norm_eps: 1e-5,
    attention_dropout: 0,
    num_channels: 3,
  };
}

function preprocessorConfig({ data: { imageSize } }: Recipe) {
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
