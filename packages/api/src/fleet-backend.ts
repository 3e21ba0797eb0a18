// The whole backend over a real fleet: what the store says, what Redis says is being done, and the operations that
// operators have. What needs neither, suites and figures, is handed in by the coordinator.

import {
  cancelRun,
  cancelSweep,
  type Fleet,
  type JobBook,
  listWorkers,
  pauseRun,
  queueOf,
  rankRun,
  readLog,
  readRun,
  resumeRun,
  submitRun,
} from '@fovea/jobs';
import type { ApiBackend, FleetReads } from './backend.ts';
import { redisEvents } from './events.ts';
import { storeReads } from './store-backend.ts';

export interface FleetBackendOptions {
  /** Its `redis` should fail fast: a person waits. */
  fleet: Fleet;
  book: JobBook;
  suites: FleetReads['suites'];
  metrics: FleetReads['metrics'];
  now: () => Date;
}

export function fleetBackend({ fleet, book, suites, metrics, now }: FleetBackendOptions): ApiBackend {
  return {
    ...storeReads(fleet.store),
    events: redisEvents(fleet),
    suites,
    metrics,
    async workers() {
      return (await listWorkers(fleet)).map(({ engines, job, ...worker }) => ({
        ...worker,
        pool: queueOf(worker),
        engines: Object.entries(engines).map(([name, version]) => `${name} ${version}`),
        job: job && { id: job.id, run: job.run, kind: job.kind },
      }));
    },
    pools: () => book.counts(),
    log: (id, { after = '0', limit }) => readLog(fleet, id, after, limit),
    async ready() {
      const [pong] = await Promise.all([fleet.redis.ping(), fleet.store.readRef('runs/none/run.json')]);
      return pong === 'PONG';
    },
    submit: (submission) => submitRun(fleet, submission, now()),
    pause: (id) => pauseRun(fleet, id),
    resume: (id) => resumeRun(fleet, id),
    cancel: (id) => cancelRun(fleet, id),
    cancelSweep: (id) => cancelSweep(fleet, id),
    async change(id, changes) {
      await readRun(fleet.store, id);
      await rankRun(fleet, id, changes);
    },
  };
}
