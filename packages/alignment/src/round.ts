// What training a round, a shard of one, or a merge is asked and what it answers. Jobs carry the same shapes between
// processes, checked there by zod.

import type { BlobRef } from '@fovea/artifacts';
import type { Recipe, Role, Round } from '@fovea/recipe';

/** Part `index` (0 … of − 1) of a round that is cut into `of`. */
export interface Shard {
  index: number;
  of: number;
}

/** The one shard of a round that is not cut. */
export const WHOLE: Shard = { index: 0, of: 1 };

export interface RoundRequest {
  runId: string;
  recipe: Recipe;
  recipeDir: string;
  round: Round;
  /** Checkpoint to start from; null for the first of a run. */
  base: string | null;
  /** Which part of the round to compute. @default the whole of it */
  shard?: Shard;
}

export interface RoundMetrics {
  steps: number;
  seconds: number;
  imagesPerSecond: number;
  /** Objective per step. */
  loss: number[];
  /** Each named term per step. */
  terms: Record<string, number[]>;
  /** Mean gradient norm per module. */
  gradNorm: Record<string, number>;
  /** Objective on a fixed batch before and after, and how much worse shuffled conditions predict it. */
  probe: { before: number; after: number; gap: number | null };
}

/** A shard is not probed against its start: its weights are nobody's checkpoint. */
export type ShardMetrics = Omit<RoundMetrics, 'probe'>;

/** Of a whole round, or of one that was merged. */
export interface RoundResult {
  weights: BlobRef;
  optimizer: BlobRef | null;
  /** Moments of the shards that were merged; absent where the round was not cut. */
  inner?: BlobRef[];
  /** Optimiser steps since the run's start. */
  step: number;
  metrics: RoundMetrics;
}

/** Of one shard of several. */
export interface DeltaResult {
  /** How far its parameters moved: start minus end, in the recipe's `shards.delta` code. */
  delta: BlobRef;
  /** Its optimiser's moments, and what the code rounded away. */
  inner: BlobRef;
  /** Pictures that it was trained on. */
  samples: number;
  metrics: ShardMetrics;
}

export interface MergeRequest extends Omit<RoundRequest, 'shard'> {
  base: string;
  /** In any order; shards of the round that are not among them are left out. */
  shards: readonly (Shard & { result: DeltaResult })[];
}

export interface RoundProgress {
  step: number;
  steps: number;
  loss?: number;
  imagesPerSecond?: number;
  text?: string;
}

export type Report = (progress: RoundProgress) => void;

export const roleOf = (round: Round): Role => (round.track === 'trunk' ? 'aligned' : round.track);

/** Numbers of the stage's steps that a shard takes: every `of`-th of the round's, its union over all shards the round. */
export const stepsOf = ({ firstStep, steps }: Round, { index, of }: Shard): number[] =>
  Array.from({ length: Math.max(0, Math.ceil((steps - index) / of)) }, (_, i) => firstStep + index + i * of);
