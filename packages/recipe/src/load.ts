// From a name or a file to a checked recipe. Presets are the YAML files beside this package; anything with a path
// separator or an ending is a file of the user's.

import { readdir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { canonicalJson, FoveaError, sha256Hex } from '@fovea/artifacts';
import { Lexer, Parser, parseDocument } from 'yaml';
import type { z } from 'zod';
import { coverageOf } from './plan.ts';
import { type Recipe, recipeSchema } from './schema.ts';
import { isJudging, type Sources } from './sources.ts';

const PRESETS = fileURLToPath(new URL('../presets/', import.meta.url));
const MAX_BYTES = 1 << 20;
/** Levels of nesting; the deepest recipe of ours has six. */
const MAX_DEPTH = 32;
/** What the parser's time goes with; the longest recipe of ours has about 600. */
const MAX_TOKENS = 10_000;
/** Rounds of a run: each is a job, a file in the store and an entry in the plan. */
const MAX_ROUNDS = 100_000;

export interface LoadedRecipe {
  recipe: Recipe;
  /** Folder that relative paths in the recipe start from. */
  recipeDir: string;
  /** SHA-256 of the resolved recipe without its name: two recipes with one hash train the same, given the same files. */
  hash: string;
  /** The document as it was written. */
  text: string;
}

/** Names of the presets that ship with the package. */
export async function presetNames(): Promise<string[]> {
  const files = await readdir(PRESETS);
  return files
    .filter((file) => file.endsWith('.yaml'))
    .map((file) => file.slice(0, -5))
    .sort();
}

/** What the command line or a request changes of a recipe as it is written. */
export interface RecipeOverrides {
  fromScratch?: boolean;
  seed?: number;
  /** `path=value`, see {@link setField}. */
  set?: readonly string[];
}

/** Reads, overrides and checks a recipe. Every fault in it is a {@link FoveaError} that names the place. */
export async function loadRecipe(nameOrFile: string, overrides: RecipeOverrides = {}): Promise<LoadedRecipe> {
  const { file, dir } = await locate(nameOrFile);
  return parseRecipe(await readFile(file, 'utf8'), nameOrFile, dir, overrides);
}

/** As {@link loadRecipe}, of a document at hand; `where` is what the sentences call it. No file is read. */
export function parseRecipe(
  text: string,
  where: string,
  recipeDir: string,
  overrides: RecipeOverrides = {},
): LoadedRecipe {
  const input = parseMapping(text, `recipe "${where}"`);
  for (const each of overrides.set ?? []) setField(input, each);
  if (overrides.seed !== undefined) input.seed = overrides.seed;
  if (overrides.fromScratch) input.weights = null;
  if (depthExceeds(input, MAX_DEPTH)) throw new FoveaError(tooDeep(`recipe "${where}"`));
  const result = recipeSchema.safeParse(input);
  if (!result.success) throw new FoveaError(explain(where, result.error));
  const recipe = result.data;
  checkPictures(where, recipe, input);
  checkTogether(where, recipe);
  return { recipe, recipeDir, hash: recipeHash(recipe), text };
}

const tooDeep = (what: string) =>
  `The ${what} is nested more than ${MAX_DEPTH} levels deep, which none needs; is it the right file?`;

/** Whether a document has more than `most` levels; the walk itself needs no stack. */
function depthExceeds(document: object, most: number): boolean {
  let level: object[] = [document];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > most) return true;
    level = level.flatMap((each) =>
      Object.values(each).filter((value): value is object => typeof value === 'object' && value !== null),
    );
  }
  return false;
}

/**
 * Hash of all that decides the numbers: the resolved recipe and the files of the user's that it names, which
 * `recipeSources` finds, without its name and without where it is computed, how it is judged and what is kept of it. Rounds
 * that are never cut into shards are ordinary training, whatever `shards` says else.
 */
export function recipeHash(recipe: Recipe, sources: Sources = {}): string {
  const { name: _name, eval: _eval, keep: _keep, shards, ...rest } = recipe;
  const { memory: _memory, ...engine } = recipe.engine;
  const decides = { ...rest, engine, ...(shards.max > 1 && { shards }) };
  const deciding = Object.fromEntries(Object.entries(sources).filter(([field]) => !isJudging(field)));
  const named = Object.keys(deciding).length > 0 ? { sources: deciding } : {};
  return sha256Hex(new TextEncoder().encode(canonicalJson({ ...decides, ...named })));
}

async function locate(nameOrFile: string): Promise<{ file: string; dir: string }> {
  const isFile = /[\\/]|\.(ya?ml|json)$/i.test(nameOrFile);
  if (!isFile) {
    const names = await presetNames();
    if (!names.includes(nameOrFile)) {
      throw new FoveaError(
        `There is no recipe called "${nameOrFile}"; the presets are ${names.join(', ')}; a file of your own is given by its path, such as ./${nameOrFile}.yaml.`,
      );
    }
    return { file: path.join(PRESETS, `${nameOrFile}.yaml`), dir: process.env.INIT_CWD ?? process.cwd() };
  }
  const file = path.resolve(process.env.INIT_CWD ?? process.cwd(), nameOrFile);
  const info = await stat(file).catch(() => null);
  if (!info?.isFile())
    throw new FoveaError(`The recipe file "${nameOrFile}" cannot be read: no such file; check the path.`);
  if (info.size > MAX_BYTES) {
    throw new FoveaError(
      `The recipe file "${nameOrFile}" has ${info.size} bytes; a recipe has at most ${MAX_BYTES}; is it the right file?`,
    );
  }
  return { file, dir: path.dirname(file) };
}

/** The fields of a YAML or JSON document; `what` is what the sentences call it, such as `recipe "x.yaml"`. */
export function parseMapping(text: string, what: string): Record<string, unknown> {
  const document = documentOf(text, what);
  const [fault] = document.errors;
  if (fault) {
    const line = fault.linePos?.[0].line;
    throw new FoveaError(
      `The ${what} is not valid YAML${line ? ` at line ${line}` : ''}: ${fault.message.split('\n')[0].replace(/ at line \d+, column \d+:$/, '')}; mend it there.`,
    );
  }
  const value = plain(document, what);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new FoveaError(`The ${what} must be a mapping of fields, such as "name: first-try" in its first line.`);
  }
  if (Object.hasOwn(value, '__proto__'))
    throw new FoveaError(`The ${what} has the unknown key "__proto__"; remove it.`);
  return value as Record<string, unknown>;
}

/**
 * Parses YAML once its tokens are counted and its nesting is measured, both without recursion: composing a document takes
 * time for each token, and takes stack for each level until there is none left.
 */
function documentOf(text: string, what: string) {
  let tokens = 0;
  for (const _ of new Lexer().lex(text)) {
    if (++tokens > MAX_TOKENS)
      throw new FoveaError(
        `The ${what} has more than ${MAX_TOKENS} words and signs, which none needs; is it the right file?`,
      );
  }
  // A level of YAML is a collection, its list of items, an item and its value.
  for (const token of new Parser().parse(text))
    if (depthExceeds(token, 4 * MAX_DEPTH)) throw new FoveaError(tooDeep(what));
  return parseDocument(text, { uniqueKeys: true } as never);
}

function plain(document: ReturnType<typeof documentOf>, what: string): unknown {
  try {
    return document.toJS({ maxAliasCount: 20 });
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new FoveaError(`The ${what} is not a document of plain values: ${why}; write its aliases out.`);
  }
}

/**
 * Sets one field of a document from `path=value`: names and numbers with dots between them, a stage by its name
 * (`stages.align.lr=1e-5`), and the value as YAML writes it. What is on the way and missing is made.
 */
export function setField(input: Record<string, unknown>, assignment: string): void {
  const refuse = (why: string): never => {
    throw new FoveaError(`"${assignment}" sets no field of the recipe: ${why}; write it as stages.align.lr=1e-5.`);
  };
  const at = assignment.indexOf('=');
  const keys = assignment.slice(0, Math.max(at, 0)).split('.');
  if (at < 1 || keys.some((key) => !/^\w+$/.test(key) || key === '__proto__'))
    refuse('a path, "=" and a value are needed');
  const document = documentOf(assignment.slice(at + 1), `value of ${keys.join('.')}`);
  if (document.errors.length > 0) refuse(`its value is not YAML (${document.errors[0].message.split('\n')[0]})`);
  let holder = input as Record<string, unknown> | unknown[];
  const find = (key: string): string => {
    if (!Array.isArray(holder)) return key;
    const index = /^\d+$/.test(key)
      ? Number(key)
      : holder.findIndex((each) => (each as { stage?: string })?.stage === key);
    return index >= 0 && index < holder.length ? `${index}` : refuse(`there is no "${key}" in the list`);
  };
  for (const key of keys.slice(0, -1)) {
    const fields = holder as Record<string, unknown>;
    const name = find(key);
    fields[name] ??= {};
    if (typeof fields[name] !== 'object') refuse(`"${key}" is a value, not a group of fields`);
    holder = fields[name] as Record<string, unknown>;
  }
  (holder as Record<string, unknown>)[find(keys[keys.length - 1])] = plain(document, `value of ${keys.join('.')}`);
}

function explain(where: string, error: z.ZodError): string {
  const [issue] = error.issues;
  const at = issue.path.length > 0 ? `"${issue.path.join('.')}"` : 'its top level';
  const more = error.issues.length > 1 ? ` (and ${error.issues.length - 1} more)` : '';
  if (issue.code === 'unrecognized_keys') {
    return `The recipe "${where}" has the unknown key ${issue.keys.map((key) => `"${key}"`).join(', ')} at ${at}${more}; remove it or check its spelling.`;
  }
  return `The recipe "${where}" is wrong at ${at}: ${issue.message}${more}; mend that value.`;
}

function checkPictures(where: string, { data, encoder, autoencoder }: Recipe, input: Record<string, unknown>): void {
  if (data.kind !== 'image-folder') return;
  if (encoder.kind === 'pretrained' && !Object.hasOwn(input.data as object, 'imageSize'))
    throw new FoveaError(
      `The recipe "${where}" has an encoder from a folder and no data.imageSize; give the side of the encoder's pictures, such as 224, or of larger ones that a denoiser is to see.`,
    );
  if (data.augment && autoencoder?.cache)
    throw new FoveaError(
      `The recipe "${where}" has data.augment and autoencoder.cache, but latents of pictures that change cannot be kept; set "cache: false" in the autoencoder, or leave augment out.`,
    );
}

function checkTogether(where: string, recipe: Recipe): void {
  const say = (text: string) => {
    throw new FoveaError(`The recipe "${where}" ${text}`);
  };
  const size = recipe.data.imageSize;
  for (const part of ['encoder', 'denoiser'] as const) {
    const network = recipe[part];
    if (network.kind !== 'builtin') continue;
    if (size % network.patchSize !== 0)
      say(`has imageSize ${size}, which ${part}.patchSize ${network.patchSize} does not divide; change one.`);
    if (network.width % network.heads !== 0)
      say(`has ${part}.width ${network.width}, which its ${network.heads} heads do not divide; change one.`);
  }
  if (recipe.denoiser.kind === 'builtin') {
    if (JSON.stringify(recipe.condition) !== JSON.stringify(recipeSchema.shape.condition.parse(undefined)))
      say('has a condition and the built-in denoiser, which has its own (denoiser.conditionTokens); leave one out.');
    if (recipe.diffusion.targetSize !== undefined)
      say(
        'has a diffusion.targetSize and the built-in denoiser, which reconstructs the encoder’s pictures; leave one out.',
      );
    if (recipe.autoencoder) say('has an autoencoder and the built-in denoiser, which works on pixels; leave one out.');
  }
  const kinds = recipe.stages.map((stage) => stage.stage);
  const rounds = recipe.stages.reduce((sum, stage) => sum + roundsOf(stage), 0);
  if (rounds > MAX_ROUNDS)
    say(`plans ${rounds} rounds, and ${MAX_ROUNDS} are the most; give its stages more roundSteps.`);
  const covers = coverageOf(recipe);
  const order = ['pretrain', 'projector', 'align'];
  if (kinds.some((kind, i) => i > 0 && order.indexOf(kind) <= order.indexOf(kinds[i - 1]))) {
    say(`has the stages ${kinds.join(', ')}; give each at most once, in the order ${order.join(', ')}.`);
  }
  if (!covers.encoder && !kinds.includes('pretrain')) say('has no weights and no pretrain stage; give one of them.');
  if (recipe.encoder.kind === 'pretrained' && kinds.includes('pretrain'))
    say('has a pretrain stage for an encoder that comes from a folder; remove the stage.');
  const align = recipe.stages.find((stage) => stage.stage === 'align');
  const frozenDenoiser = 'from' in recipe.denoiser && recipe.denoiser.from !== undefined;
  if (align && !covers.feedback && !kinds.includes('projector')) {
    if (!frozenDenoiser)
      say('aligns with a denoiser that no stage has trained; add a projector stage, or give its weights.');
    if (!align.alsoTrains.includes('projector') && recipe.condition.connector.kind !== 'unclip')
      say('aligns through a connector that no stage trains; add a projector stage, or alsoTrains: [projector].');
  }
  const short = recipe.stages.find(({ roundSteps, steps }) => Math.min(roundSteps, steps) < recipe.shards.max);
  if (short)
    say(
      `cuts rounds of ${Math.min(short.roundSteps, short.steps)} steps (stage ${short.stage}) into up to ${recipe.shards.max} shards, so that some would have no step; lower shards.max or raise roundSteps.`,
    );
  const { loss } = recipe.diffusion;
  const uneven = recipe.stages.find(
    ({ batch, stage }) => stage !== 'pretrain' && loss.kind === 'infonce' && batch % loss.group !== 0,
  );
  if (uneven)
    say(
      `contrasts groups of pictures that do not divide the batch ${uneven.batch} of stage ${uneven.stage}; change diffusion.loss.group.`,
    );
  if (align?.stopOn && !recipe.eval.suites.includes('retention'))
    say('is to stop when retention falls, but does not score it; add retention to eval.suites.');
  const unscored = recipe.eval.gates.find(({ suite }) => !recipe.eval.suites.includes(suite));
  if (unscored)
    say(
      `has a gate on ${unscored.suite}, but does not score it; add ${unscored.suite} to eval.suites, or take it out.`,
    );
  const mixed = recipe.eval.gates.find(({ suite, metric }) => (suite === 'probes') !== metric.startsWith('r2-'));
  if (mixed)
    say(
      `has a gate on ${mixed.metric} of ${mixed.suite}, which has no such metric; probes have r2-<target>, the others top1 and twoway.`,
    );
  if (recipe.eval.gates.length > 0 && !align)
    say('has gates and no align stage, so there is no branch to end; take eval.gates out.');
  if (align?.alsoTrains.includes('denoiser') && frozenDenoiser)
    say('trains a denoiser that comes from a folder, which stays frozen; leave it out of alsoTrains.');
  if (recipe.weights !== null && !kinds.includes('align'))
    say('has weights and no align stage, so there is nothing to train; add one, or train from scratch.');
}

/** At most how many rounds a stage has, counted without planning them. */
function roundsOf(stage: Recipe['stages'][number]): number {
  const each = Math.ceil(stage.steps / stage.roundSteps) + stage.saveAt.length;
  return stage.stage === 'align' ? each * stage.roles.length : each;
}
