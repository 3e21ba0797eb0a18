// A fleet: everything that shares one prefix of one Redis and one store. `fovea train` is a private fleet of one run; a
// coordinator with workers on many machines is a lasting one. Keys of Redis are made here and nowhere else.

import type { Store } from '@fovea/artifacts';
import type { Redis } from 'ioredis';

/** Prefix of a fleet that was given no other name. */
export const DEFAULT_PREFIX = 'fovea';

export interface Fleet {
  /** For short commands; blocking ones need a connection of their own. */
  redis: Redis;
  store: Store;
  /** Every key of the fleet in Redis starts with this and a colon. */
  prefix: string;
}

/** Prefix of the private fleet of one run. */
export const privatePrefix = (runId: string) => `${DEFAULT_PREFIX}:${runId}`;

export const keys = {
  /** Stream of a run's events. */
  events: (prefix: string, runId: string) => `${prefix}:run:${runId}:events`,
  /** Stream of a run's log lines. */
  log: (prefix: string, runId: string) => `${prefix}:run:${runId}:log`,
  /** Hash: job id -> name of the queue that it was put into. */
  jobs: (prefix: string, runId: string) => `${prefix}:run:${runId}:jobs`,
  /** Set of the names of queues that had jobs. */
  queues: (prefix: string) => `${prefix}:queues`,
  /** Hash: the newest round of a track and who may commit the next. */
  latest: (prefix: string, runId: string, track: string) => `${prefix}:run:${runId}:latest:${track}`,
  /** Set of the names of workers; each has a key of its own that runs out. */
  workers: (prefix: string) => `${prefix}:workers`,
  worker: (prefix: string, name: string) => `${prefix}:worker:${name}`,
  /** Channel of {@link ControlMessage}s. */
  control: (prefix: string) => `${prefix}:control`,
  /** Held by the coordinator that queues a round, so that another does not take half of it away; runs out. */
  adding: (prefix: string, merge: string) => `${prefix}:adding:${merge}`,
};

/**
 * Forgets everything that Redis knows below a prefix, or of one run of it but the list by which its jobs are found. The
 * store is enough to start again.
 */
export async function purge(redis: Redis, prefix: string, runId?: string): Promise<number> {
  const below = runId === undefined ? prefix : `${prefix}:run:${runId}`;
  const glob = below.replace(/[[\]?*\\]/g, '\\$&');
  const list = runId === undefined ? null : keys.jobs(prefix, runId);
  let removed = 0;
  for await (const found of redis.scanStream({ match: `${glob}:*`, count: 500 })) {
    const gone = (found as string[]).filter((key) => key !== list);
    if (gone.length > 0) removed += await redis.unlink(...gone);
  }
  return removed;
}
