// A fleet for the tests of the API: a real store with a run whose rounds, scores and report are committed by the
// functions that workers use, a real Redis with its events and queues, and operations that write what they are told into
// the store.

import path from 'node:path';
import { type Checkpoint, canonicalJson, type Store } from '@fovea/artifacts';
import {
  bullmq,
  commitRound,
  connect,
  ensureRedis,
  type Fleet,
  JobBook,
  type OwnedRedis,
  publishEvent,
  Registration,
  type RunRecord,
  rebuildRuns,
  writeLog,
} from '@fovea/jobs';
import { planOf } from '@fovea/recipe';
import type { Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import { metrics, testRun } from '../../jobs/test-fixtures/run.ts';
import { type ApiBackend, fleetBackend, makeToken, parseTokens, SCOPES, type Scope } from '../src/index.ts';

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

export const PREFIX = 'api-test';
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
  const fleet = { redis, store, prefix: PREFIX };
  await rebuildRuns(fleet, run.id);
  const about = { name: 'train-0', host: 'h', pid: 7, role: 'train', device: 'cpu', memory: 8 } as const;
  const worker = await Registration.begin(fleet, {
    ...about,
    engines: { ort: '1' },
    startedAt: '2026-11-01T10:20:30.000Z',
  });
  const { checkpoint, weights } = await commitAll(fleet, run);
  const card = { version: 1, checkpoint, role: 'aligned', results: [{ suite: 'retention', value: 0.5 }] };
  const { sha256: scorecard } = await store.put(new TextEncoder().encode(canonicalJson(card)));
  await store.writeRef(`runs/${run.id}/scores/aligned-1.json`, { checkpoint, role: 'aligned', round: 1, scorecard });
  await store.writeRef(`runs/${run.id}/report.json`, {
    report: await store.put(new TextEncoder().encode(REPORT)),
    summary: await store.put(new TextEncoder().encode(canonicalJson({ run: run.id, status: 'completed' }))),
  });
  const queue = new (bullmq().Queue)('train-cpu-8g', { connection: connect(server.url), prefix: PREFIX });
  await queue.add('shard', { round: 0 }, { jobId: 'shard-trunk-0-0', priority: 1 });
  const told: string[] = [];
  const book = new JobBook(fleet, () => undefined);
  const backend = backendOf(fleet, book, told);
  await writeLog(fleet, run.id, 'a line', new Date('2026-11-01T10:20:30.000Z'));
  const close = async () => {
    await worker.end();
    await queue.close();
    await book.close();
    redis.disconnect();
    await server.stop();
  };
  return { dir, store, redis, server, run, checkpoint, weights, scorecard, backend, queue, told, close };
}

/** Commits every round of the run's plan as a merge job does, and tells of it. */
async function commitAll(fleet: Fleet, run: RunRecord): Promise<{ checkpoint: string; weights: string }> {
  const { store } = fleet;
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
      const { checkpoint } = await commitRound(fleet, { runId: run.id, track }, token, manifest, record);
      await publishEvent(fleet, run.id, {
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

/** The real backend; what it is told to do is written down on the way. */
function backendOf(fleet: Fleet, book: JobBook, told: string[]): ApiBackend {
  const now = () => new Date('2026-11-02T00:00:00Z');
  const suites = async () => [{ name: 'retention', version: '1' }];
  const metrics = async () => '# TYPE fovea_jobs gauge\nfovea_jobs{queue="train-cpu-8g",state="waiting"} 1\n';
  const backend = fleetBackend({ fleet, book, suites, metrics, now });
  const noting =
    <A extends [string, ...unknown[]], R>(name: string, act: (...args: A) => Promise<R>) =>
    (...args: A) => {
      told.push(`${name} ${args[0]}`);
      return act(...args);
    };
  return {
    ...backend,
    async submit(submission) {
      const run = await backend.submit(submission);
      told.push(`submit ${run.id}`);
      return run;
    },
    pause: noting('pause', backend.pause),
    resume: noting('resume', backend.resume),
    cancel: noting('cancel', backend.cancel),
    change: noting('change', backend.change),
    cancelSweep: noting('cancelSweep', backend.cancelSweep),
  };
}
