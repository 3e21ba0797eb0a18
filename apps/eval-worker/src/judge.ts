// Scores checkpoints in this process: opens the data set and the foil encoder once and keeps them between requests.

import { checkpointWeights, EncoderSubject, FOIL, openData, type RecipeData, readWeightFile } from '@fovea/alignment';
import type { Store } from '@fovea/artifacts';
import { type Progress, type Scorecard, scoreCheckpoint } from '@fovea/benchmarks';
import { loadRecipe, type Recipe } from '@fovea/recipe';

export interface Judged {
  recipe: Recipe;
  recipeDir: string;
  cacheDir: string;
}

export interface ScoreQuery extends Judged {
  checkpoint: string;
  role: string;
  suites: readonly string[];
}

/** Its recipe, which fixes its shape. */
const FOIL_RECIPE = 'emoji-foil';

export class Judge {
  #data: { key: string; dataset: Promise<RecipeData> } | null = null;
  #foil: Promise<EncoderSubject> | null = null;

  /** Opens a request's data set, or finds it open. */
  datasetOf({ recipe, recipeDir, cacheDir }: Judged): Promise<RecipeData> {
    const key = JSON.stringify([recipe.data, recipe.encoder, recipe.seed, recipeDir, cacheDir]);
    if (this.#data?.key !== key) {
      this.#data = { key, dataset: openData(recipe, { recipeDir, cacheDir }) };
    }
    return this.#data.dataset;
  }

  async score(
    query: ScoreQuery,
    store: Store,
    progress: (event: Progress) => void,
    signal: AbortSignal,
  ): Promise<Scorecard> {
    const { recipe, checkpoint, role } = query;
    const dataset = await this.datasetOf(query);
    const file = await checkpointWeights(store, checkpoint, recipe);
    const subject = await EncoderSubject.open(file, recipe, query.recipeDir, { device: recipe.engine.device });
    try {
      const suites = this.#suitesFor(query, subject.unreadable(dataset.classes), progress);
      const foil = await this.#foilFor(dataset);
      return await scoreCheckpoint({ recipe, dataset, subject, foil, checkpoint, role, suites, progress, signal });
    } finally {
      await subject.dispose();
    }
  }

  /** Suites that ask by name need every word of the class names; without them the probes remain. */
  #suitesFor({ suites }: ScoreQuery, unknown: string[], progress: (event: Progress) => void): readonly string[] {
    if (unknown.length === 0) return suites;
    const text = `the text tower does not know ${unknown.slice(0, 3).join(', ')}…: only the probes are scored`;
    progress({ step: 0, steps: 1, text });
    return suites.filter((suite) => suite === 'probes');
  }

  async #foilFor(dataset: RecipeData): Promise<EncoderSubject | null> {
    this.#foil ??= openFoil();
    const foil = await this.#foil;
    const fits = foil.imageSize === dataset.imageSize && foil.unreadable(dataset.classes).length === 0;
    return fits ? foil : null;
  }
}

async function openFoil(): Promise<EncoderSubject> {
  const { recipe } = await loadRecipe(FOIL_RECIPE);
  return EncoderSubject.open(await readWeightFile(FOIL, ''), recipe, '');
}
