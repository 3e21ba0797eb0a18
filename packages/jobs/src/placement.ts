// Which queue a job goes into: one per kind of worker, so that a worker only gets what fits it. A job whose kind of
// worker is not there yet waits in the queue of the least that would do, where an autoscaler sees it.

import { type Pool, TIERS, type WorkerInfo } from './workers.ts';

/** What a job asks of a worker. */
export interface Need extends Pool {}

export const queueOf = ({ role, device, memory }: Pool): string => `${role}-${device}-${memory}g`;

/** The kind of worker that a queue is for; null for a name that is no such queue. */
export function poolOf(queue: string): Pool | null {
  const match = /^(train|eval)-(cpu|cuda|webgpu)-(\d+)g$/.exec(queue);
  if (!match) return null;
  return { role: match[1] as Pool['role'], device: match[2] as Pool['device'], memory: Number(match[3]) };
}

export const fits = (pool: Pool, need: Need): boolean =>
  pool.role === need.role && pool.device === need.device && pool.memory >= need.memory;

export interface Placement {
  pool: Pool;
  /** Workers of the pool that are there; 0 where the job has to wait for one. */
  workers: number;
}

/**
 * The pool with the most idle workers among those that fit; of equals the one with the least memory, so that the large
 * ones stay free for what needs them.
 */
export function place(need: Need, workers: readonly WorkerInfo[]): Placement {
  const pools = new Map<string, Placement & { idle: number }>();
  for (const worker of workers) {
    if (!fits(worker, need)) continue;
    const { role, device, memory, job } = worker;
    const known = pools.get(queueOf(worker)) ?? { pool: { role, device, memory }, workers: 0, idle: 0 };
    pools.set(queueOf(worker), { ...known, workers: known.workers + 1, idle: known.idle + (job ? 0 : 1) });
  }
  const [best] = [...pools.values()].sort(
    (a, b) => b.idle - a.idle || b.workers - a.workers || a.pool.memory - b.pool.memory,
  );
  if (best) return { pool: best.pool, workers: best.workers };
  const memory = TIERS.find((tier) => tier >= need.memory) ?? need.memory;
  return { pool: { ...need, memory }, workers: 0 };
}
