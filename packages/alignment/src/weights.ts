// Weights as files: what a checkpoint's blob holds, how shipped or own weights are read and checked, and the start of
// a run. The vocabulary of the text tower travels in the file's metadata.

import { readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { decodeSafetensors, encodeSafetensors, FoveaError } from '@fovea/artifacts';
import { checkTensors, initialise, type ParamSpecs, unknownWords, vocabularyOf, type Weights } from '@fovea/models';
import { coverageOf, type Recipe } from '@fovea/recipe';
import { BUILTIN } from './builtin.ts';
import { modelSpecs } from './model.ts';
import { openNetworks } from './networks.ts';

export interface WeightFile {
  weights: Weights;
  /** Words of the text tower, in the order of its embedding rows. */
  vocabulary: string[];
}

export function encodeWeights({ weights, vocabulary }: WeightFile, dtype: 'F32' | 'F16' = 'F32'): Uint8Array {
  const metadata = { format: 'pt', vocabulary: JSON.stringify(vocabulary) };
  return encodeSafetensors(new Map(Object.entries(weights)), { metadata, dtype });
}

/** Reads a weight file's bytes; `where` names it in errors. */
export function decodeWeights(bytes: Uint8Array, where: string): WeightFile {
  const { tensors, metadata } = decodeSafetensors(bytes, where);
  const weights: Weights = {};
  for (const [name, { shape, data, dtype }] of tensors) {
    if (!(data instanceof Float32Array))
      throw new FoveaError(`The tensor "${name}" of ${where} is ${dtype}; weights must be F32, F16 or BF16.`);
    weights[name] = { shape, data };
  }
  let vocabulary: unknown = [];
  try {
    vocabulary = JSON.parse(metadata.vocabulary ?? '[]');
  } catch {}
  if (!Array.isArray(vocabulary) || !vocabulary.every((word) => typeof word === 'string')) {
    throw new FoveaError(
      `The metadata "vocabulary" of ${where} is not a JSON list of words; write it as Fovea's own export does.`,
    );
  }
  return { weights, vocabulary };
}

/** Resolves `builtin:…` or a path of the user's. */
export async function readWeightFile(name: string, recipeDir: string): Promise<WeightFile> {
  const file = BUILTIN[name] ?? path.resolve(recipeDir, name);
  if (name.startsWith('builtin:') && !(name in BUILTIN)) {
    throw new FoveaError(
      `There are no weights called "${name}"; there are ${Object.keys(BUILTIN).join(', ')}, or give the path of a .safetensors file.`,
    );
  }
  if (/\.(bin|pt|pth|ckpt|pkl)$/i.test(file)) {
    throw new FoveaError(
      `The weights "${name}" are a pickle, which can run code when read; convert them with safetensors.torch.save_file and give the .safetensors file.`,
    );
  }
  if (!(await stat(file).catch(() => null))?.isFile())
    throw new FoveaError(`The weights "${name}" cannot be read: no such file; check the path.`);
  return decodeWeights(await readFile(file), `"${name}"`);
}

/** Weights against the recipe's networks. */
export const checkWeights = ({ weights }: WeightFile, specs: ParamSpecs, where: string): void =>
  checkTensors(weights, specs, where, {
    missing: "which this recipe's networks need; check the recipe's encoder and denoiser",
    extra: "which this recipe's networks do not have; check the recipe's encoder and denoiser",
    wrong: 'the recipe needs',
    mend: 'check its sizes',
  });

/** The weights that a run starts from: the recipe's and its encoder folder's, checked, the rest drawn from its seed. */
export async function startingWeights(
  recipe: Recipe,
  recipeDir: string,
  classes: readonly string[],
): Promise<WeightFile> {
  const given = recipe.weights === null ? null : await readWeightFile(recipe.weights, recipeDir);
  const vocabulary = given?.vocabulary ?? (recipe.encoder.kind === 'builtin' ? vocabularyOf(classes) : []);
  const networks = await openNetworks(recipe, recipeDir, vocabulary);
  const specs = modelSpecs(networks);
  if (given === null) {
    const folder = (await networks.start?.()) ?? {};
    const rest = Object.fromEntries(Object.entries(specs).filter(([name]) => !(name in folder)));
    return { weights: { ...initialise(rest, recipe.seed), ...folder }, vocabulary };
  }
  const coversAll = coverageOf(recipe).feedback;
  const covered = coversAll ? specs : { ...networks.encoder.specs, ...networks.text?.specs };
  const weights = coversAll ? given.weights : withoutFeedback(given.weights, covered);
  checkWeights({ weights, vocabulary }, covered, `"${recipe.weights}"`);
  const needsNames = recipe.stages.some((stage) => stage.stage === 'align' && stage.contrastive > 0);
  const unknown = unknownWords(classes, vocabulary);
  if (needsNames && unknown.length > 0) {
    throw new FoveaError(
      `The text tower of "${recipe.weights}" does not know the words ${unknown.slice(0, 8).join(', ')} of the class names; set "contrastive: 0" in the align stage, or train from scratch.`,
    );
  }
  const rest = Object.fromEntries(Object.entries(specs).filter(([name]) => !(name in covered)));
  return { weights: { ...weights, ...initialise(rest, recipe.seed) }, vocabulary };
}

/** A file's weights without a projector and denoiser of its own, where it is to give the encoder alone. */
const withoutFeedback = (weights: Weights, covered: ParamSpecs): Weights =>
  Object.fromEntries(
    Object.entries(weights).filter(([name]) => name in covered || !/^(denoiser|projector)\./.test(name)),
  );
