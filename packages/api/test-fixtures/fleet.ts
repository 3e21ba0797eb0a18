// A fleet for the tests of the API: a real store with a run whose rounds, scores and report are committed by the
// functions that workers use, a real Redis with its events and queues, and operations that write what they are told into
// the store. Workers and logs, which nothing in these tests runs, are fixed lists.

import path from 'node:path';
import { type Checkpoint, canonicalJson, FoveaError, type Store } from '@fovea/artifacts';
import {
  bullmq,
  commitRound,
  connect,
  createRun,
  ensureRedis,
  type OwnedRedis,
  prefixOf,
  publishEvent,
  type RunRecord,
  updateRun,
} from '@fovea/jobs';
import { planOf } from '@fovea/recipe';
import type { Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import { metrics, testRun } from '../../jobs/test-fixtures/run.ts';
import { type ApiBackend, makeToken, parseTokens, redisEvents, SCOPES, type Scope, storeReads } from '../src/index.ts';

export { RECIPE_TEXT, recipe, testRun } from '../../jobs/test-fixtures/run.ts';

export interface TestFleet {
  dir: string;
  store: Store;
  redis: Redis;
  server: OwnedRedis;
  run: RunRecord;
  /** Of the last committed round. */
  checkpoint: string;
  /** Of the weights that checkpoint names. */
  weights: string;
  scorecard: string;
  backend: ApiBackend;
  queue: Queue;
  /** What the operations were told, in order. */
  told: string[];
  close(): Promise<void>;
}

export const REPORT = '<!doctype html><title>tiny</title><script>1</script>';

/** One token for each scope and their lines. */
export function testTokens(): { tokens: Record<Scope, string>; auth: { tokens: ReturnType<typeof parseTokens> } } {
  const made = SCOPES.map((scope) => [scope, makeToken(`a-${scope}`, [scope])] as const);
  const auth = { tokens: parseTokens(made.map(([, { line }]) => line).join('\n'), 'the test') };
  return {
    tokens: Object.fromEntries(made.map(([scope, { token }]) => [scope, token])) as Record<Scope, string>,
    auth,
  };
}

export async function testFleet(dir: string): Promise<TestFleet> {
  const server = await ensureRedis({ root: dir, runId: 'api' });
  const redis = connect(server.url, { mode: 'hasty', onError: () => undefined });
  const { store, run } = await testRun(path.join(dir, 'store'));
  const { checkpoint, weights } = await commitAll(store, redis, run);
  const card = { version: 1, checkpoint, role: 'aligned', results: [{ suite: 'retention', value: 0.5 }] };
  const { sha256: scorecard } = await store.put(new TextEncoder().encode(canonicalJson(card)));
  await store.writeRef(`runs/${run.id}/scores/aligned-1.json`, { checkpoint, role: 'aligned', round: 1, scorecard });
  await store.writeRef(`runs/${run.id}/report.json`, {
    report: await store.put(new TextEncoder().encode(REPORT)),
    summary: await store.put(new TextEncoder().encode(canonicalJson({ run: run.id, status: 'completed' }))),
  });
  const queue = new (bullmq().Queue)('fovea-train', { connection: connect(server.url), prefix: prefixOf(run.id) });
  await queue.add('shard', { round: 0 }, { jobId: 'shard-trunk-0-0', priority: 1 });
  const told: string[] = [];
  const backend = backendOf(store, redis, told);
  const close = async () => {
    await queue.close();
    redis.disconnect();
    await server.stop();
  };
  return { dir, store, redis, server, run, checkpoint, weights, scorecard, backend, queue, told, close };
}

/** Commits every round of the run's plan as a merge job does, and tells of it. */
async function commitAll(store: Store, redis: Redis, run: RunRecord): Promise<{ checkpoint: string; weights: string }> {
  let last = { checkpoint: '', weights: '' };
  for (const [track, rounds] of planOf(run.recipe)) {
    for (const round of rounds) {
      const weights = await store.put(new TextEncoder().encode(`${track} ${round.round}`));
      const manifest: Checkpoint = {
        version: 1,
        parent: null,
        track,
        stage: round.stage,
        round: round.round,
        step: round.firstStep + round.steps,
        weights,
        optimizer: null,
        cursor: { step: round.steps },
        seed: 3,
        recipe: run.recipeHash,
      };
      const token = { session: 1, round: round.round, attempt: 1 };
      const record = { step: manifest.step, stage: round.stage, metrics, committedAt: '2026-11-01T10:20:30.000Z' };
      const { checkpoint } = await commitRound({ redis, store, runId: run.id, track }, token, manifest, record);
      await publishEvent(redis, run.id, {
        type: 'scored',
        track,
        round: round.round,
        role: track,
        scorecard: '',
        cached: false,
      });
      last = { checkpoint, weights: weights.sha256 };
    }
  }
  return last;
}

function backendOf(store: Store, redis: Redis, told: string[]): ApiBackend {
  const reads = storeReads(store);
  const at = () => new Date('2026-11-02T00:00:00Z');
  const want = async (id: string, changes: object) =>
    store.writeRef(`runs/${id}/control.json`, { ...(await reads.control(id)), ...changes });
  return {
    ...reads,
    events: redisEvents(redis),
    workers: async () => [
      {
        name: 'train-0',
        host: 'h',
        pid: 7,
        role: 'train',
        device: 'cpu',
        memory: null,
        pool: 'train-cpu',
        engines: ['ort'],
        startedAt: '2026-11-01T10:20:30.000Z',
        seenAt: '2026-11-01T10:20:31.000Z',
        job: null,
      },
    ],
    pools: async () => [
      {
        queue: 'fovea-train',
        role: 'train',
        device: 'cpu',
        memory: null,
        workers: 1,
        waiting: 1,
        active: 0,
        delayed: 0,
        failed: 0,
      },
    ],
    suites: async () => [{ name: 'retention', version: '1' }],
    log: async (_id, { limit }) => ({
      lines: [{ at: '2026-11-01T10:20:30.000Z', text: `at most ${limit}` }],
      last: '1-0',
    }),
    metrics: async () => '# TYPE fovea_queue_jobs gauge\nfovea_queue_jobs{queue="fovea-train",state="waiting"} 1\n',
    ready: async () => (await redis.ping()) === 'PONG',
    submit: async ({ priority, deadline, ...about }) => {
      const run = await createRun(store, about, at());
      await want(run.id, { ...(priority ? { priority } : {}), ...(deadline ? { deadline } : {}) });
      told.push(`submit ${run.id}`);
      return run;
    },
    pause: async (id) => {
      told.push(`pause ${id}`);
      await want(id, { wants: 'pause' });
    },
    resume: async (id) => {
      told.push(`resume ${id}`);
      await want(id, { wants: 'run' });
      await updateRun(store, id, { status: 'running', error: null }, at());
    },
    cancel: async (id) => {
      told.push(`cancel ${id}`);
      if ((await reads.control(id)).wants === 'cancel')
        throw new FoveaError(`The run ${id} is cancelled already; nothing is left to cancel.`);
      await want(id, { wants: 'cancel' });
    },
    change: async (id, changes) => {
      told.push(`change ${id}`);
      await want(id, changes);
    },
  };
}
