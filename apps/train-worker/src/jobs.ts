// The two kinds of job that train: a shard computes a round in the engine process, a merge turns the shards' results
// into the next checkpoint and commits it. With one shard that is exactly ordinary training.

import { type Checkpoint, FoveaError } from '@fovea/artifacts';
import {
  claimRound,
  commitRound,
  type EngineProcess,
  type FencingToken,
  type JobContext,
  type JobDataOf,
  type ProcessContext,
  type Progress,
  publishEvent,
  type RoundRecord,
  type TrainRequest,
  type TrainResult,
  throttled,
  timestamp,
  trainResultSchema,
} from '@fovea/jobs';
import type { Round } from '@fovea/recipe';

const PROGRESS_MS = 200;

/** Computes one shard of a round: {@link TrainRequest} to the engine, {@link TrainResult} to the queue. */
export async function shard(
  data: JobDataOf<'shard'>,
  { signal }: JobContext,
  context: ProcessContext,
  engine: EngineProcess,
): Promise<TrainResult> {
  const { store, run, cacheDir, redis } = context;
  const { round, base } = data;
  const request: TrainRequest = {
    kind: 'train',
    storeRoot: store.root,
    cacheDir,
    runId: run.id,
    recipe: run.recipe,
    recipeDir: run.recipeDir,
    sources: run.sources,
    round,
    base,
  };
  const place = { track: round.track, round: round.round, stage: round.stage, stepsBefore: round.firstStep };
  const onProgress = throttled(PROGRESS_MS, (event: Progress) => {
    publishEvent(redis, run.id, { type: 'progress', kind: 'train', ...place, ...event }).catch(() => undefined);
  });
  const result = await engine.run(request, { onProgress, signal });
  checkFinite(result, round);
  return trainResultSchema.parse(result);
}

/** Builds the checkpoint of a round from its shards and commits it under the job's fencing token. */
export async function merge(
  data: JobDataOf<'merge'>,
  { job }: JobContext,
  context: ProcessContext,
): Promise<RoundRecord> {
  const { store, run, redis } = context;
  const { round } = data;
  const token: FencingToken = { session: data.session, round: round.round, attempt: job.attemptsStarted };
  await claimRound(redis, run.id, round.track, token);
  const results = Object.values(await job.getChildrenValues()).map((value) => trainResultSchema.parse(value));
  if (results.length !== 1)
    throw new Error(`round ${round.round} of ${round.track} has ${results.length} shard results, not 1`);
  const [{ weights, optimizer, step, metrics }] = results;
  const manifest: Checkpoint = {
    version: 1,
    parent: data.base,
    track: round.track,
    stage: round.stage,
    round: round.round,
    step,
    weights,
    optimizer,
    cursor: { step: round.firstStep + round.steps },
    seed: run.recipe.seed,
    recipe: run.recipeHash,
  };
  const where = { redis, store, runId: run.id, track: round.track };
  const record = await commitRound(where, token, manifest, {
    step,
    stage: round.stage,
    metrics,
    committedAt: new Date().toISOString(),
  });
  console.log(`${timestamp()} committed round ${round.round} of ${round.track} as ${record.checkpoint}`);
  await announce(context, data, record);
  return record;
}

/**
 * A loss that is no number means that the weights are lost too, and such a round must not become anyone's start. Looks
 * at the raw result, because JSON has turned NaN into null on its way here.
 */
function checkFinite(result: unknown, { track, round }: Round): void {
  const loss = (result as { metrics?: { loss?: unknown } } | null)?.metrics?.loss;
  const bad = Array.isArray(loss) ? loss.findIndex((value) => !Number.isFinite(value)) : -1;
  if (bad >= 0) {
    throw new FoveaError(
      `Training diverged: the loss at step ${bad} of round ${round} of ${track} is no number; lower the stage's lr or clip in the recipe.`,
    );
  }
}

async function announce(
  { redis, run }: ProcessContext,
  { round }: JobDataOf<'merge'>,
  record: RoundRecord,
): Promise<void> {
  const { checkpoint, step, metrics } = record;
  const { steps, seconds, imagesPerSecond, loss, probe } = metrics;
  const place = { track: round.track, round: round.round, stage: round.stage };
  const ends = { lossFirst: loss[0] ?? null, lossLast: loss.at(-1) ?? null, gap: probe.gap };
  const event = { type: 'committed', ...place, checkpoint, step, steps, seconds, imagesPerSecond, ...ends } as const;
  await publishEvent(redis, run.id, event).catch(() => undefined);
}
