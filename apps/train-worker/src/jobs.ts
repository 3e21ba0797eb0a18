// The two kinds of job that train: a shard computes its part of a round in the engine process, a merge turns the shards'
// results into the next checkpoint and commits it. With one shard that is exactly ordinary training.

import { type Checkpoint, FoveaError, partialRef, type Store } from '@fovea/artifacts';
import {
  claimRound,
  commitRound,
  type EngineProcess,
  type FencingToken,
  type Fleet,
  faultPoint,
  type JobContext,
  type JobDataOf,
  type MergeRequest,
  mergeRequestSchema,
  type ProcessContext,
  type Progress,
  publishEvent,
  type RoundRecord,
  type RunRecord,
  readRound,
  type Shard,
  type ShardRecord,
  type ShardResult,
  shardRecordSchema,
  shardRef,
  shardsRef,
  stale,
  type TrainRequest,
  type TrainResult,
  throttled,
  timestamp,
  trainResultSchema,
} from '@fovea/jobs';
import type { Round } from '@fovea/recipe';
import { inject } from '@fovea/trackers/traces';

const PROGRESS_MS = 200;

/** Computes one shard of a round and records its result, unless that was done before or the round is over. */
export async function shard(
  data: JobDataOf<'shard'>,
  { run, signal }: JobContext,
  { fleet, cacheDir }: ProcessContext,
  engine: EngineProcess,
): Promise<void> {
  const { store } = fleet;
  const { round, base, shard } = data;
  const isOver = async () => (await readRound(store, run.id, round.track, round.round)) !== null;
  if (!(await recordOf(store, run, round, base, shard)) && !(await isOver())) {
    await faultPoint('shard-taken');
    const request: TrainRequest = { kind: 'train', ...requestBase(store, cacheDir, run), round, base, shard };
    const onProgress = relay(fleet, run, round);
    const hangTimeoutMs = run.recipe.engine.hangTimeout * 1000;
    const answer = await engine.run(request, { onProgress, signal, hangTimeoutMs, trace: inject() });
    checkFinite(answer, round);
    await faultPoint('shard-computed');
    const record = shardRecordSchema.parse({ base, result: answer });
    // Whoever slept here may wake when others have committed the round: nobody would take this away any more.
    if (!(await isOver())) await store.writeRef(shardRef(run.id, round.track, round.round, shard), record);
  }
  await faultPoint('shard-recorded');
  await store.removeRef(partialRef(run.id, round, shard));
}

/** Builds the checkpoint of a round from its shards and commits it under the job's fencing token. */
export async function merge(
  data: JobDataOf<'merge'>,
  { job, run, signal }: JobContext,
  { fleet, cacheDir }: ProcessContext,
  engine: EngineProcess,
): Promise<RoundRecord> {
  const { store } = fleet;
  const { round } = data;
  const known = await readRound(store, run.id, round.track, round.round);
  if (known) {
    await forgetShards(store, run, round);
    return known;
  }
  await faultPoint('merge-taken');
  const token: FencingToken = { session: data.session, round: round.round, attempt: job.attemptsStarted };
  await claimRound(fleet, run.id, round.track, token);
  await faultPoint('merge-claimed');
  const shards = await shardsOf(store, run, data);
  const result =
    data.shards === 1
      ? trainResultSchema.parse(shards[0].result)
      : await combine(mergeRequest(data, run, store, cacheDir, shards), fleet, run, engine, signal);
  const record = await commitRound(fleet, { runId: run.id, track: round.track }, token, manifestOf(run, data, result), {
    step: result.step,
    stage: round.stage,
    metrics: result.metrics,
    committedAt: new Date().toISOString(),
  });
  await faultPoint('commit-done');
  await forgetShards(store, run, round);
  console.log(`${timestamp()} committed round ${round.round} of ${round.track} as ${record.checkpoint}`);
  await announce(fleet, run, data, record);
  return record;
}

/** The checkpoint says it all now. */
async function forgetShards(store: Store, run: RunRecord, { track, round }: Round): Promise<void> {
  for (const ref of await store.listRefs(shardsRef(run.id, track, round))) await store.removeRef(ref);
}

const requestBase = (store: Store, cacheDir: string, run: RunRecord) => ({
  storeRoot: store.root,
  cacheDir,
  runId: run.id,
  recipe: run.recipe,
  recipeDir: run.recipeDir,
  sources: run.sources,
});

/** What a shard of this start gave before, if its blobs are still there. */
async function recordOf(
  store: Store,
  run: RunRecord,
  { track, round }: Round,
  base: string | null,
  shard: Shard,
): Promise<ShardRecord | null> {
  const record = shardRecordSchema.safeParse(await store.readRef(shardRef(run.id, track, round, shard)));
  if (!record.success || record.data.base !== base) return null;
  const has = await Promise.all(blobsOf(record.data.result).map(({ sha256 }) => store.has(sha256)));
  return has.every(Boolean) ? record.data : null;
}

function blobsOf(result: ShardResult) {
  if ('delta' in result) return [result.delta, result.inner];
  return result.optimizer ? [result.weights, result.optimizer] : [result.weights];
}

interface DoneShard extends Shard {
  result: ShardResult;
}

function mergeRequest(
  { round, base }: JobDataOf<'merge'>,
  run: RunRecord,
  store: Store,
  cacheDir: string,
  shards: DoneShard[],
): MergeRequest {
  const request = { kind: 'merge', ...requestBase(store, cacheDir, run), round, base, shards };
  return mergeRequestSchema.parse(request);
}

/** The shards that are done, by index; an error where that is fewer than the recipe asks for. */
async function shardsOf(store: Store, run: RunRecord, { round, base, shards: of }: JobDataOf<'merge'>) {
  const found: DoneShard[] = [];
  for (let index = 0; index < of; index++) {
    const record = await recordOf(store, run, round, base, { index, of });
    if (record) found.push({ index, of, result: record.result });
  }
  const quorum = Math.min(run.recipe.shards.quorum ?? of, of);
  if (found.length < quorum)
    // Where none of them failed, the merge was queued without them.
    throw stale(
      `round ${round.round} of ${round.track} has ${found.length} of its ${of} shards, fewer than the quorum of ${quorum}`,
    );
  return found;
}

async function combine(
  request: MergeRequest,
  fleet: Fleet,
  run: RunRecord,
  engine: EngineProcess,
  signal: AbortSignal,
): Promise<TrainResult> {
  const onProgress = relay(fleet, run, request.round);
  const answer = await engine.run(request, {
    onProgress,
    signal,
    hangTimeoutMs: run.recipe.engine.hangTimeout * 1000,
    trace: inject(),
  });
  checkFinite(answer, request.round);
  return trainResultSchema.parse(answer);
}

function manifestOf(run: RunRecord, { round, base }: JobDataOf<'merge'>, result: TrainResult): Checkpoint {
  const { weights, optimizer, inner, step } = result;
  return {
    version: 1,
    parent: base,
    track: round.track,
    stage: round.stage,
    round: round.round,
    step,
    weights,
    optimizer,
    ...(inner && { inner }),
    cursor: { step: round.firstStep + round.steps },
    seed: run.recipe.seed,
    recipe: run.recipeHash,
  };
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

function relay(fleet: Fleet, run: RunRecord, round: Round) {
  const place = { track: round.track, round: round.round, stage: round.stage, stepsBefore: round.firstStep };
  return throttled(PROGRESS_MS, (event: Progress) => {
    publishEvent(fleet, run.id, { type: 'progress', kind: 'train', ...place, ...event }).catch(() => undefined);
  });
}

async function announce(fleet: Fleet, run: RunRecord, { round }: JobDataOf<'merge'>, record: RoundRecord) {
  const { checkpoint, step, metrics } = record;
  const { steps, seconds, imagesPerSecond, loss, probe } = metrics;
  const place = { track: round.track, round: round.round, stage: round.stage };
  const ends = { lossFirst: loss[0] ?? null, lossLast: loss.at(-1) ?? null, gap: probe.gap };
  const event = { type: 'committed', ...place, checkpoint, step, steps, seconds, imagesPerSecond, ...ends } as const;
  await publishEvent(fleet, run.id, event).catch(() => undefined);
}
