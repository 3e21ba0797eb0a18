// The benchmarks that a recipe names beside its suites: built-in twins, drawn in the recipe's own world where it has one, and
// folders of the user's.

import path from 'node:path';
import { FoveaError } from '@fovea/artifacts';
import type { Recipe } from '@fovea/recipe';
import { readSuite } from './suite/read-suite.ts';
import type { Suite } from './suite/suite.ts';
import { Twins, twinsNamed } from './twins/open-twins.ts';

/** Opens them in the order of the recipe. Throws a FoveaError for what is not there, damaged, or named twice. */
export async function openBenchmarks(recipe: Recipe, recipeDir: string, cacheDir: string): Promise<Suite[]> {
  const suites: Suite[] = [];
  let twins: Twins | null = null;
  try {
    for (const each of recipe.eval.benchmarks) {
      if (typeof each !== 'string') {
        const images = each.images === undefined ? undefined : path.resolve(recipeDir, each.images);
        suites.push(await readSuite(path.resolve(recipeDir, each.path), { images }));
        continue;
      }
      twins ??= await Twins.open(cacheDir, recipe.data);
      for (const name of twinsNamed(each)) suites.push(await twins.build(name));
    }
  } finally {
    await twins?.close();
  }
  const names = suites.map(({ manifest }) => manifest.name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice) throw new FoveaError(`The recipe's eval.benchmarks names "${twice}" twice; take one of them out.`);
  return suites;
}
