// Compares the plan of a run with what the store holds and queues what is missing. It keeps no state that matters: the
// plan comes from the recipe, the truth from the store, and every job's id from what the job is for, so that it may be
// killed, started twice or faced with an empty Redis at any moment.

import { stat } from 'node:fs/promises';
import path from 'node:path';
import type { Store } from '@fovea/artifacts';
import {
  bullmq,
  type CommittedRound,
  committedRounds,
  EVAL_QUEUE,
  failureOf,
  type JobData,
  type JobDataOf,
  jobId,
  prefixOf,
  type RunRecord,
  reportFlow,
  roundFlow,
  type ScoredCheckpoint,
  scoreJob,
  TRAIN_QUEUE,
} from '@fovea/jobs';
import { planOf, type Round, type Track } from '@fovea/recipe';
import type { FlowProducer, Job, Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import { judgeRetention } from './gate.ts';

export interface PlannerOptions {
  store: Store;
  run: RunRecord;
  runDir: string;
  redis: Redis;
  /** Tracks whose next round may be queued at once. An engine that stays on one track keeps its graphs. @defaultValue 1 */
  width?: number;
  /** `commit` scores a checkpoint as soon as it exists; `training` waits until no round is left. @defaultValue 'commit' */
  scoreAfter?: 'commit' | 'training';
}

export type Outcome =
  | { state: 'working' }
  | { state: 'completed' }
  | { state: 'failed'; message: string; user: boolean };

interface NextRound {
  round: Round;
  base: string | null;
  priority: number;
}

type Failure = Extract<Outcome, { state: 'failed' }>;

export class Planner {
  private readonly options: PlannerOptions;
  private readonly plan: Map<Track, Round[]>;
  private readonly flows: FlowProducer;
  private readonly trainQueue: Queue;
  private readonly evalQueue: Queue;
  private committed = new Map<Track, CommittedRound[]>();
  /** By checkpoint, what its score said of going on. */
  private readonly verdicts = new Map<string, 'open' | 'shut'>();

  constructor(options: PlannerOptions) {
    this.options = options;
    this.plan = planOf(options.run.recipe);
    const { FlowProducer, Queue } = bullmq();
    const shared = { connection: options.redis, prefix: prefixOf(options.run.id) };
    this.flows = new FlowProducer(shared);
    this.trainQueue = new Queue(TRAIN_QUEUE, shared);
    this.evalQueue = new Queue(EVAL_QUEUE, shared);
    const onError = (error: Error) => console.error(`queue: ${error.message}`);
    this.flows.on('error', onError);
    this.trainQueue.on('error', onError);
    this.evalQueue.on('error', onError);
  }

  /** One look at the store and the queue. Idempotent; calls must not overlap. */
  async reconcile(): Promise<Outcome> {
    const { store, run, width = 1, scoreAfter = 'commit' } = this.options;
    this.committed = await committedRounds(store, run, this.committed);
    const { next, isWaiting } = await this.nextRounds();
    for (const round of next.slice(0, width)) {
      const failure = await this.ensureRound(round);
      if (failure) return failure;
    }
    const scores = this.dueScores();
    if (next.length > 0 && scoreAfter === 'training' && !isWaiting) return { state: 'working' };
    let failure: Failure | null = null;
    for (const [n, score] of scores.entries()) failure ??= await this.ensureScore(score, n + 1);
    // A score that fails does not cost the rounds that are still to be trained.
    if (next.length > 0) return { state: 'working' };
    if (isWaiting) return failure ?? { state: 'working' };
    return failure ?? this.ensureReport(scores);
  }

  async close(): Promise<void> {
    await Promise.all([this.flows.close(), this.trainQueue.close(), this.evalQueue.close()]);
  }

  /** The next round of every track that has one and whose start is committed, in the order in which to train them. */
  private async nextRounds(): Promise<{ next: NextRound[]; isWaiting: boolean }> {
    const next: NextRound[] = [];
    let isWaiting = false;
    const trunk = this.committed.get('trunk') ?? [];
    const start = trunk.length === this.plan.get('trunk')!.length ? trunk.at(-1)!.record.checkpoint : null;
    for (const [n, [track, rounds]] of [...this.plan].entries()) {
      const done = this.committed.get(track) ?? [];
      const round = rounds[done.length];
      if (!round) continue;
      if (track !== 'trunk' && start === null) continue;
      const gate = await this.gateOf(track, done);
      isWaiting ||= gate === 'waits';
      if (gate !== 'open') continue;
      next.push({ round, base: done.at(-1)?.record.checkpoint ?? start, priority: n + 1 });
    }
    return { next, isWaiting };
  }

  /** Whether a branch may go on: `waits` for the score of its newest scored checkpoint, or `shut` by it for good. */
  private async gateOf(track: Track, done: CommittedRound[]): Promise<'open' | 'waits' | 'shut'> {
    const { store, run } = this.options;
    const align = run.recipe.stages.find((stage) => stage.stage === 'align');
    const newest = done.findLast(({ round }) => round.scored);
    if (track === 'trunk' || !align?.stopOn || !newest) return 'open';
    const known = this.verdicts.get(newest.record.checkpoint);
    if (known) return known;
    const scores = this.dueScores();
    const cardOf = async (score: JobDataOf<'score'> | undefined) => {
      const job = score && (await this.find(this.evalQueue, score));
      return job && (await job.isCompleted()) ? (job.returnvalue as ScoredCheckpoint).scorecard : null;
    };
    const start = await cardOf(scores.find((score) => score.track === 'trunk'));
    const now = await cardOf(scores.find((score) => score.checkpoint === newest.record.checkpoint));
    if (start === null || now === null) return 'waits';
    const { stops, delta, ci } = await judgeRetention(store, { start, now }, align.stopOn);
    const points = (x: number) => (100 * x).toFixed(1);
    if (stops)
      console.log(
        `${track} stops after round ${newest.round.round}: retention fell by ${points(-delta)} pt [${points(-ci[1])}, ${points(-ci[0])}]`,
      );
    this.verdicts.set(newest.record.checkpoint, stops ? 'shut' : 'open');
    return stops ? 'shut' : 'open';
  }

  private async ensureRound({ round, base, priority }: NextRound): Promise<Failure | null> {
    const shard: JobDataOf<'shard'> = { kind: 'shard', ...this.jobBase(), round, base };
    const merge: JobDataOf<'merge'> = { ...shard, kind: 'merge' };
    const mergeJob = await this.find(this.trainQueue, merge);
    if (!mergeJob) {
      await (await this.find(this.trainQueue, shard))?.remove().catch(() => undefined);
      await this.flows.add(roundFlow(merge, [shard], priority));
      return null;
    }
    const shardJob = await this.find(this.trainQueue, shard);
    if (shardJob && (await shardJob.isFailed())) return failed(shardJob);
    if (await mergeJob.isFailed()) return failed(mergeJob);
    if (await mergeJob.isCompleted()) {
      this.committed = await committedRounds(this.options.store, this.options.run, this.committed);
      const known = this.committed.get(round.track)?.length ?? 0;
      // Its ref was taken away after the commit: train the round again.
      if (known <= this.plan.get(round.track)!.indexOf(round)) await mergeJob.remove({ removeChildren: true });
    }
    return null;
  }

  private dueScores(): JobDataOf<'score'>[] {
    const { suites } = this.options.run.recipe.eval;
    if (suites.length === 0) return [];
    return [...this.committed.values()].flat().flatMap(({ round, record }) =>
      round.scored
        ? {
            kind: 'score' as const,
            ...this.jobBase(),
            checkpoint: record.checkpoint,
            role: round.track === 'trunk' ? 'baseline' : round.track,
            track: round.track,
            round: round.round,
            suites,
          }
        : [],
    );
  }

  private async ensureScore(score: JobDataOf<'score'>, priority: number): Promise<Failure | null> {
    const job = await this.find(this.evalQueue, score);
    if (job) return (await job.isFailed()) ? failed(job) : null;
    const { name, data, opts } = scoreJob(score, priority);
    await this.evalQueue.add(name, data, opts);
    return null;
  }

  private async ensureReport(scores: JobDataOf<'score'>[]): Promise<Outcome> {
    const report: JobDataOf<'report'> = { kind: 'report', ...this.jobBase() };
    const job = await this.find(this.evalQueue, report);
    if (!job) {
      await this.flows.add(
        reportFlow(
          report,
          scores.map((score, n) => scoreJob(score, n + 1)),
        ),
      );
      return { state: 'working' };
    }
    if (await job.isFailed()) return failed(job);
    if (!(await job.isCompleted())) return { state: 'working' };
    if (await this.reportExists()) return { state: 'completed' };
    await job.remove({ removeChildren: false });
    return { state: 'working' };
  }

  private async reportExists(): Promise<boolean> {
    const sizes = ['report.html', 'summary.json'].map((name) =>
      stat(path.join(this.options.runDir, name)).then(
        (info) => info.size,
        () => 0,
      ),
    );
    return (await Promise.all(sizes)).every((size) => size > 0);
  }

  private async find(queue: Queue, data: JobData): Promise<Job | null> {
    return (await queue.getJob(jobId(data))) ?? null;
  }

  private jobBase() {
    return { version: 1 as const, run: this.options.run.id, session: this.options.run.session };
  }
}

function failed(job: Job): Failure {
  return { state: 'failed', ...failureOf(job.failedReason || `job ${job.id} failed`) };
}
