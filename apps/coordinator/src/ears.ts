// What tells the coordinator at once that a job has ended: BullMQ's stream of events of every queue that there is. Missing
// one costs a second, since the coordinator looks by itself.

import { bullmq, kindOfJob, type PoolCounts, type ProcessContext, timestamp } from '@fovea/jobs';
import type { FleetMetrics } from '@fovea/trackers';
import type { QueueEvents } from 'bullmq';
import type { Coordinator } from './coordinator.ts';

/** Hears of the jobs that end in every queue that there is, on a connection for each. */
export class Ears {
  readonly #context: ProcessContext;
  readonly #coordinator: Coordinator;
  readonly #metrics: FleetMetrics;
  readonly #wake: () => void;
  readonly #queues = new Map<string, QueueEvents>();

  constructor(context: ProcessContext, coordinator: Coordinator, metrics: FleetMetrics, wake: () => void) {
    this.#metrics = metrics;
    this.#context = context;
    this.#coordinator = coordinator;
    this.#wake = wake;
  }

  /** Listens to the queues of these pools too, from now on. */
  open(pools: readonly PoolCounts[]): void {
    for (const { queue } of pools) {
      if (this.#queues.has(queue)) continue;
      const { QueueEvents } = bullmq();
      const events = new QueueEvents(queue, {
        connection: this.#context.open(),
        prefix: this.#context.fleet.prefix,
        lastEventId: '0-0',
      });
      this.#queues.set(queue, events);
      const heard = (failed: boolean) => (event: { jobId: string }) => {
        this.#coordinator.hearJob(event.jobId, failed);
        this.#wake();
      };
      events.on('completed', heard(false));
      events.on('failed', heard(true));
      events.on('stalled', () => this.#metrics.observeStall(queue));
      // Tried again, given back, or stalled: it was somebody's and is nobody's.
      events.on('waiting', ({ jobId, prev }) => prev === 'active' && this.#metrics.observeRetry(kindOfJob(jobId)));
      events.on('error', (error) => console.error(`${timestamp()} queue events: ${error.message}`));
    }
  }

  async close(): Promise<void> {
    await Promise.all([...this.#queues.values()].map((each) => each.close()));
  }
}
