// Many eval workers in one process, for two cores cannot hold two hundred Node processes. Each is the real worker host with
// connections, registration, BullMQ worker and lock renewal of its own, and does what the eval worker does; only the
// engine is a stand-in that takes its time and computes nothing. Started by load.mts, which reads its JSON lines.

import { setMaxListeners } from 'node:events';
import { appendFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { openStore } from '@fovea/artifacts';
import {
  connect,
  hostWorker,
  type JobContext,
  type ProcessContext,
  type ReportRequest,
  type ScoreRequest,
  timestamp,
} from '@fovea/jobs';
import { philox, type Rng } from '@fovea/tensor/random';
import { type Engine, report, score } from '../../apps/eval-worker/src/jobs.ts';

/** One job as its worker saw it, in milliseconds since 1970 with their fractions. */
export interface Pickup {
  worker: string;
  job: string;
  kind: string;
  /** Added to the queue; taken from it by BullMQ's clock. */
  added: number;
  taken: number;
  /** The processor was called, the engine's time began and ended, and the processor returned. */
  began: number;
  computing: number;
  computed: number;
  ended: number;
}

const { FOVEA_REDIS_URL: redisUrl = '', FOVEA_STORE = '', FOVEA_PREFIX: prefix = '', LOAD_LEDGER = '' } = process.env;
const [first, count, jobMs] = process.argv.slice(2).map(Number);
const stop = new AbortController();
process.on('SIGTERM', () => stop.abort());
process.on('disconnect', () => stop.abort());
setMaxListeners(0, stop.signal);

const store = await openStore(FOVEA_STORE);
const now = () => performance.timeOrigin + performance.now();
let lines: string[] = [];
const flush = setInterval(() => {
  if (lines.length > 0) appendFileSync(LOAD_LEDGER, lines.join(''));
  lines = [];
}, 500);

/** A timed stand-in for the engine: a score takes `jobMs` and up to a fifth more or less, a report nothing. */
class StandIn implements Engine {
  began = 0;
  ended = 0;
  readonly #random: Rng;

  constructor(worker: number) {
    this.#random = philox(11, 'job-time', 0, worker);
  }

  async run(request: unknown, { signal }: { signal?: AbortSignal } = {}): Promise<unknown> {
    const asked = request as ScoreRequest | ReportRequest;
    this.began = now();
    this.ended = this.began;
    const put = (text: unknown) => store.put(new TextEncoder().encode(JSON.stringify(text)));
    if (asked.kind === 'report') return { report: await put(asked.runId), summary: await put({ run: asked.runId }) };
    // Equal times would keep two hundred workers in step, which no fleet is.
    await sleep(jobMs * this.#random.between(0.8, 1.2), undefined, { signal });
    this.ended = now();
    const results = [{ suite: 'retention', split: 'id', metric: 'mean', value: 0.5, n: 256, ci: [0.4, 0.6] }];
    return { scorecard: await put({ version: 1, checkpoint: asked.checkpoint, role: asked.role, results }) };
  }
}

async function simulate(index: number): Promise<void> {
  const name = `sim-${index}`;
  const open = () =>
    connect(redisUrl, { onError: (error) => console.error(`${timestamp()} ${name}: ${error.message}`) });
  const context: ProcessContext = {
    ...{ fleet: { redis: open(), store, prefix }, cacheDir: '', name, redisUrl, only: null, signal: stop.signal, open },
    fatal: (error) => {
      console.error(error);
      process.exit(1);
    },
  };
  const engine = new StandIn(index);
  const noted = async <T,>({ job }: JobContext, work: () => Promise<T>): Promise<T> => {
    const began = now();
    const result = await work();
    const seen = { worker: name, job: job.id!, kind: job.name, added: job.timestamp, taken: job.processedOn ?? 0 };
    const computing = { computing: engine.began, computed: engine.ended };
    lines.push(`${JSON.stringify({ ...seen, began, ...computing, ended: now() } satisfies Pickup)}\n`);
    return result;
  };
  await hostWorker(context, {
    pool: { role: 'eval', device: 'cpu', memory: 8 },
    processors: {
      score: (data, job) => noted(job, () => score(data, job, context, engine, 'load-1')),
      report: (data, job) => noted(job, () => report(data, job, context, engine)),
    },
  });
  context.fleet.redis.disconnect();
}

// The scores are said by the thousand; the log has no use for them.
console.log = () => undefined;
await Promise.all(Array.from({ length: count }, (_, i) => simulate(first + i)));
clearInterval(flush);
process.exit(0);
