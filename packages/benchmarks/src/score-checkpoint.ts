// Scores a checkpoint on a recipe's suites: builds the questions (once per foil and data set, then kept) and judges the
// subject by them.

import { canonicalJson, FoveaError } from '@fovea/artifacts';
import { type Dataset, type ImageFolder, isEmojiWorld } from '@fovea/data';
import type { Recipe } from '@fovea/recipe';
import { emojiPlan } from './emoji-suites.ts';
import { folderPlan } from './folder-suites.ts';
import type { ImageTextEncoder } from './image-text-encoder.ts';
import { type EvalPlan, SUITES, type Suite } from './plan.ts';
import { scorePlan } from './score.ts';
import type { Scorecard } from './scorecard.ts';
import type { RunOptions } from './scoring.ts';

export interface PlanRequest extends RunOptions {
  recipe: Recipe;
  dataset: Dataset;
  /** An encoder trained apart from the subject (another seed), from which wrong names come; null draws them at random. */
  foil: ImageTextEncoder | null;
  /** Defaults to the recipe's. */
  suites?: readonly string[];
}

export interface ScoreRequest extends PlanRequest {
  /** The model under test. */
  subject: ImageTextEncoder;
  /** Id of the checkpoint. */
  checkpoint: string;
  /** `baseline`, `aligned`, `control` or `placebo`. */
  role: string;
}

/** The scorecard of a checkpoint. Deterministic; throws the data set's errors and the signal's reason. */
export async function scoreCheckpoint(request: ScoreRequest): Promise<Scorecard> {
  const suites = suitesOf(request);
  if (request.foil !== null && request.foil === request.subject) {
    throw new Error('Foils must come from an encoder other than the one under test.');
  }
  const plan = await planFor(request);
  const { subject, checkpoint, role, progress, signal } = request;
  return scorePlan({ plan, subject, checkpoint, role, eval: request.recipe.eval, suites, progress, signal });
}

interface Kept {
  key: string;
  foil: ImageTextEncoder | null;
  plan: EvalPlan;
}

const kept = new WeakMap<Dataset, Kept[]>();
const KEPT = 2;

/** The questions of a recipe; kept in memory for the same data set and foil objects, so that later checkpoints skip this. */
export async function planFor(request: PlanRequest): Promise<EvalPlan> {
  const { recipe, dataset, foil, progress, signal } = request;
  const suites = suitesOf(request);
  const { seed, rendersPerConcept } = recipe.eval;
  const key = canonicalJson({ seed, rendersPerConcept, suites, data: recipe.data });
  const entries = kept.get(dataset) ?? [];
  const known = entries.find((entry) => entry.key === key && entry.foil === foil);
  if (known) return known.plan;
  if (dataset.classes.length < 2) {
    throw new FoveaError(
      `An evaluation chooses between names, but the recipe's data has ${dataset.classes.length}; give it at least two classes or leave eval.suites empty.`,
    );
  }
  const options = { eval: recipe.eval, foil, suites, progress, signal };
  const plan = isEmojiWorld(dataset)
    ? await emojiPlan(dataset, options)
    : await folderPlan(dataset as ImageFolder, options);
  kept.set(dataset, [...entries, { key, foil, plan }].slice(-KEPT));
  return plan;
}

function suitesOf({ recipe, suites = recipe.eval.suites }: PlanRequest): Suite[] {
  const wrong = suites.find((name) => !SUITES.includes(name as Suite));
  if (wrong !== undefined)
    throw new FoveaError(`There is no suite called "${wrong}"; the suites are ${SUITES.join(', ')}.`);
  return SUITES.filter((name) => suites.includes(name));
}
