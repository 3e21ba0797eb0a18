// Scores checkpoints in this process: opens the data set and the foil encoder once and keeps them between requests.

import path from 'node:path';
import {
  checkpointWeights,
  EncoderSubject,
  FOIL,
  openData,
  type RecipeData,
  readWeightFile,
  type WeightFile,
} from '@fovea/alignment';
import type { Store } from '@fovea/artifacts';
import { type Progress, type Scorecard, scoreCheckpoint } from '@fovea/benchmarks';
import {
  encoderSubject,
  openBenchmarks,
  openCheckpoint,
  probeSubject,
  scoreBenchmarks,
} from '@fovea/benchmarks/judging';
import { loadRecipe, type Recipe } from '@fovea/recipe';

export interface Judged {
  recipe: Recipe;
  recipeDir: string;
  cacheDir: string;
  /** Hashes of the files that the recipe names. */
  sources?: Record<string, string>;
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
      const card = await scoreCheckpoint({
        recipe,
        dataset,
        subject,
        foil,
        checkpoint,
        role,
        suites,
        progress,
        signal,
      });
      if (recipe.eval.benchmarks.length === 0) return card;
      const { results, omitted, benchmarks } = await this.#benchmarks(query, file, progress, signal);
      return {
        ...card,
        results: [...card.results, ...results],
        omitted: [...card.omitted, ...omitted],
        benchmarks,
      };
    } finally {
      await subject.dispose();
    }
  }

  /** Asks the benchmarks that the recipe names beside its suites. What was answered before a crash is not asked again. */
  async #benchmarks(
    query: ScoreQuery,
    file: WeightFile,
    progress: (event: Progress) => void,
    signal: AbortSignal,
  ): Promise<Awaited<ReturnType<typeof scoreBenchmarks>>> {
    const { recipe, recipeDir, sources, checkpoint, cacheDir } = query;
    const suites = await openBenchmarks(recipe, recipeDir, cacheDir);
    const { device } = recipe.engine;
    const { judged, dispose } = await openCheckpoint({ file, checkpoint, recipe, recipeDir, sources, device });
    try {
      const { bootstrap: count, seed } = recipe.eval;
      return await scoreBenchmarks({
        suites,
        subjects: [encoderSubject(judged), probeSubject(judged)],
        folder: (key) => path.join(cacheDir, 'evaluations', key),
        bootstrap: { count, seed },
        now: () => new Date(),
        progress,
        signal,
      });
    } finally {
      await dispose();
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
