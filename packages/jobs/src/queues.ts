// Names, ids, options and flows of the queue. Ids are made from what a job is for, so that adding it twice is adding it
// once; every job has an explicit priority, because in BullMQ none at all means the highest.

import type { FlowJob, JobsOptions, WorkerOptions } from 'bullmq';
import type { Redis } from 'ioredis';
import type { JobData, JobDataOf } from './schemas.ts';

export const TRAIN_QUEUE = 'fovea-train';
export const EVAL_QUEUE = 'fovea-eval';

/** Every key of a run in Redis starts with this. */
export const prefixOf = (runId: string) => `fovea:${runId}`;

/** Times a job may fail by itself before the run fails; what a user must mend fails at once. */
export const ATTEMPTS = 3;

/** Deterministic; without ':', which BullMQ keeps for itself. */
export function jobId(data: JobData): string {
  switch (data.kind) {
    case 'shard':
      return `shard-${data.round.track}-${data.round.round}-0`;
    case 'merge':
      return `merge-${data.round.track}-${data.round.round}`;
    case 'score':
      return `score-${data.track}-${data.round}`;
    case 'report':
      return 'report';
    default:
      return data satisfies never;
  }
}

function optionsOf(data: JobData, priority: number): JobsOptions {
  const backoff = { type: 'exponential', delay: 200, jitter: 0.5 };
  return { jobId: jobId(data), priority, attempts: ATTEMPTS, backoff };
}

/** A round: the merge waits for its shards (one today) and fails with them. Lower priority values go first. */
export function roundFlow(merge: JobDataOf<'merge'>, shards: JobDataOf<'shard'>[], priority: number): FlowJob {
  return {
    name: 'merge',
    queueName: TRAIN_QUEUE,
    data: merge,
    opts: optionsOf(merge, priority),
    children: shards.map((data) => ({
      name: 'shard',
      queueName: TRAIN_QUEUE,
      data,
      opts: { ...optionsOf(data, priority), failParentOnFailure: true },
    })),
  };
}

export function scoreJob(data: JobDataOf<'score'>, priority: number) {
  return {
    name: 'score',
    queueName: EVAL_QUEUE,
    data,
    opts: { ...optionsOf(data, priority), failParentOnFailure: true },
  };
}

/** The last flow: the report waits for every score, those that are done already included. */
export function reportFlow(report: JobDataOf<'report'>, scores: ReturnType<typeof scoreJob>[]): FlowJob {
  const flow = { name: 'report', queueName: EVAL_QUEUE, data: report, opts: optionsOf(report, 1) };
  return scores.length > 0 ? { ...flow, children: scores } : flow;
}

/**
 * A long lock renewed in time, and stalls forgiven (machines are preempted), with the number of starts as the bound on
 * poison. `FOVEA_LOCK_MS` shortens the lock, and the stall check with it, for a fleet that must notice death sooner.
 */
export function workerOptions(name: string, env: NodeJS.ProcessEnv = process.env): Omit<WorkerOptions, 'connection'> {
  const lockDuration = Number(env.FOVEA_LOCK_MS) || 60_000;
  return {
    name,
    concurrency: 1,
    lockDuration,
    stalledInterval: Math.max(100, lockDuration / 2),
    maxStalledCount: 100,
    maxStartedAttempts: 20,
    drainDelay: 2,
    runRetryDelay: 1000,
  };
}

/** Forgets everything that Redis knows of a run. The store is enough to start it again. */
export async function purgeRun(redis: Redis, runId: string): Promise<number> {
  let removed = 0;
  const glob = prefixOf(runId).replace(/[[\]?*\\]/g, '\\$&');
  for await (const keys of redis.scanStream({ match: `${glob}:*`, count: 500 })) {
    if (keys.length > 0) removed += await redis.unlink(...(keys as string[]));
  }
  return removed;
}
