// From the body of a submission to a checked recipe. A recipe that came over the network may only name files under the
// folders that the server was given; everything else in it is checked as any recipe is.

import { lstat, realpath } from 'node:fs/promises';
import path from 'node:path';
import { isUserError } from '@fovea/artifacts';
import { type LoadedRecipe, loadRecipe, parseRecipe, recipeHash, recipeSources } from '@fovea/recipe';
import { z } from 'zod';
import type { Submission } from './backend.ts';
import { ApiError } from './errors.ts';

/** Bytes of a recipe. */
export const MAX_RECIPE_BYTES = 256 * 1024;

export const submissionSchema = z
  .strictObject({
    recipe: z
      .union([z.string().min(1), z.record(z.string(), z.unknown())])
      .optional()
      .describe('The recipe: its text in YAML or JSON, or the document itself.'),
    preset: z
      .string()
      .regex(/^[a-z0-9][a-z0-9-]{0,63}$/, 'the name of a preset')
      .optional()
      .describe('A preset in place of a recipe; GET /v1/recipes lists them.'),
    set: z.array(z.string().max(1024)).max(64).optional().describe('Overrides such as stages.align.lr=1e-5.'),
    seed: z
      .int()
      .min(0)
      .max(2 ** 32 - 1)
      .optional(),
    fromScratch: z.boolean().optional().describe('Leaves the weights of the recipe out.'),
    priority: z.int().min(1).max(1000).optional().describe('Lower goes first; 100 unless given.'),
    deadline: z.iso.datetime().optional(),
  })
  .refine(({ recipe, preset }) => (recipe === undefined) !== (preset === undefined), 'give either recipe or preset')
  .meta({ title: 'Submission' });

/**
 * Checks a submission and hashes the files that it names, which have to be here; `cacheDir` keeps what was hashed. An
 * ApiError of 400 or 413 says what is wrong. `roots` as in {@link checkPaths}.
 */
export async function recipeOf(
  body: z.infer<typeof submissionSchema>,
  roots: readonly string[],
  cacheDir?: string,
): Promise<Submission> {
  const { priority, deadline, preset } = body;
  try {
    const { recipe, text, recipeDir } = await load(body, roots[0] ?? path.parse(process.cwd()).root);
    await checkPaths(recipe, recipeDir, roots);
    const sources = await recipeSources(recipe, recipeDir, cacheDir);
    const about = { recipe, recipeHash: recipeHash(recipe, sources), recipeDir, sources };
    return { ...about, recipeText: text, recipeSource: preset ?? 'api', priority, deadline };
  } catch (error) {
    throw isUserError(error) && !(error instanceof ApiError) ? new ApiError(400, error.message) : error;
  }
}

async function load(body: z.infer<typeof submissionSchema>, recipeDir: string): Promise<LoadedRecipe> {
  const { recipe, preset, set, seed, fromScratch } = body;
  const overrides = { set, seed, fromScratch };
  if (preset !== undefined) return { ...(await loadRecipe(preset, overrides)), recipeDir };
  const text = typeof recipe === 'string' ? recipe : textOf(recipe!);
  if (Buffer.byteLength(text) > MAX_RECIPE_BYTES)
    throw new ApiError(
      413,
      `The recipe is larger than ${MAX_RECIPE_BYTES / 1024} KiB, which no recipe needs; is it one?`,
    );
  return parseRecipe(text, 'of the request', recipeDir, overrides);
}

/** A document as JSON, which is YAML too. */
function textOf(recipe: object): string {
  try {
    return JSON.stringify(recipe, null, 2);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new ApiError(400, 'The recipe is nested too deep to be one: check what was sent.');
  }
}

/** Fields of a recipe that name files, wherever they stand. */
const PATH_KEYS = new Set(['path', 'from', 'weights', 'images']);

/**
 * Refuses every path of a recipe that does not lie, its symbolic links followed, under one of the folders. What is not
 * there (yet, or on this machine) is judged by the deepest folder that is. The refusal is the same whatever is outside.
 */
export async function checkPaths(recipe: object, recipeDir: string, roots: readonly string[]): Promise<void> {
  const allowed = await Promise.all(roots.map((root) => realpath(root).catch(() => path.resolve(root))));
  for (const { field, value } of pathsIn(recipe)) {
    if (value.startsWith('builtin:')) continue;
    const real = value.includes('\0') ? null : await settled(path.resolve(recipeDir, value));
    const inside = real !== null && allowed.some((root) => real === root || real.startsWith(root + path.sep));
    if (inside) continue;
    const where =
      roots.length > 0 ? 'the folders that this server was given' : 'any folder: this server was given none';
    throw new ApiError(
      400,
      `The recipe names a file at "${field}" that is not in ${where}; put it there, or start the coordinator with --root.`,
    );
  }
}

function pathsIn(recipe: object): { field: string; value: string }[] {
  const found: { field: string; value: string }[] = [];
  const rest: { at: string; value: object }[] = [{ at: '', value: recipe }];
  for (let each = rest.pop(); each; each = rest.pop()) {
    for (const [key, value] of Object.entries(each.value)) {
      const field = each.at ? `${each.at}.${key}` : key;
      if (typeof value === 'string' && PATH_KEYS.has(key)) found.push({ field, value });
      else if (typeof value === 'object' && value !== null) rest.push({ at: field, value });
    }
  }
  return found;
}

/** The real path of a file, or of the deepest folder above it that exists with the rest behind it. */
async function settled(file: string): Promise<string | null> {
  const rest: string[] = [];
  for (let at = file; ; at = path.dirname(at)) {
    try {
      return path.join(await realpath(at), ...rest.reverse());
    } catch (error) {
      // A link that leads nowhere, or in a circle, has no real path to judge.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || (await isLink(at)) || path.dirname(at) === at)
        return null;
      rest.push(path.basename(at));
    }
  }
}

const isLink = (file: string): Promise<boolean> =>
  lstat(file).then(
    (info) => info.isSymbolicLink(),
    () => false,
  );
