// What Prometheus scrapes of a coordinator: gauges of the pools and workers, counters, histograms. It is told by plain
// calls and asks nobody, so a scrape costs no Redis and no store. Labels are few by construction: what has ended, and
// pools that are gone, leave the page.

import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

/** A device class: workers of a role that have this device and memory, and the queue of jobs that need it. */
export interface PoolClass {
  role: string;
  device: string;
  /** GiB; 0 for any. */
  memory: number;
}

/** A queue of the fleet, as `poolsOf` counts it. */
export interface PoolCounts extends PoolClass {
  queue: string;
  waiting: number;
  /** Where priorities are in use BullMQ keeps these apart from the waiting ones. @defaultValue 0 */
  prioritized?: number;
  active: number;
  delayed: number;
  failed: number;
}

const CLASS = ['role', 'device', 'memory'] as const;
const STATES = ['waiting', 'prioritized', 'active', 'delayed', 'failed'] as const;

/** Seconds of an optimiser step: milliseconds on a GPU to minutes on two cores. */
const STEP_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120];
const RECONCILE_BUCKETS = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

export class FleetMetrics {
  readonly #registry = new Registry();
  readonly #jobs = this.#gauge('fovea_jobs', 'Jobs by queue and state.', ['queue', ...CLASS, 'state']);
  readonly #backlog = this.#gauge('fovea_pool_backlog', 'Jobs that want a worker or have one, for scaling.', CLASS);
  readonly #workers = this.#gauge('fovea_workers', 'Workers that were heard of lately.', CLASS);
  readonly #speed = this.#gauge('fovea_images_per_second', 'Training speed of running runs.', ['run', 'track']);
  readonly #retries = this.#counter('fovea_retries_total', 'Jobs that failed and were queued again.', ['kind']);
  readonly #stalls = this.#counter('fovea_stalls_total', 'Jobs whose worker was lost.', ['queue']);
  readonly #steps = this.#histogram('fovea_step_seconds', 'Mean optimiser step of a committed round.', STEP_BUCKETS, [
    'stage',
  ]);
  readonly #reconcile = this.#histogram(
    'fovea_coordinator_reconcile_seconds',
    'One comparison of plan and store.',
    RECONCILE_BUCKETS,
    [],
  );
  /** Classes that had a worker: one that lost its last shows 0, not nothing. */
  readonly #classes = new Map<string, PoolClass>();

  /** With `processMetrics` the page also has prom-client's own of this process: memory, event loop lag, collections. */
  constructor({ processMetrics = true }: { processMetrics?: boolean } = {}) {
    if (processMetrics) collectDefaultMetrics({ register: this.#registry });
  }

  /** Content type of {@link page}. */
  get contentType(): string {
    return this.#registry.contentType;
  }

  /** The page in Prometheus' text format. */
  page(): Promise<string> {
    return this.#registry.metrics();
  }

  /** All pools that there are; what an earlier call said is forgotten. */
  observePools(pools: readonly PoolCounts[]): void {
    this.#jobs.reset();
    this.#backlog.reset();
    for (const pool of pools) {
      const labels = labelsOf(pool);
      for (const state of STATES) this.#jobs.set({ queue: pool.queue, ...labels, state }, pool[state] ?? 0);
      // Added up, for a class may have more than one queue.
      this.#backlog.inc(labels, pool.waiting + (pool.prioritized ?? 0) + pool.delayed + pool.active);
      this.#classes.set(JSON.stringify(labels), pool);
    }
  }

  /** All workers that there are. */
  observeWorkers(workers: readonly PoolClass[]): void {
    for (const worker of workers) this.#classes.set(JSON.stringify(labelsOf(worker)), worker);
    this.#workers.reset();
    for (const each of this.#classes.values()) this.#workers.set(labelsOf(each), 0);
    for (const worker of workers) this.#workers.inc(labelsOf(worker));
  }

  /** A round was committed. A round without steps says nothing. */
  observeRound({ stage, steps, seconds }: { stage: string; steps: number; seconds: number }): void {
    if (steps > 0) this.#steps.observe({ stage }, seconds / steps);
  }

  /** How fast a run trains, from its progress or a committed round. */
  observeSpeed({ run, track, imagesPerSecond }: { run: string; track: string; imagesPerSecond: number }): void {
    this.#speed.set({ run, track }, imagesPerSecond);
  }

  /** The runs that are running; the speed of any other leaves the page. */
  async observeRuns(running: Iterable<string>): Promise<void> {
    const kept = new Set(running);
    for (const { labels } of (await this.#speed.get()).values) {
      if (!kept.has(String(labels.run))) this.#speed.remove({ run: labels.run, track: labels.track });
    }
  }

  observeRetry(kind: string): void {
    this.#retries.inc({ kind });
  }

  observeStall(queue: string): void {
    this.#stalls.inc({ queue });
  }

  observeReconcile(seconds: number): void {
    this.#reconcile.observe(seconds);
  }

  #gauge<T extends string>(name: string, help: string, labelNames: readonly T[]): Gauge<T> {
    return new Gauge({ name, help, labelNames, registers: [this.#registry] });
  }

  #counter<T extends string>(name: string, help: string, labelNames: readonly T[]): Counter<T> {
    return new Counter({ name, help, labelNames, registers: [this.#registry] });
  }

  #histogram<T extends string>(name: string, help: string, buckets: number[], labelNames: readonly T[]): Histogram<T> {
    return new Histogram({ name, help, buckets, labelNames, registers: [this.#registry] });
  }
}

const labelsOf = ({ role, device, memory }: PoolClass) => ({ role, device, memory: String(memory) });
