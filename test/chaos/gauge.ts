// What a coordinator and its Redis cost, second by second: the coordinator's own figures as Prometheus gets them, and what
// Redis says of itself.

import type { Redis } from 'ioredis';
import { quantile, type Slope, slope } from './figures.ts';

interface Sample {
  /** Seconds since the gauge began. */
  at: number;
  rss: number;
  heap: number;
  cpu: number;
  looks: number;
  lookSeconds: number;
  lagP99: number;
  redisCpu: number;
  redisMemory: number;
}

/** Figures of a stretch of time; memory in MiB, times in ms, CPU in per cent of one core. */
export interface Stretch {
  seconds: number;
  rss: { first: number; last: number; max: number; slope: Slope };
  heap: Slope;
  cpu: number;
  look: { mean: number; perSecond: number };
  lag: { p50: number; max: number };
  redis: { cpu: number; memory: number };
}

const MiB = 2 ** 20;

export class Gauge {
  readonly #samples: Sample[] = [];
  readonly #began = performance.now();
  readonly #timer: NodeJS.Timeout;
  #taking: Promise<void> = Promise.resolve();

  /** Asks every second until {@link Gauge.end}. */
  constructor(api: string, token: string, redis: Redis) {
    const take = () => this.#take(api, token, redis).catch((error) => console.error(`gauge: ${error.message}`));
    this.#timer = setInterval(() => {
      this.#taking = this.#taking.then(take);
    }, 1000);
  }

  async end(): Promise<void> {
    clearInterval(this.#timer);
    await this.#taking;
  }

  get now(): number {
    return (performance.now() - this.#began) / 1000;
  }

  /** What was seen between two moments of {@link Gauge.now}, of which the first `warmUp` seconds say nothing of slopes. */
  between(from: number, to: number, warmUp = 0): Stretch {
    const seen = this.#samples.filter(({ at }) => at >= from && at <= to);
    const [first, last] = [seen[0], seen.at(-1)!];
    const seconds = last.at - first.at;
    const series = (of: (sample: Sample) => number) =>
      seen.filter(({ at }) => at >= from + warmUp).map((sample) => [sample.at, of(sample)] as const);
    const looks = last.looks - first.looks;
    return {
      seconds,
      rss: {
        first: first.rss / MiB,
        last: last.rss / MiB,
        max: Math.max(...seen.map(({ rss }) => rss)) / MiB,
        slope: slope(
          series(({ rss }) => rss / MiB),
          10,
        ),
      },
      heap: slope(
        series(({ heap }) => heap / MiB),
        10,
      ),
      cpu: (100 * (last.cpu - first.cpu)) / seconds,
      look: { mean: (1000 * (last.lookSeconds - first.lookSeconds)) / looks, perSecond: looks / seconds },
      lag: {
        p50:
          1000 *
          quantile(
            seen.map(({ lagP99 }) => lagP99),
            0.5,
          ),
        max: 1000 * Math.max(...seen.map(({ lagP99 }) => lagP99)),
      },
      redis: {
        cpu: (100 * (last.redisCpu - first.redisCpu)) / seconds,
        memory: Math.max(...seen.map(({ redisMemory }) => redisMemory)) / MiB,
      },
    };
  }

  async #take(api: string, token: string, redis: Redis): Promise<void> {
    const at = this.now;
    const answer = await fetch(`${api}/metrics`, { headers: { authorization: `Bearer ${token}` } });
    const page = await answer.text();
    if (!answer.ok) throw new Error(page);
    const figure = (name: string) => Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(page)?.[1] ?? Number.NaN);
    const info = await redis.info();
    const says = (name: string) => Number(new RegExp(`^${name}:(\\S+)`, 'm').exec(info)?.[1] ?? Number.NaN);
    this.#samples.push({
      at,
      rss: figure('process_resident_memory_bytes'),
      heap: figure('nodejs_heap_size_used_bytes'),
      cpu: figure('process_cpu_seconds_total'),
      looks: figure('fovea_coordinator_reconcile_seconds_count'),
      lookSeconds: figure('fovea_coordinator_reconcile_seconds_sum'),
      lagP99: figure('nodejs_eventloop_lag_p99_seconds'),
      redisCpu: says('used_cpu_user') + says('used_cpu_sys'),
      redisMemory: says('used_memory'),
    });
  }
}
