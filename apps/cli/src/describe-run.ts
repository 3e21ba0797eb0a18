// From what was typed to what a run is made of: the recipe, resolved, and the hashes of the files that it names. `fovea
// train` and `fovea submit` share it.

import { FoveaError } from '@fovea/artifacts';
import type { Submission } from '@fovea/jobs';
import { loadRecipe, recipeHash, recipeSchema, recipeSources } from '@fovea/recipe';
import type { Home } from './home.ts';

export interface RunWish {
  /** Name of a preset, or a file. */
  recipe: string;
  fromScratch?: boolean;
  seed?: number;
  set?: string[];
  name?: string;
}

/** Hashing files that takes longer than this is worth a word. */
const SLOW_MS = 1000;

export async function describeRun(home: Home, wish: RunWish, say: (text: string) => void): Promise<Submission> {
  const { recipe, recipeDir, text } = await loadRecipe(wish.recipe, {
    fromScratch: wish.fromScratch,
    seed: wish.seed,
    set: wish.set,
  });
  const name = recipeSchema.shape.name.safeParse(wish.name ?? recipe.name);
  if (!name.success)
    throw new FoveaError(
      `The run cannot be named "${wish.name}": ${name.error.issues[0].message}; give another --name.`,
    );
  const sources = await reading(say, recipeSources(recipe, recipeDir, home.cacheDir));
  const about = {
    recipeHash: recipeHash(recipe, sources),
    recipeDir,
    sources,
    recipeText: text,
    recipeSource: wish.recipe,
  };
  return { recipe: { ...recipe, name: name.data }, ...about };
}

/** Says so where hashing the files that a recipe names takes its time. */
export async function reading<T>(say: (text: string) => void, hashing: Promise<T>): Promise<T> {
  const slow = setTimeout(() => say('reading the files that the recipe names, which is done once for each'), SLOW_MS);
  return hashing.finally(() => clearTimeout(slow));
}
