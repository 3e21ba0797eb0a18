// The two kinds of job that judge: a score of one checkpoint, remembered under the key of everything that made it, and
// the report that waits for all scores of a run.

import { type BlobRef, readCheckpoint, type Store } from '@fovea/artifacts';
import {
  type EngineProcess,
  type Fleet,
  faultPoint,
  type JobContext,
  type JobDataOf,
  type ProcessContext,
  type Progress,
  publishEvent,
  type ReportRequest,
  type ReportResult,
  type RunRecord,
  readScores,
  reportRef,
  reportResultSchema,
  type ScoredCheckpoint,
  type ScoreRequest,
  scoredRef,
  scoreKey,
  scoreRef,
  scoreResultSchema,
  throttled,
  timestamp,
} from '@fovea/jobs';
import { inject } from '@fovea/trackers/traces';

const PROGRESS_MS = 200;

/** What computes, or stands in for it. */
export type Engine = Pick<EngineProcess, 'run'>;

/** Scores a checkpoint, or finds that it was scored before, and notes the score as the run's. */
export async function score(
  data: JobDataOf<'score'>,
  { run, signal }: JobContext,
  { fleet, cacheDir }: ProcessContext,
  engine: Engine,
  suiteVersion: string,
): Promise<ScoredCheckpoint> {
  const { store } = fleet;
  const { checkpoint, role, track, round, suites } = data;
  await faultPoint('score-taken');
  const ref = scoreRef(scoreKey(checkpoint, suiteVersion, run, suites));
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
    const onProgress = relay(fleet, run, 'score', track, round);
    const hangTimeoutMs = run.recipe.engine.hangTimeout * 1000;
    const result = scoreResultSchema.parse(
      await engine.run(request, { onProgress, signal, hangTimeoutMs, trace: inject() }),
    );
    await faultPoint('score-computed');
    scorecard = await remember(store, ref, result.scorecard);
    await faultPoint('score-remembered');
  }
  const scored: ScoredCheckpoint = { checkpoint, role, round, scorecard };
  await store.writeRef(scoredRef(run.id, track, round), scored);
  await faultPoint('score-done');
  console.log(`${timestamp()} scored ${role} round ${round} as ${scorecard}${cached ? ', which was known' : ''}`);
  await publishEvent(fleet, run.id, { type: 'scored', track, round, role, scorecard, cached }).catch(() => undefined);
  return scored;
}

/** Records a score once; a second scorecard for the same key is dropped in favour of the first. */
async function remember(store: Store, ref: string, { sha256 }: BlobRef): Promise<string> {
  await store.get(sha256);
  if (await store.createRef(ref, { scorecard: sha256 })) return sha256;
  const first = (await store.readRef(ref)) as { scorecard: string };
  if (await store.has(first.scorecard)) return first.scorecard;
  await store.writeRef(ref, { scorecard: sha256 });
  return sha256;
}

/** Writes the report of the run from its scores. */
export async function report(
  _data: JobDataOf<'report'>,
  { run, signal }: JobContext,
  { fleet, cacheDir }: ProcessContext,
  engine: Engine,
): Promise<ReportResult> {
  const { store } = fleet;
  const request: ReportRequest = {
    kind: 'report',
    storeRoot: store.root,
    cacheDir,
    runId: run.id,
    recipe: run.recipe,
    recipeDir: run.recipeDir,
    scorecards: await readScores(store, run.id),
  };
  const onProgress = relay(fleet, run, 'report', 'trunk', 0);
  const hangTimeoutMs = run.recipe.engine.hangTimeout * 1000;
  const result = reportResultSchema.parse(
    await engine.run(request, { onProgress, signal, hangTimeoutMs, trace: inject() }),
  );
  await store.writeRef(reportRef(run.id), result);
  const [report, summary] = [result.report.sha256, result.summary.sha256];
  await publishEvent(fleet, run.id, { type: 'reported', report, summary }).catch(() => undefined);
  return result;
}

function relay(fleet: Fleet, run: RunRecord, kind: 'score' | 'report', track: string, round: number) {
  return throttled(PROGRESS_MS, (event: Progress) => {
    publishEvent(fleet, run.id, { type: 'progress', kind, track, round, ...event }).catch(() => undefined);
  });
}
