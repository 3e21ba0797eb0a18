// The two kinds of job that judge: a score of one checkpoint, remembered under the key of everything that made it, and
// the report that waits for all scores of a run.

import { type BlobRef, readCheckpoint } from '@fovea/artifacts';
import {
  type EngineProcess,
  type JobContext,
  type JobDataOf,
  type ProcessContext,
  type Progress,
  publishEvent,
  type ReportRequest,
  type ReportResult,
  reportResultSchema,
  type ScoredCheckpoint,
  type ScoreRequest,
  scoreKey,
  scoreRef,
  scoreResultSchema,
  throttled,
  timestamp,
} from '@fovea/jobs';

const PROGRESS_MS = 200;

/** Scores a checkpoint, or finds that it was scored before. What it returns is what the report reads. */
export async function score(
  data: JobDataOf<'score'>,
  { signal }: JobContext,
  context: ProcessContext,
  engine: EngineProcess,
  suiteVersion: string,
): Promise<ScoredCheckpoint> {
  const { store, run, cacheDir, redis } = context;
  const { checkpoint, role, track, round, suites } = data;
  const ref = scoreRef(scoreKey(checkpoint, suiteVersion, run.recipe, suites));
  const known = (await store.readRef(ref)) as { scorecard?: string } | null;
  const cached = typeof known?.scorecard === 'string' && (await store.has(known.scorecard));
  let scorecard = known?.scorecard as string;
  if (!cached) {
    await readCheckpoint(store, checkpoint);
    const request: ScoreRequest = {
      kind: 'score',
      storeRoot: store.root,
      cacheDir,
      recipe: run.recipe,
      recipeDir: run.recipeDir,
      sources: run.sources,
      checkpoint,
      role,
      suites,
    };
    const onProgress = relay(context, 'score', track, round);
    const result = scoreResultSchema.parse(await engine.run(request, { onProgress, signal }));
    scorecard = await remember(context, ref, result.scorecard);
  }
  console.log(`${timestamp()} scored ${role} round ${round} as ${scorecard}${cached ? ', which was known' : ''}`);
  await publishEvent(redis, run.id, { type: 'scored', track, round, role, scorecard, cached }).catch(() => undefined);
  return { checkpoint, role, round, scorecard };
}

/** Records a score once; a second scorecard for the same key is dropped in favour of the first. */
async function remember({ store }: ProcessContext, ref: string, { sha256 }: BlobRef): Promise<string> {
  await store.get(sha256);
  if (await store.createRef(ref, { scorecard: sha256 })) return sha256;
  const first = (await store.readRef(ref)) as { scorecard: string };
  if (await store.has(first.scorecard)) return first.scorecard;
  await store.writeRef(ref, { scorecard: sha256 });
  return sha256;
}

/** Writes the report of the run from the scores that its children in the flow returned. */
export async function report(
  _data: JobDataOf<'report'>,
  { job, signal }: JobContext,
  context: ProcessContext,
  engine: EngineProcess,
): Promise<ReportResult> {
  const { store, run, runDir, cacheDir, redis } = context;
  const scorecards = Object.values(await job.getChildrenValues<ScoredCheckpoint>());
  scorecards.sort((a, b) => (a.role < b.role ? -1 : a.role > b.role ? 1 : a.round - b.round));
  const request: ReportRequest = {
    kind: 'report',
    storeRoot: store.root,
    cacheDir,
    runId: run.id,
    recipe: run.recipe,
    recipeDir: run.recipeDir,
    runDir,
    scorecards,
  };
  const onProgress = relay(context, 'report', 'trunk', 0);
  const result = reportResultSchema.parse(await engine.run(request, { onProgress, signal }));
  await publishEvent(redis, run.id, { type: 'reported', ...result }).catch(() => undefined);
  return result;
}

function relay({ redis, run }: ProcessContext, kind: 'score' | 'report', track: string, round: number) {
  return throttled(PROGRESS_MS, (event: Progress) => {
    publishEvent(redis, run.id, { type: 'progress', kind, track, round, ...event }).catch(() => undefined);
  });
}
