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
import { type Engine, report, score } from '../../apps/eval-worker/src/jobs.ts';

/** One job as its worker saw it, in milliseconds since 1970 with their fractions. */
export interface Pickup {
  worker: string;
  job: string;
  kind: string;
  /** Added to the queue; taken from it by BullMQ's clock. */
  added: number;
  taken: number;
  /** The processor was called, the engine's time began, and the processor returned. */
  began: number;
  computing: number;
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

/** A timed stand-in for the engine: a score takes `jobMs`, a report nothing. */
class StandIn implements Engine {
  began = 0;

  async run(request: unknown, { signal }: { signal?: AbortSignal } = {}): Promise<unknown> {
    const asked = request as ScoreRequest | ReportRequest;
    this.began = now();
    const put = (text: unknown) => store.put(new TextEncoder().encode(JSON.stringify(text)));
    if (asked.kind === 'report') return { report: await put(asked.runId), summary: await put({ run: asked.runId }) };
    await sleep(jobMs, undefined, { signal });
    const results = [{ suite: 'retention', split: 'id', metric: 'mean', value: 0.5, n: 256, ci: [0.4, 0.6] }];
    return { scorecard: await put({ version: 1, checkpoint: asked.checkpoint, role: asked.role, results }) };
  }
}

async function simulate(name: string): Promise<void> {
  const open = () =>
    connect(redisUrl, { onError: (error) => console.error(`${timestamp()} ${name}: ${error.message}`) });
  const context: ProcessContext = {
    ...{ fleet: { redis: open(), store, prefix }, cacheDir: '', name, redisUrl, only: null, signal: stop.signal, open },
    fatal: (error) => {
      console.error(error);
      process.exit(1);
    },
  };
  const engine = new StandIn();
  const noted = async <T,>({ job }: JobContext, work: () => Promise<T>): Promise<T> => {
    const began = now();
    const result = await work();
    const seen = { worker: name, job: job.id!, kind: job.name, added: job.timestamp, taken: job.processedOn ?? 0 };
    lines.push(`${JSON.stringify({ ...seen, began, computing: engine.began, ended: now() } satisfies Pickup)}\n`);
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
await Promise.all(Array.from({ length: count }, (_, i) => simulate(`sim-${first + i}`)));
clearInterval(flush);
process.exit(0);
