// Where each job of a fleet is: the queues by name, and per run a list of its jobs, so that a job is found by its id
// whatever queue it was put into and a run's jobs can be taken away together.

import { randomUUID } from 'node:crypto';
import type { FlowProducer, Job, Queue } from 'bullmq';
import { bullmq } from './bullmq.ts';
import { type Fleet, keys } from './fleet.ts';
import { poolOf, queueOf } from './placement.ts';
import { jobId, jobOptions, roundFlow, runOfJob } from './queues.ts';
import type { JobData, JobDataOf } from './schemas.ts';
import { listWorkers, type Pool, type WorkerInfo } from './workers.ts';

/** How many jobs of a pool are in which state, and how many workers it has. */
export interface PoolCounts extends Pool {
  queue: string;
  workers: number;
  /** Ready to be taken, those with a priority included. */
  waiting: number;
  active: number;
  delayed: number;
  /** Merges that wait for their shards. */
  waitingChildren: number;
  failed: number;
  /** Jobs that may be worked on at once; null for as many as there are workers. */
  limit: number | null;
}

/** Jobs that are queued in one transaction, in which Redis serves nobody else. */
const BULK = 200;

/** Asks Redis itself about each job of a run's list, so that thousands cost one round trip. */
const SOUNDNESS = `
local alive = {}
for i = 2, #ARGV do alive[ARGV[i]] = true end
local jobs = redis.call('HGETALL', KEYS[1])
for i = 1, #jobs, 2 do
  local id, queue = jobs[i], ARGV[1] .. ':' .. jobs[i + 1]
  local sound = redis.call('EXISTS', queue .. ':' .. id) == 1
    and not redis.call('ZSCORE', queue .. ':completed', id)
    and not redis.call('ZSCORE', queue .. ':failed', id)
    and (alive['*'] or alive[jobs[i + 1]] or redis.call('EXISTS', queue .. ':' .. id .. ':lock') == 1)
  jobs[i + 1] = sound and 1 or 0
end
return jobs`;

/** Longer than queueing a round takes, and short beside the pause after a coordinator was killed in it. */
const ADDING_MS = 3000;

export class JobBook {
  readonly #fleet: Fleet;
  readonly #queues = new Map<string, Queue>();
  readonly #flows: FlowProducer;
  readonly #onError: (error: Error) => void;

  constructor(fleet: Fleet, onError: (error: Error) => void) {
    this.#fleet = fleet;
    this.#onError = onError;
    this.#flows = new (bullmq().FlowProducer)({ connection: fleet.redis, prefix: fleet.prefix });
    this.#flows.on('error', onError);
  }

  queue(name: string): Queue {
    const known = this.#queues.get(name);
    if (known) return known;
    const queue = new (bullmq().Queue)(name, { connection: this.#fleet.redis, prefix: this.#fleet.prefix });
    queue.on('error', this.#onError);
    this.#queues.set(name, queue);
    return queue;
  }

  /** Queues a round's merge and shards, once, however many coordinators want to at the same time. */
  async addRound(pool: Pool, merge: JobDataOf<'merge'>, shards: JobDataOf<'shard'>[], priority: number): Promise<void> {
    const { redis, prefix } = this.#fleet;
    const [key, mine] = [keys.adding(prefix, jobId(merge)), randomUUID()];
    if ((await redis.set(key, mine, 'PX', ADDING_MS, 'NX')) === null) return;
    try {
      // Somebody else queued it since we looked: what is there is theirs, and nothing left over.
      if (await this.find(merge)) return;
      for (const shard of shards) {
        const left = await this.find(shard);
        if (left) await this.remove(left);
      }
      const name = queueOf(pool);
      await this.#clear(name, merge);
      for (const shard of shards) await this.#clear(name, shard, this.queue(name).toKey(jobId(merge)));
      await this.#note(name, merge.run, [merge, ...shards].map(jobId));
      await this.#flows.add(roundFlow(name, merge, shards, priority));
    } finally {
      if ((await redis.get(key)) === mine) await redis.del(key);
    }
  }

  async add(pool: Pool, data: JobData, priority: number): Promise<void> {
    const name = queueOf(pool);
    await this.#clear(name, data);
    await this.#note(name, data.run, [jobId(data)]);
    await this.queue(name).add(data.kind, data, jobOptions(data, priority));
  }

  /** Queues many jobs of one run; those that are there already stay as they are. */
  async addAll(pool: Pool, jobs: { data: JobData; priority: number }[]): Promise<void> {
    const name = queueOf(pool);
    for (let from = 0; from < jobs.length; from += BULK) {
      const some = jobs.slice(from, from + BULK);
      const ids = some.map(({ data }) => jobId(data));
      await this.#note(name, some[0].data.run, ids);
      const about = some.map(({ data, priority }) => ({ name: data.kind, data, opts: jobOptions(data, priority) }));
      await this.queue(name).addBulk(about);
    }
  }

  /**
   * Every job that was queued for a run by its id, in one question: whether it is still there, has not ended and, where
   * `alive` names the queues that have workers, is in one of them or being worked on.
   */
  async soundness(runId: string, alive: readonly string[] | null): Promise<Map<string, boolean>> {
    const { redis, prefix } = this.#fleet;
    const answer = await redis.eval(SOUNDNESS, 1, keys.jobs(prefix, runId), prefix, ...(alive ?? ['*']));
    const pairs = answer as (string | number)[];
    return new Map(Array.from({ length: pairs.length / 2 }, (_, i) => [String(pairs[2 * i]), pairs[2 * i + 1] === 1]));
  }

  async find(data: JobData): Promise<Job | null> {
    const id = jobId(data);
    const name = await this.#fleet.redis.hget(keys.jobs(this.#fleet.prefix, data.run), id);
    return name === null ? null : ((await this.queue(name).getJob(id)) ?? null);
  }

  /** Takes a job away, and its children with it. False where somebody works on one of them. */
  async remove(job: Job): Promise<boolean> {
    try {
      await job.remove({ removeChildren: true });
      await this.#fleet.redis.hdel(keys.jobs(this.#fleet.prefix, runOfJob(job.id!)), job.id!);
      return true;
    } catch {
      return false;
    }
  }

  /**
   * Takes all jobs of a run away but those that are being worked on, whose workers must be told; they stay noted for a
   * later call.
   */
  async removeRun(runId: string): Promise<void> {
    const { redis, prefix } = this.#fleet;
    const list = keys.jobs(prefix, runId);
    const jobs = Object.entries(await redis.hgetall(list));
    // Merges first: without their children they would be ready.
    const merges = jobs.filter(([id]) => id.includes('.merge-'));
    for (const [id, name] of [...merges, ...jobs]) {
      const job = await this.queue(name).getJob(id);
      if (job) await this.remove(job);
      else await redis.hdel(list, id);
    }
  }

  /** Lets at most so many jobs of a queue be worked on at once, however many workers there are; null for no limit. */
  async limit(queue: string, most: number | null): Promise<void> {
    if (most === null) await this.queue(queue).removeGlobalConcurrency();
    else await this.queue(queue).setGlobalConcurrency(most);
  }

  /** Every pool that has workers or had jobs. */
  async counts(workers?: readonly WorkerInfo[]): Promise<PoolCounts[]> {
    const alive = workers ?? (await listWorkers(this.#fleet));
    const names = new Set([...this.#queues.keys(), ...alive.map(queueOf)]);
    for (const name of await this.#known()) names.add(name);
    const counts = [...names].sort().map(async (name): Promise<PoolCounts[]> => {
      const pool = poolOf(name);
      if (!pool) return [];
      const states = ['waiting', 'prioritized', 'active', 'delayed', 'waiting-children', 'failed'] as const;
      const count = await this.queue(name).getJobCounts(...states);
      const { waiting = 0, prioritized = 0, active = 0, delayed = 0, failed = 0 } = count;
      return [
        {
          ...pool,
          queue: name,
          workers: alive.filter((worker) => queueOf(worker) === name).length,
          waiting: waiting + prioritized,
          active,
          delayed,
          waitingChildren: count['waiting-children'] ?? 0,
          failed,
          limit: await this.queue(name).getGlobalConcurrency(),
        },
      ];
    });
    return (await Promise.all(counts)).flat();
  }

  async close(): Promise<void> {
    await Promise.all([this.#flows.close(), ...[...this.#queues.values()].map((queue) => queue.close())]);
  }

  /** Takes away a job of the same id that has ended or is another's child, since adding ours would change nothing. */
  async #clear(queue: string, data: JobData, parentKey?: string): Promise<void> {
    const left = await this.queue(queue).getJob(jobId(data));
    if (left && (left.finishedOn || left.parentKey !== parentKey)) await this.remove(left);
  }

  /** Noted before the job is added, so that no job is ever there that cannot be found. */
  async #note(queue: string, runId: string, ids: string[]): Promise<void> {
    const { redis, prefix } = this.#fleet;
    const fields = ids.flatMap((id) => [id, queue]);
    await redis
      .multi()
      .hset(keys.jobs(prefix, runId), ...fields)
      .sadd(keys.queues(prefix), queue)
      .exec();
  }

  #known(): Promise<string[]> {
    return this.#fleet.redis.smembers(keys.queues(this.#fleet.prefix));
  }
}
