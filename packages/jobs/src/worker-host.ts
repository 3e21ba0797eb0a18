// A BullMQ worker as this project wants it: job data checked, a user's error never retried, a lost lock or a stop that
// ends the work at once and gives the job back, and a successor that takes over from its dead predecessor without
// waiting for the lock to run out.

import { setTimeout as sleep } from 'node:timers/promises';
import { FoveaError, isUserError } from '@fovea/artifacts';
import type { Job } from 'bullmq';
import type { z } from 'zod';
import { bullmq } from './bullmq.ts';
import { isDiskFullReply, REDIS_DISK_FULL } from './connection.ts';
import { publishEvent } from './events.ts';
import { type ProcessContext, timestamp } from './lifecycle.ts';
import { prefixOf, workerOptions } from './queues.ts';
import { type JobData, type JobDataOf, type JobKind, jobDataSchema } from './schemas.ts';

export interface JobContext {
  job: Job;
  /** Aborted when the process stops or the job's lock is lost: end the work and throw. */
  signal: AbortSignal;
}

export type Processors = {
  [K in JobKind]?: (data: JobDataOf<K>, context: JobContext) => Promise<unknown>;
};

/** Longest wait for Redis when a worker stops, in milliseconds. */
const GOODBYE_MS = 1000;

/** How a user's error is told apart from others in a job's failure, which is only text. */
const USER_ERROR = 'FoveaError: ';

/** Reads a job's failure back. */
export function failureOf(reason: string): { message: string; user: boolean } {
  const user = reason.startsWith(USER_ERROR);
  return { message: user ? reason.slice(USER_ERROR.length) : reason, user };
}

/** Works on a queue until the context's signal aborts; returns when the last job is given back. */
export async function hostWorker(queueName: string, context: ProcessContext, processors: Processors): Promise<void> {
  const { Worker } = bullmq();
  const connection = context.open();
  const prefix = prefixOf(context.run.id);
  const running = new Map<string, AbortController>();
  await takeOver(queueName, context);
  const work = (job: Job, token?: string) => workOn(job, token, context, processors, running);
  const worker = new Worker(queueName, work, { ...workerOptions(context.name), connection, prefix });
  worker.on('error', (error) => report(error, context));
  worker.on('lockRenewalFailed', (ids) => {
    for (const id of ids) running.get(id)?.abort(new Error('the lock of the job was lost'));
  });
  await new Promise<void>((resolve) => {
    if (context.signal.aborted) resolve();
    context.signal.addEventListener('abort', () => resolve(), { once: true });
  });
  const closing = worker.close();
  for (const controller of running.values()) controller.abort(context.signal.reason);
  while (running.size > 0) await sleep(10);
  // Where Redis is gone there is nothing to say goodbye to, and the worker would wait for it.
  await Promise.race([closing, sleep(GOODBYE_MS, undefined, { ref: false })]);
}

async function workOn(
  job: Job,
  token: string | undefined,
  context: ProcessContext,
  processors: Processors,
  running: Map<string, AbortController>,
): Promise<unknown> {
  const { UnrecoverableError, WaitingError } = bullmq();
  const controller = new AbortController();
  running.set(job.id!, controller);
  try {
    const data = jobDataSchema.safeParse(job.data);
    if (!data.success) throw new UnrecoverableError(misfit(job, data.error));
    if (context.signal.aborted) throw context.signal.reason;
    const process = processors[data.data.kind] as
      | ((data: JobData, context: JobContext) => Promise<unknown>)
      | undefined;
    if (!process) throw new UnrecoverableError(`this worker does no ${data.data.kind} jobs`);
    return await process(data.data, { job, signal: controller.signal });
  } catch (error) {
    if (context.signal.aborted) {
      await giveBack(job, token);
      throw new WaitingError();
    }
    throw await failed(error, job, context);
  } finally {
    running.delete(job.id!);
  }
}

function misfit(job: Job, { issues: [issue] }: z.ZodError): string {
  return `the data of job ${job.id} is not of this version: at "${issue.path.join('.')}": ${issue.message}`;
}

/** The error that BullMQ shall see: a user's error ends the job, any other is tried again while attempts are left. */
async function failed(error: unknown, job: Job, context: ProcessContext): Promise<Error> {
  const { UnrecoverableError } = bullmq();
  const caught = error instanceof Error ? error : new Error(String(error));
  console.error(
    `${timestamp()} ${job.id} attempt ${job.attemptsMade + 1}: ${isUserError(caught) ? caught.message : caught.stack}`,
  );
  if (isUserError(caught)) return new UnrecoverableError(`${USER_ERROR}${caught.message}`);
  const attempts = job.opts.attempts ?? 1;
  if (job.attemptsMade + 1 < attempts && !(caught instanceof UnrecoverableError)) {
    const event = {
      type: 'retrying',
      kind: job.data.kind,
      job: job.id!,
      attempt: job.attemptsMade + 1,
      message: caught.message,
    } as const;
    await publishEvent(context.redis, context.run.id, event).catch(() => undefined);
  }
  return caught;
}

async function giveBack(job: Job, token?: string): Promise<void> {
  // Redis may be gone already; then the next session queues the job anew.
  const late = sleep(GOODBYE_MS, undefined, { ref: false });
  await Promise.race([job.moveToWait(token).catch(() => undefined), late]);
}

/**
 * Gives back what an earlier process of this name was working on when it died. Names are unique in a run and its driver
 * starts a successor only after the death, so nobody else can hold these locks.
 */
async function takeOver(queueName: string, context: ProcessContext): Promise<void> {
  const { Queue } = bullmq();
  const queue = new Queue(queueName, { connection: context.redis, prefix: prefixOf(context.run.id) });
  queue.on('error', (error) => report(error, context));
  const active = await queue.getActive();
  for (const job of active.filter((job) => job?.processedBy === context.name)) {
    // `0` is BullMQ's token for a job that has no lock any more.
    const token = (await context.redis.get(queue.toKey(`${job.id}:lock`))) ?? '0';
    console.error(`${timestamp()} ${job.id}: taken over from a process that died`);
    await job.moveToWait(token).catch(() => undefined);
  }
  await queue.close();
}

function report(error: Error, context: ProcessContext): void {
  if (isDiskFullReply(error)) context.fatal(new FoveaError(REDIS_DISK_FULL));
  else console.error(`${timestamp()} queue: ${error.message}`);
}
