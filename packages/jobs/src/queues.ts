// Ids and options of jobs, and a round as a flow. Ids are made from what a job is for, so that adding it twice is adding
// it once; every job has an explicit priority, because in BullMQ none at all means the highest.

import type { FlowJob, JobsOptions, WorkerOptions } from 'bullmq';
import type { JobData, JobDataOf } from './schemas.ts';

/** Times a job may fail by itself before the run fails; what a user must mend fails at once. */
export const ATTEMPTS = 3;

/** Room for the order of one run's jobs between two priorities of runs. */
const STEP = 1000;

/** BullMQ's priority of the n-th job of a run: lower goes first, and 1 is the first that is one at all. */
export const jobPriority = (runPriority: number, n: number): number =>
  (runPriority - 1) * STEP + Math.min(n, STEP - 1) + 1;

/** The run's priority that a job was given. */
export const runPriority = (priority: number): number => Math.floor((priority - 1) / STEP) + 1;

/** Deterministic; without ':', which BullMQ keeps for itself. A new session of a run has new ids. */
export function jobId(data: JobData): string {
  return `${data.run}.${data.session}.${nameOf(data)}`;
}

/** The run that a job belongs to. */
export const runOfJob = (id: string): string => id.slice(0, id.indexOf('.'));

/** What a job does, by its id: shard, merge, score or report. */
export const kindOfJob = (id: string): string => /^[^.]+\.\d+\.([a-z]+)/.exec(id)?.[1] ?? 'other';

function nameOf(data: JobData): string {
  switch (data.kind) {
    case 'shard':
      return `shard-${data.round.track}-${data.round.round}-${data.shard.index}`;
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

/** No backoff: its end is a time of the worker's clock, and where that is an hour ahead everybody would wait an hour. */
export function jobOptions(data: JobData, priority: number): JobsOptions {
  return { jobId: jobId(data), priority, attempts: ATTEMPTS, sizeLimit: 256 * 1024 };
}

/**
 * A round: the merge waits for its shards. A single shard takes the merge down with it; of several one may be missing,
 * and whether enough are there is for the merge to say.
 */
export function roundFlow(
  queueName: string,
  merge: JobDataOf<'merge'>,
  shards: JobDataOf<'shard'>[],
  priority: number,
): FlowJob {
  const whenOneFails = shards.length === 1 ? { failParentOnFailure: true } : { ignoreDependencyOnFailure: true };
  return {
    name: 'merge',
    queueName,
    data: merge,
    opts: jobOptions(merge, priority),
    children: shards.map((data) => ({
      name: 'shard',
      queueName,
      data,
      opts: { ...jobOptions(data, priority), ...whenOneFails },
    })),
  };
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

/** What a span or a log line says of a job: ids and numbers, nothing of the user's. */
export function aboutJob(data: JobData): Record<string, string | number> {
  const about = { 'fovea.run': data.run, 'fovea.session': data.session };
  if (data.kind === 'report') return about;
  const { track, round } = data.kind === 'score' ? data : data.round;
  return { ...about, 'fovea.track': track, 'fovea.round': round };
}
