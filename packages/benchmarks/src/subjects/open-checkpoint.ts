// A checkpoint of a run as an encoder that benchmarks ask: its texts as the suites put them, its pictures framed by its own
// rule, and an identity by hashes.

import { createRequire } from 'node:module';
import path from 'node:path';
import { EncoderSubject, preprocessingOf, type WeightFile } from '@fovea/alignment';
import type { Framing } from '@fovea/artifacts';
import type { Recipe } from '@fovea/recipe';
import type { Device } from '@fovea/tensor';
import type { JudgedEncoder } from './features.ts';

const runtime = createRequire(createRequire(import.meta.url).resolve('@fovea/tensor'))('onnxruntime-node/package.json');
/** What computes features, whatever is asked. */
export const COMPUTED = { engine: `onnxruntime-node ${(runtime as { version: string }).version}`, dtype: 'float32' };

/** Texts come from a suite as they are to be read. */
export const asItIs = (text: string): string => text;

/** As many pictures as an evaluation shows at once. */
export const BATCH = 64;

export interface CheckpointRequest {
  file: WeightFile;
  /** Its id. */
  checkpoint: string;
  recipe: Recipe;
  recipeDir: string;
  /** Of the recipe's files, by field. */
  sources?: Record<string, string>;
  device: Device;
}

/** Opens it; `dispose` frees its programs. */
export async function openCheckpoint(
  request: CheckpointRequest,
): Promise<{ judged: JudgedEncoder; dispose(): Promise<void> }> {
  const { file, checkpoint, recipe, recipeDir, sources, device } = request;
  const subject = await EncoderSubject.open(file, recipe, recipeDir, { device, prompt: asItIs, batch: BATCH });
  const framing =
    recipe.encoder.kind === 'pretrained' ? await preprocessingOf(path.resolve(recipeDir, recipe.encoder.from)) : null;
  const { from: _from, ...encoder } = recipe.encoder as { from?: string };
  const files = sources?.['encoder.from'] ?? null;
  const identity = { ...COMPUTED, device, checkpoint, encoder, files };
  return { judged: judgedOf(subject, identity, framing), dispose: () => subject.dispose() };
}

/** An open encoder with its identity; `framing` may say more than how pictures are resized and cut. */
export function judgedOf(
  subject: EncoderSubject,
  identity: Record<string, unknown>,
  framing: Framing | null,
): JudgedEncoder {
  const own = framing && {
    resize: framing.resize,
    resample: framing.resample,
    crop: framing.crop,
    cropRounding: framing.cropRounding,
  };
  return { encoder: subject, identity, imageSize: subject.imageSize, framing: own, logitScale: subject.logitScale };
}
