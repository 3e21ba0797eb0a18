// Makes room for what is more urgent: where a job waits and every worker of its pool is busy with a run of lower
// priority, the least urgent of those gives its worker up. It keeps what it has done and goes on later.

import { type Fleet, type JobBook, queueOf, runPriority, sendControl, type WorkerInfo } from '@fovea/jobs';

/** A worker that was asked needs this long at most to keep what it has; it is not asked again meanwhile. */
const ASKED_MS = 30_000;

export class Preemption {
  readonly #fleet: Fleet;
  readonly #book: JobBook;
  readonly #now: () => number;
  /** By job id: when its worker was asked. */
  readonly #asked = new Map<string, number>();

  constructor(fleet: Fleet, book: JobBook, now: () => number) {
    this.#fleet = fleet;
    this.#book = book;
    this.#now = now;
  }

  async look(workers: readonly WorkerInfo[]): Promise<void> {
    const held = new Set(workers.map(({ job }) => job?.id));
    for (const [job, at] of this.#asked) {
      if (!held.has(job) || this.#now() - at > ASKED_MS) this.#asked.delete(job);
    }
    for (const queue of new Set(workers.map(queueOf))) {
      const pool = workers.filter((worker) => queueOf(worker) === queue);
      const jobs = pool.flatMap(({ job }) => (job ? [job] : []));
      if (jobs.length < pool.length) continue;
      const worst = jobs.reduce((a, b) => (runPriority(b.priority) > runPriority(a.priority) ? b : a));
      if (pool.some(({ job }) => job && this.#asked.has(job.id))) continue;
      const [first] = await this.#book.queue(queue).getPrioritized(0, 0);
      if (!first || runPriority(first.opts.priority ?? 0) >= runPriority(worst.priority)) continue;
      this.#asked.set(worst.id, this.#now());
      await sendControl(this.#fleet, { type: 'preempt', job: worst.id });
    }
  }
}
