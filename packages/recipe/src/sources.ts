// The files of the user's that a recipe names by their paths: encoder, denoiser, autoencoder, text encoder, weights, suites. A path
// says nothing of what lies there, so a run is known by their hashes too. Weights that ship with Fovea, and pictures, are
// none of them.

import { stat } from 'node:fs/promises';
import path from 'node:path';
import { canonicalJson, FoveaError, fileHash, filesOf, sha256Hex } from '@fovea/artifacts';
import type { Recipe } from './schema.ts';

/** By the recipe's field: SHA-256 of the sorted list of (file name, SHA-256) of what is read there. */
export type Sources = Record<string, string>;

/** Hashes the files that a recipe names; `cacheDir` keeps what was hashed. A FoveaError where something is not there. */
export async function recipeSources(recipe: Recipe, recipeDir: string, cacheDir?: string): Promise<Sources> {
  const sources: Sources = {};
  for (const [field, given] of Object.entries(namedBy(recipe)))
    sources[field] = await hashOf(field, given, recipeDir, cacheDir);
  return sources;
}

/**
 * Refuses to go on with a run whose files are no longer those that it began with. A run `hasBegun` with its first
 * checkpoint, which holds what `weights` named: that is not read again.
 */
export async function checkSources(
  { recipe, recipeDir, sources = {} }: { recipe: Recipe; recipeDir: string; sources?: Sources },
  { cacheDir, hasBegun }: { cacheDir?: string; hasBegun: boolean },
): Promise<void> {
  for (const [field, given] of Object.entries(namedBy(recipe))) {
    const [then, skipped] = [sources[field], hasBegun && field === 'weights'];
    if (then === undefined || skipped) continue;
    const now = await hashOf(field, given, recipeDir, cacheDir);
    if (now !== then)
      throw new FoveaError(
        `The files of the recipe's ${field} "${given}" are not those that the run began with (${short(then)} then, ${short(now)} now); put the old ones back, or start a new run.`,
      );
  }
}

const JUDGING = 'eval.benchmarks.';
/** Whether a field names files that judge checkpoints, and have no part in making them. */
export const isJudging = (field: string): boolean => field.startsWith(JUDGING);

const short = (hash: string) => hash.slice(0, 12);

/** Paths as the recipe gives them, by field. */
function namedBy({ encoder, denoiser, autoencoder, condition, weights, eval: judged }: Recipe): Record<string, string> {
  const fields = {
    ...Object.fromEntries(
      judged.benchmarks.flatMap((each, i) => (typeof each === 'string' ? [] : [[`${JUDGING}${i}`, each.path]])),
    ),
    'encoder.from': encoder.kind === 'pretrained' ? encoder.from : undefined,
    'denoiser.from': 'from' in denoiser ? denoiser.from : undefined,
    'autoencoder.from': autoencoder?.from,
    'condition.text.from': condition.text?.from,
    weights: weights?.startsWith('builtin:') ? undefined : (weights ?? undefined),
  };
  return Object.fromEntries(
    Object.entries(fields).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
}

async function hashOf(field: string, given: string, recipeDir: string, cacheDir?: string): Promise<string> {
  const place = path.resolve(recipeDir, given);
  if (!(await stat(place).catch(() => null)))
    throw new FoveaError(`The recipe's ${field} "${given}" cannot be read: nothing is there; check the path.`);
  const hashes: [string, string][] = [];
  for (const [name, file] of await filesAt(field, place)) hashes.push([name, await fileHash(file, cacheDir)]);
  return sha256Hex(canonicalJson(hashes.sort(([a], [b]) => (a < b ? -1 : 1))));
}

/** A file of weights, a pipeline with a text encoder and a tokenizer in it, or the folder of one network. */
async function filesAt(field: string, place: string): Promise<Map<string, string>> {
  if (field === 'weights') return new Map([[path.basename(place), place]]);
  // It holds the hashes of questions and pictures.
  if (isJudging(field)) return new Map([['suite.json', path.join(place, 'suite.json')]]);
  if (field !== 'condition.text.from') return filesOf(place);
  const parts = [
    ['text_encoder', await filesOf(path.join(place, 'text_encoder'))],
    ['tokenizer', await filesOf(path.join(place, 'tokenizer'), { weights: false })],
  ] as const;
  return new Map(
    parts.flatMap(([part, files]) => [...files].map(([name, file]) => [`${part}/${name}`, file] as const)),
  );
}
