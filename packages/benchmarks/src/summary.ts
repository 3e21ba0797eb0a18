// summary.json: the run in numbers for other programs. Fields are fixed by the schema below and by the README; prose and
// per-item outcomes stay in the report and the scorecards.

import { z } from 'zod';
import { compareRoles } from './compare.ts';
import { finalScorecards, type RunData, roleOf, stagesOf } from './run-data.ts';

const interval = z.tuple([z.number(), z.number()]);

export const summarySchema = z.strictObject({
  run: z.string(),
  /** Name of the recipe. */
  recipe: z.string(),
  status: z.string(),
  stages: z.array(
    z.strictObject({
      name: z.string(),
      role: z.string(),
      steps: z.int(),
      /** Time in training steps, without evaluation and queueing. */
      seconds: z.number(),
      imagesPerSecond: z.number(),
      /** Objective on the fixed probe batch, before the stage and after it. */
      lossFirst: z.number(),
      lossLast: z.number(),
      /** Shuffled minus matched feedback loss after the last round; null where no denoiser takes part. */
      conditionGap: z.number().nullable(),
    }),
  ),
  checkpoints: z.array(z.strictObject({ id: z.string(), step: z.int(), stage: z.string(), role: z.string() })),
  evals: z.array(
    z.strictObject({
      suite: z.string(),
      split: z.string(),
      checkpoint: z.string(),
      role: z.string(),
      metric: z.string(),
      value: z.number(),
      n: z.int(),
      ci: interval,
    }),
  ),
  /** Pairs of roles at their last checkpoints, a minus b; splits that cannot carry a claim are left out. */
  comparisons: z.array(
    z.strictObject({
      suite: z.string(),
      split: z.string(),
      metric: z.string(),
      a: z.string(),
      b: z.string(),
      delta: z.number(),
      ci: interval,
      /** Unadjusted. */
      p: z.number(),
      n: z.int(),
    }),
  ),
  report: z.string(),
});

export type Summary = z.infer<typeof summarySchema>;

/** The summary of a run, checked against its schema. */
export function buildSummary(data: RunData): Summary {
  const comparisons = compareRoles(finalScorecards(data.scorecards)).rows;
  return summarySchema.parse({
    run: data.run,
    recipe: data.recipe.name,
    status: data.status,
    stages: stageSummaries(data),
    checkpoints: data.rounds.map(({ checkpoint, step, stage, track }) => ({
      id: checkpoint,
      step,
      stage,
      role: roleOf(track),
    })),
    evals: data.scorecards.flatMap(({ scorecard: { checkpoint, role, results } }) =>
      results.map(({ suite, split, metric, value, n, ci }) => ({
        suite,
        split,
        checkpoint,
        role,
        metric,
        value,
        n,
        ci,
      })),
    ),
    comparisons: comparisons
      .filter((row) => row.verdict !== 'not-testable')
      .map(({ suite, split, metric, a, b, delta, ci, p, n }) => ({ suite, split, metric, a, b, delta, ci, p, n })),
    report: data.report,
  });
}

/** One line per stage and role: totals over its rounds, the probe loss at either end. */
export function stageSummaries(data: Pick<RunData, 'rounds'>): Summary['stages'] {
  return stagesOf(data.rounds).map(({ name, role, rounds }) => {
    const metrics = rounds.map((round) => round.metrics);
    const seconds = metrics.reduce((total, m) => total + m.seconds, 0);
    const images = metrics.reduce((total, m) => total + m.seconds * m.imagesPerSecond, 0);
    return {
      name,
      role,
      steps: metrics.reduce((total, m) => total + m.steps, 0),
      seconds,
      imagesPerSecond: seconds > 0 ? images / seconds : 0,
      lossFirst: metrics[0].probe.before,
      lossLast: metrics[metrics.length - 1].probe.after,
      conditionGap: metrics[metrics.length - 1].probe.gap,
    };
  });
}
