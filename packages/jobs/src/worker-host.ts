// A BullMQ worker as this project wants it: job data checked, stale jobs refused, a user's error never retried, a lost
// lock, a stop or an operator's wish that ends the work at once, and a successor that takes over from its dead
// predecessor without waiting for the lock to run out.

import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { FoveaError, isAway, isUserError } from '@fovea/artifacts';
import type { Job } from 'bullmq';
import type { z } from 'zod';
import { bullmq } from './bullmq.ts';
import { isDiskFullReply, REDIS_DISK_FULL } from './connection.ts';
import { type ControlMessage, onControl, readControl } from './control.ts';
import { publishEvent, writeLog } from './events.ts';
import { type ProcessContext, timestamp } from './lifecycle.ts';
import { queueOf } from './placement.ts';
import { workerOptions } from './queues.ts';
import { readRun } from './runs.ts';
import { type JobData, type JobDataOf, type JobKind, jobDataSchema, type RunRecord } from './schemas.ts';
import { type Pool, Registration } from './workers.ts';

export interface JobContext {
  job: Job;
  run: RunRecord;
  /** Aborted when the process stops, the job's lock is lost or somebody wants it to: end the work and throw. */
  signal: AbortSignal;
}

export type Processors = {
  [K in JobKind]?: (data: JobDataOf<K>, context: JobContext) => Promise<unknown>;
};

export interface HostOptions {
  pool: Pool;
  /** Versions of what computes, for whoever looks at the list of workers. */
  engines?: Record<string, string>;
  processors: Processors;
}

/** Longest wait for Redis when a worker stops, in milliseconds. */
const GOODBYE_MS = 1000;
/** How long a job waits for a store that cannot be reached. */
const AWAY_MS = 5000;
/** How often a worker looks itself whether its job is still wanted: messages may be lost. */
const LOOK_MS = 10_000;

/** How a user's error is told apart from others in a job's failure, which is only text. */
const USER_ERROR = 'FoveaError: ';
/** A job that is of no use any more; no fault of anybody. */
const STALE = 'Stale: ';

/** What a processor throws to end a job that is of no use: it is queued anew where it is still wanted. */
export const stale = (message: string): Error => new (bullmq().UnrecoverableError)(`${STALE}${message}`);

/** Reads a job's failure back. */
export function failureOf(reason: string): { message: string; user: boolean; stale: boolean } {
  const user = reason.startsWith(USER_ERROR);
  return { message: user ? reason.slice(USER_ERROR.length) : reason, user, stale: reason.startsWith(STALE) };
}

/** Why a job's work was ended from outside, and whether somebody shall go on with it. */
class Ended extends Error {
  readonly goesBack: boolean;

  constructor(message: string, goesBack: boolean) {
    super(message);
    this.goesBack = goesBack;
  }
}

/** Works on a pool's queue until the context's signal aborts; returns when the last job is given back. */
export async function hostWorker(context: ProcessContext, options: HostOptions): Promise<void> {
  const host = new Host(context, options);
  await host.run();
}

class Host {
  readonly #context: ProcessContext;
  readonly #options: HostOptions;
  /** By job id. */
  readonly #running = new Map<string, { controller: AbortController; run: string }>();
  #registration: Registration | null = null;

  constructor(context: ProcessContext, options: HostOptions) {
    this.#context = context;
    this.#options = options;
  }

  async run(): Promise<void> {
    const { Worker } = bullmq();
    const { fleet, name, signal, open } = this.#context;
    const { pool, engines = {} } = this.#options;
    await this.#takeOver();
    const about = { name, host: hostname(), pid: process.pid, engines, startedAt: timestamp() };
    this.#registration = await Registration.begin(fleet, { ...about, ...pool });
    const control = open();
    await onControl(control, fleet.prefix, (message) => this.#hear(message));
    const worker = new Worker(queueOf(pool), (job, token) => this.#work(job, token), {
      ...workerOptions(name),
      connection: open(),
      prefix: fleet.prefix,
    });
    worker.on('error', (error) => this.#report(error));
    worker.on('lockRenewalFailed', (ids) => {
      for (const id of ids) this.#end(id, new Ended('the lock of the job was lost', false));
    });
    const look = setInterval(() => void this.#look().catch(() => undefined), LOOK_MS);
    await new Promise<void>((resolve) => {
      if (signal.aborted) resolve();
      signal.addEventListener('abort', () => resolve(), { once: true });
    });
    clearInterval(look);
    const closing = worker.close();
    for (const id of this.#running.keys()) this.#end(id, new Ended('the worker stops', true));
    while (this.#running.size > 0) await sleep(10);
    // Where Redis is gone there is nothing to say goodbye to, and the worker would wait for it.
    const goodbye = Promise.all([closing, this.#registration.end()]).catch(() => undefined);
    await Promise.race([goodbye, sleep(GOODBYE_MS, undefined, { ref: false })]);
    control.disconnect();
  }

  #hear(message: ControlMessage): void {
    if (message.type === 'preempt')
      this.#end(message.job, new Ended('a job of higher priority needs the worker', true));
    if (message.type === 'cut') this.#end(message.job, new Ended('the round goes on without this shard', false));
    if (message.type !== 'abort') return;
    for (const [id, { run }] of this.#running) if (run === message.run) this.#end(id, new Ended(message.reason, false));
  }

  /** Looks whether what is being worked on is still wanted. */
  async #look(): Promise<void> {
    const { store } = this.#context.fleet;
    for (const [id, { run }] of this.#running) {
      const control = await readControl(store, run);
      if (control && control.wants !== 'run') this.#end(id, new Ended(`the run is to ${control.wants}`, false));
    }
  }

  #end(id: string, why: Ended): void {
    this.#running.get(id)?.controller.abort(why);
  }

  async #work(job: Job, token: string | undefined): Promise<unknown> {
    const { UnrecoverableError, WaitingError } = bullmq();
    const controller = new AbortController();
    const id = job.id!;
    this.#running.set(id, { controller, run: job.data?.run });
    if (this.#context.signal.aborted) this.#end(id, new Ended('the worker stops', true));
    try {
      const { data, run } = await this.#check(job);
      controller.signal.throwIfAborted();
      const process = this.#options.processors[data.kind] as
        | ((data: JobData, context: JobContext) => Promise<unknown>)
        | undefined;
      if (!process) throw new UnrecoverableError(`this worker does no ${data.kind} jobs`);
      this.#registration?.works({ id, run: run.id, kind: data.kind, priority: job.opts.priority ?? 0 });
      return await process(data, { job, run, signal: controller.signal });
    } catch (error) {
      const why = controller.signal.reason as Ended | undefined;
      if (!why && isAway(error)) throw await this.#later(error as Error, job, token);
      if (!why) throw await this.#failed(error, job);
      await this.#say(job, `ended: ${why.message}`);
      if (!why.goesBack) throw new UnrecoverableError(`${STALE}${why.message}`);
      await this.#giveBack(job, token);
      throw new WaitingError();
    } finally {
      this.#running.delete(id);
      this.#registration?.works(null);
    }
  }

  /** The data of a job and its run, unless the job is of another version or session, or its run shall not go on. */
  async #check(job: Job): Promise<{ data: JobData; run: RunRecord }> {
    const { UnrecoverableError } = bullmq();
    const parsed = jobDataSchema.safeParse(job.data);
    if (!parsed.success) throw new UnrecoverableError(`${STALE}${misfit(job, parsed.error)}`);
    const { store } = this.#context.fleet;
    const { data } = parsed;
    const [run, control] = [await readRun(store, data.run), await readControl(store, data.run)];
    if (run.session !== data.session)
      throw new UnrecoverableError(`${STALE}session ${data.session} of the run is over, ${run.session} is on`);
    if (control && control.wants !== 'run') throw new UnrecoverableError(`${STALE}the run is to ${control.wants}`);
    return { data, run };
  }

  /** The error that BullMQ shall see: a user's error ends the job, any other is tried again while attempts are left. */
  async #failed(error: unknown, job: Job): Promise<Error> {
    const { UnrecoverableError } = bullmq();
    const caught = error instanceof Error ? error : new Error(String(error));
    const user = isUserError(caught);
    await this.#say(job, `attempt ${job.attemptsMade + 1}: ${user ? caught.message : caught.stack}`);
    if (user) return new UnrecoverableError(`${USER_ERROR}${caught.message}`);
    const attempts = job.opts.attempts ?? 1;
    if (job.attemptsMade + 1 < attempts && !(caught instanceof UnrecoverableError)) {
      const event = {
        type: 'retrying',
        kind: job.data.kind,
        job: job.id!,
        attempt: job.attemptsMade + 1,
        message: caught.message,
      } as const;
      await publishEvent(this.#context.fleet, job.data.run, event).catch(() => undefined);
    }
    return caught;
  }

  /** Where the store cannot be reached no attempt was made: the job comes back by itself, to whoever can reach it then. */
  async #later(error: Error, job: Job, token?: string): Promise<Error> {
    await this.#say(job, `tried again in ${AWAY_MS / 1000} s: ${error.message}`);
    if (job.data.kind !== 'merge') await this.#context.fleet.redis.hset(this.#keyOf(job), 'ats', 0);
    await job.moveToDelayed(Date.now() + AWAY_MS, token);
    return new (bullmq().DelayedError)();
  }

  async #giveBack(job: Job, token?: string): Promise<void> {
    const { redis } = this.#context.fleet;
    const back = async () => {
      // A start that ended in good order is no sign of poison. Merges keep the count: it is their fencing token.
      if (job.data.kind !== 'merge') await redis.hset(this.#keyOf(job), 'ats', 0);
      await job.moveToWait(token);
    };
    // Redis may be gone already; then the coordinator queues the job anew.
    await Promise.race([back().catch(() => undefined), sleep(GOODBYE_MS, undefined, { ref: false })]);
  }

  /**
   * Gives back what an earlier process of this name was working on when it died. Names are unique in a fleet and a
   * supervisor starts a successor only after the death, so nobody else can hold these locks.
   */
  async #takeOver(): Promise<void> {
    const { fleet, name } = this.#context;
    const queue = new (bullmq().Queue)(queueOf(this.#options.pool), {
      connection: fleet.redis,
      prefix: fleet.prefix,
    });
    queue.on('error', (error) => this.#report(error));
    const active = await queue.getActive();
    for (const job of active.filter((job) => job?.processedBy === name)) {
      // `0` is BullMQ's token for a job that has no lock any more.
      const token = (await fleet.redis.get(queue.toKey(`${job.id}:lock`))) ?? '0';
      await this.#say(job, 'taken over from a process that died');
      await job.moveToWait(token).catch(() => undefined);
    }
    await queue.close();
  }

  #keyOf(job: Job): string {
    return `${this.#context.fleet.prefix}:${queueOf(this.#options.pool)}:${job.id}`;
  }

  async #say(job: Job, text: string): Promise<void> {
    console.error(`${timestamp()} ${job.id}: ${text}`);
    const { fleet, name } = this.#context;
    if (typeof job.data?.run === 'string')
      await Promise.race([
        writeLog(fleet, job.data.run, `${name} ${job.id}: ${text}`, new Date()).catch(() => undefined),
        sleep(GOODBYE_MS, undefined, { ref: false }),
      ]);
  }

  #report(error: Error): void {
    if (isDiskFullReply(error)) this.#context.fatal(new FoveaError(REDIS_DISK_FULL));
    else console.error(`${timestamp()} queue: ${error.message}`);
  }
}

function misfit(job: Job, { issues: [issue] }: z.ZodError): string {
  return `the data of job ${job.id} is not of this version: at "${issue.path.join('.')}": ${issue.message}`;
}
