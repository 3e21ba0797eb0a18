// What travels between processes, checked by zod on both sides: requests and results of the engines, data of the jobs,
// and the records of a run in the store. Hashes and small numbers only: no tensor and no secret ever stands here.

import { blobRefSchema } from '@fovea/artifacts';
import { type Round, recipeSchema } from '@fovea/recipe';
import { z } from 'zod';

const sha256 = z.string().regex(/^[0-9a-f]{64}$/, 'a SHA-256 in lower-case hexadecimal');
const series = z.array(z.number());
/** Hashes of the user's files that a recipe names (`recipeSources` of @fovea/recipe). */
const sources = z.record(z.string(), sha256);

/** One round of the plan (see `Round` of @fovea/recipe). */
export const roundSchema = z.strictObject({
  track: z.enum(['trunk', 'aligned', 'control', 'placebo']),
  round: z.int().min(0),
  stage: z.enum(['init', 'latents', 'pretrain', 'projector', 'align']),
  stageIndex: z.int().min(-1),
  firstStep: z.int().min(0),
  steps: z.int().min(0),
  scored: z.boolean(),
}) satisfies z.ZodType<Round>;

/** Part `index` of a round that is cut into `of`. */
export const shardSchema = z.strictObject({ index: z.int().min(0), of: z.int().min(1) });

export const roundMetricsSchema = z.strictObject({
  /** Optimiser steps of the round. */
  steps: z.int().min(0),
  seconds: z.number().min(0),
  imagesPerSecond: z.number().min(0),
  /** Per step: the whole objective. */
  loss: series,
  /** Per step: each named term of it. */
  terms: z.record(z.string(), series),
  /** Per module: gradient norm, mean over the round. */
  gradNorm: z.record(z.string(), z.number()),
  /** On a fixed probe batch: the objective at the start and end of the round, and shuffled minus matched feedback loss. */
  probe: z.strictObject({ before: z.number(), after: z.number(), gap: z.number().nullable() }),
});
export type RoundMetrics = z.infer<typeof roundMetricsSchema>;

/** What every request carries, so that an engine needs nothing but the request. */
const requestBase = {
  storeRoot: z.string(),
  /** Folder for what can be made again: rasterised sprites, compiled graphs. */
  cacheDir: z.string(),
  recipe: recipeSchema,
  /** Folder that relative paths in the recipe start from. */
  recipeDir: z.string(),
  /** What the recipe's files must be; absent in runs that did not note it. */
  sources: sources.optional(),
};

export const trainRequestSchema = z.strictObject({
  kind: z.literal('train'),
  ...requestBase,
  runId: z.string(),
  round: roundSchema,
  /** Checkpoint to start from; null for the first round of the trunk. */
  base: sha256.nullable(),
  /** Which part of the round to compute. @default the whole of it */
  shard: shardSchema.optional(),
});
/** Of a whole round: what its checkpoint is made of. */
export const trainResultSchema = z.strictObject({
  weights: blobRefSchema,
  optimizer: blobRefSchema.nullable(),
  /** Moments of the shards that were merged; absent where the round was not cut. */
  inner: z.array(blobRefSchema).min(1).optional(),
  /** Optimiser steps since the first checkpoint of the chain. */
  step: z.int().min(0),
  metrics: roundMetricsSchema,
});
/** Of one shard of several. */
export const deltaResultSchema = z.strictObject({
  /** How far its parameters moved: base minus end, in the recipe's `shards.delta` code. */
  delta: blobRefSchema,
  /** Its optimiser's moments, and what the code rounded away. */
  inner: blobRefSchema,
  /** Pictures that it was trained on. */
  samples: z.int().min(0),
  metrics: roundMetricsSchema.omit({ probe: true }),
});
/** What a train request gives: {@link trainResultSchema} for a round of one shard, else {@link deltaResultSchema}. */
export const shardResultSchema = z.union([trainResultSchema, deltaResultSchema]);

/** Makes a round of its shards; the answer is a {@link trainResultSchema}. Shards that are not given are left out. */
export const mergeRequestSchema = z.strictObject({
  kind: z.literal('merge'),
  ...requestBase,
  runId: z.string(),
  round: roundSchema,
  base: sha256,
  shards: z.array(shardSchema.extend({ result: deltaResultSchema })).min(1),
});

export const scoreRequestSchema = z.strictObject({
  kind: z.literal('score'),
  ...requestBase,
  checkpoint: sha256,
  /** `baseline` or the role of its track. */
  role: z.string(),
  suites: z.array(z.string()),
});
export const scoreResultSchema = z.strictObject({ scorecard: blobRefSchema });

/** `runs/<id>/scores/<track>-<round>.json`: what the report and the gate read. */
export const scoredSchema = z.strictObject({
  checkpoint: sha256,
  role: z.string(),
  round: z.int().min(0),
  scorecard: sha256,
});
export type ScoredCheckpoint = z.infer<typeof scoredSchema>;

export const reportRequestSchema = z.strictObject({
  kind: z.literal('report'),
  ...requestBase,
  runId: z.string(),
  scorecards: z.array(scoredSchema),
});
/** The HTML page and its JSON. */
export const reportResultSchema = z.strictObject({ report: blobRefSchema, summary: blobRefSchema });

export type TrainRequest = z.infer<typeof trainRequestSchema>;
export type TrainResult = z.infer<typeof trainResultSchema>;
export type Shard = z.infer<typeof shardSchema>;
export type DeltaResult = z.infer<typeof deltaResultSchema>;
export type ShardResult = z.infer<typeof shardResultSchema>;
export type MergeRequest = z.infer<typeof mergeRequestSchema>;
export type ScoreRequest = z.infer<typeof scoreRequestSchema>;
export type ScoreResult = z.infer<typeof scoreResultSchema>;
export type ReportRequest = z.infer<typeof reportRequestSchema>;
export type ReportResult = z.infer<typeof reportResultSchema>;
export type EngineRequest = TrainRequest | MergeRequest | ScoreRequest | ReportRequest;

/** What an engine says while it computes. Any of it counts as a heartbeat. */
export const progressSchema = z.object({
  step: z.number(),
  steps: z.number(),
  loss: z.number().optional(),
  imagesPerSecond: z.number().optional(),
  text: z.string().optional(),
});
export type Progress = z.infer<typeof progressSchema>;

/** Of the data of jobs. A job of another version is refused, and queued anew by a coordinator of this one. */
export const JOB_VERSION = 2;

/** What every job carries: the version of this file's schemas, the run, and the session that queued it. */
const jobBase = {
  version: z.literal(JOB_VERSION),
  run: z.string(),
  /** W3C traceparent of whoever queued it. */
  trace: z.string().max(128).optional(),
  /** Counts the starts of the run; a job of an earlier session is stale by definition. */
  session: z.int().min(1),
};

export const jobDataSchema = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('shard'),
    ...jobBase,
    round: roundSchema,
    base: sha256.nullable(),
    shard: shardSchema,
  }),
  z.strictObject({
    kind: z.literal('merge'),
    ...jobBase,
    round: roundSchema,
    base: sha256.nullable(),
    shards: z.int().min(1),
  }),
  z.strictObject({
    kind: z.literal('score'),
    ...jobBase,
    checkpoint: sha256,
    role: z.string(),
    track: z.string(),
    round: z.int().min(0),
    suites: z.array(z.string()),
  }),
  z.strictObject({ kind: z.literal('report'), ...jobBase }),
]);
export type JobData = z.infer<typeof jobDataSchema>;
export type JobKind = JobData['kind'];
export type JobDataOf<K extends JobKind> = Extract<JobData, { kind: K }>;

/** `runs/<id>/tracks/<track>/<round>.json` in the store. */
export const roundRecordSchema = z.strictObject({
  checkpoint: sha256,
  step: z.int().min(0),
  stage: z.string(),
  metrics: roundMetricsSchema,
  /** ISO 8601. */
  committedAt: z.string(),
});
export type RoundRecord = z.infer<typeof roundRecordSchema>;

/**
 * `submitted` waits for a coordinator; `paused` and `cancelled` are what an operator wanted, `stopped` is what Ctrl-C did
 * to a `fovea train`.
 */
export const RUN_STATUSES = ['submitted', 'running', 'paused', 'stopped', 'failed', 'cancelled', 'completed'] as const;
export type RunStatus = (typeof RUN_STATUSES)[number];

/** `runs/<id>/plans/<track>/<round>.json`: into how many shards a round is cut, decided once. */
export const roundPlanSchema = z.strictObject({ shards: z.int().min(1) });

/** `runs/<id>/shards/<track>/<round>/<index>-of-<of>.json`: a shard that is done, until its round is committed. */
export const shardRecordSchema = z.strictObject({ base: sha256.nullable(), result: shardResultSchema });
export type ShardRecord = z.infer<typeof shardRecordSchema>;

/** `runs/<id>/report.json`. */
export const reportRecordSchema = reportResultSchema;

/** `runs/<id>/run.json` in the store: all that resuming needs. */
export const runRecordSchema = z.strictObject({
  version: z.literal(1),
  id: z.string().regex(/^[a-z0-9][a-z0-9-]*$/),
  /** The resolved recipe, overrides and all. */
  recipe: recipeSchema,
  /** Of the recipe and its sources. */
  recipeHash: sha256,
  recipeDir: z.string(),
  /** Absent in records of before it was kept. */
  sources: sources.optional(),
  /** The recipe as it was written, and the name or file it came from. */
  recipeText: z.string(),
  recipeSource: z.string(),
  createdAt: z.string(),
  updatedAt: z.string(),
  session: z.int().min(1),
  status: z.enum(RUN_STATUSES),
  /** Why it failed; null unless status is `failed`. */
  error: z.strictObject({ message: z.string(), user: z.boolean() }).nullable(),
});
export type RunRecord = z.infer<typeof runRecordSchema>;
