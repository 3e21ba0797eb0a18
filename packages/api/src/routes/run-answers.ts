// How a run and its rounds look from outside: schemas and the functions that make them. Paths of this machine and the
// series of every step stay inside unless asked for.

import { type CommittedRound, RUN_STATUSES, type RunRecord, roundMetricsSchema, roundSchema } from '@fovea/jobs';
import { planOf, type Track } from '@fovea/recipe';
import { z } from 'zod';
import { type Control, controlSchema } from '../backend.ts';

export const summarySchema = z
  .object({
    id: z.string(),
    name: z.string().describe('Of the recipe.'),
    source: z.string().describe('The preset or file that the recipe came from, or `api`.'),
    seed: z.int(),
    status: z.enum(RUN_STATUSES),
    error: z.string().nullable().describe('Why it failed.'),
    session: z.int().describe('How often it was started.'),
    createdAt: z.string(),
    updatedAt: z.string(),
  })
  .meta({ title: 'RunSummary' });

const trackSchema = z.object({
  track: z.string(),
  committed: z.int().describe('Rounds that are committed.'),
  rounds: z.int().describe('Rounds of the plan.'),
  step: z.int().describe('Optimiser steps since the first checkpoint of the chain.'),
  checkpoint: z.string().nullable().describe('The newest.'),
});

export const runSchema = summarySchema
  .extend({
    control: controlSchema,
    tracks: z.array(trackSchema),
    recipe: z.record(z.string(), z.unknown()).describe('The resolved recipe.'),
    recipeText: z.string().describe('The recipe as it was written.'),
    recipeHash: z.string(),
  })
  .meta({ title: 'Run' });

export const roundAnswer = roundSchema
  .extend({
    committed: z
      .object({
        checkpoint: z.string(),
        step: z.int(),
        committedAt: z.string(),
        seconds: z.number(),
        imagesPerSecond: z.number(),
        lossFirst: z.number().nullable(),
        lossLast: z.number().nullable(),
        gap: z.number().nullable().describe('Shuffled minus matched feedback loss on the probe batch.'),
        metrics: roundMetricsSchema.optional().describe('With ?metrics=true.'),
      })
      .nullable(),
  })
  .meta({ title: 'Round' });

export const checkpointRow = z
  .object({
    id: z.string(),
    track: z.string(),
    stage: z.string(),
    round: z.int(),
    step: z.int(),
    committedAt: z.string(),
  })
  .meta({ title: 'CommittedCheckpoint' });

export const scoreRow = z
  .object({ scorecard: z.string(), checkpoint: z.string(), role: z.string(), round: z.int() })
  .meta({ title: 'ScoredCheckpoint' });

export function summaryOf(run: RunRecord): z.infer<typeof summarySchema> {
  const { id, status, session, createdAt, updatedAt } = run;
  return {
    id,
    name: run.recipe.name,
    source: run.recipeSource,
    seed: run.recipe.seed,
    status,
    error: run.error?.message ?? null,
    session,
    createdAt,
    updatedAt,
  };
}

type Committed = Map<Track, CommittedRound[]>;

export function describe(run: RunRecord, control: Control, committed: Committed): z.infer<typeof runSchema> {
  const tracks = [...planOf(run.recipe)].map(([track, rounds]) => {
    const done = committed.get(track) ?? [];
    const last = done.at(-1)?.record;
    return {
      track,
      committed: done.length,
      rounds: rounds.length,
      step: last?.step ?? 0,
      checkpoint: last?.checkpoint ?? null,
    };
  });
  const { recipe, recipeText, recipeHash } = run;
  return { ...summaryOf(run), control, tracks, recipe: { ...recipe }, recipeText, recipeHash };
}

/** Every round of the plan, those to come with `committed: null`. */
export function roundsOf(run: RunRecord, committed: Committed, withMetrics: boolean): z.infer<typeof roundAnswer>[] {
  return [...planOf(run.recipe)].flatMap(([track, rounds]) =>
    rounds.map((round, i) => {
      const record = committed.get(track)?.[i]?.record;
      if (!record) return { ...round, committed: null };
      const { checkpoint, step, committedAt, metrics } = record;
      const { seconds, imagesPerSecond, loss, probe } = metrics;
      const about = { checkpoint, step, committedAt, seconds, imagesPerSecond, gap: probe.gap };
      const ends = { lossFirst: loss[0] ?? null, lossLast: loss.at(-1) ?? null };
      return { ...round, committed: { ...about, ...ends, ...(withMetrics ? { metrics } : {}) } };
    }),
  );
}

export function checkpointsOf(committed: Committed): z.infer<typeof checkpointRow>[] {
  return [...committed].flatMap(([track, rounds]) =>
    rounds.map(({ round, record: { checkpoint, stage, step, committedAt } }) => ({
      id: checkpoint,
      track,
      stage,
      round: round.round,
      step,
      committedAt,
    })),
  );
}
