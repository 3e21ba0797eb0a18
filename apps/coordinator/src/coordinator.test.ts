import { access, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import {
  bullmq,
  connect,
  ensureRedis,
  type Fleet,
  keys,
  type OwnedRedis,
  type RunRecord,
  readRun,
  rebuildRuns,
  roundRef,
  runRef,
  submitRun,
  updateRun,
} from '@fovea/jobs';
import type { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { testRun } from '../../../packages/jobs/test-fixtures/run.ts';
import { Coordinator } from './coordinator.ts';

let dir: string;
let server: OwnedRedis;
let redis: Redis;
let fleet: Fleet;
let coordinator: Coordinator;

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'fovea-coordinator-'));
  server = await ensureRedis({ root: dir, runId: 'coordinator' });
  redis = connect(server.url);
});
afterEach(() => coordinator.close());
afterAll(async () => {
  redis.disconnect();
  await server.stop();
  await rm(dir, { recursive: true, force: true });
});

/** A coordinator of a fleet with one run that was just submitted. */
async function submitted(name: string, options: { now?: () => number; elapsed?: () => number } = {}) {
  const { store, run } = await testRun(path.join(dir, name));
  fleet = { redis, store, prefix: name };
  await store.removeRef(runRef(run.id));
  coordinator = new Coordinator({ fleet, ...options });
  return again(run);
}

const again = ({ recipe, recipeHash, recipeDir, recipeText, recipeSource }: RunRecord) =>
  submitRun(fleet, { recipe, recipeHash, recipeDir, recipeText, recipeSource }, new Date());

test('a run that is taken out of the store is forgotten', async () => {
  const run = await submitted('removed');
  await coordinator.look();
  expect(coordinator.running).toEqual([run.id]);
  for (const ref of await fleet.store.listRefs(`runs/${run.id}`)) await fleet.store.removeRef(ref);
  const error = vi.spyOn(console, 'error').mockImplementation(() => undefined);
  coordinator.hear(run.id);
  for (let i = 0; i < 5; i++) await coordinator.look();
  expect(coordinator.running).toEqual([]);
  expect(error.mock.calls.length).toBeLessThanOrEqual(1);
  error.mockRestore();
});

test('everything is looked at anew in time, though the clock was set back', async () => {
  let [now, elapsed] = [Date.now(), 0];
  const run = await submitted('clock', { now: () => now, elapsed: () => elapsed });
  await coordinator.look();
  now -= 3_600_000;
  elapsed += 20_000;
  const late = await again(run);
  await coordinator.look();
  expect(coordinator.running).toContain(late.id);
});

test('a run that cannot be taken up because a file of it is damaged fails with the sentence', async () => {
  const run = await submitted('damaged');
  await fleet.store.writeRef(roundRef(run.id, 'trunk', 0), { checkpoint: 'x' });
  const error = vi.spyOn(console, 'error').mockImplementation(() => undefined);
  await coordinator.look();
  error.mockRestore();
  const { status, error: why } = await readRun(fleet.store, run.id);
  expect(status).toBe('failed');
  expect(why).toMatchObject({ user: true });
  expect(why?.message).toContain(`refs/${roundRef(run.id, 'trunk', 0)} in the store is damaged`);
});

test('of a run that ended elsewhere no job stays, not even one that was being worked on', async () => {
  const run = await submitted('ended');
  await coordinator.look();
  const queue = coordinator.book.queue('train-cpu-0g');
  let release = () => {};
  let take = () => {};
  const taken = new Promise<void>((resolve) => (take = resolve));
  const process = () => {
    take();
    return new Promise<void>((resolve) => (release = resolve));
  };
  const worker = new (bullmq().Worker)(queue.name, process, { connection: redis, prefix: fleet.prefix });
  await taken;
  await updateRun(fleet.store, run.id, { status: 'completed' }, new Date());
  coordinator.hear(run.id);
  await coordinator.look();
  expect(coordinator.running).toEqual([]);
  const closed = worker.close();
  release();
  await closed;
  coordinator.hearJob(`${run.id}.1.shard-trunk-0-0`, false);
  await coordinator.look();
  expect((await queue.getJobs()).map(({ id }) => id)).toEqual([]);
  expect(await redis.exists(keys.jobs(fleet.prefix, run.id))).toBe(0);
});

test('of a run that is rebuilt while its jobs are queued, those of the new session alone are there', async () => {
  const run = await submitted('rebuilt');
  await coordinator.look();
  await rebuildRuns(fleet);
  coordinator.hear(run.id);
  await coordinator.look();
  const ids = (await coordinator.book.queue('train-cpu-0g').getJobs()).map(({ id }) => id);
  expect(ids.sort()).toEqual([`${run.id}.2.merge-trunk-0`, `${run.id}.2.shard-trunk-0-0`]);
});

test.for(['waits', 'failed'])(
  'a job that nobody noted, and that %s under the id of another, is replaced',
  async (state) => {
    const run = await submitted(`foreign-${state}`);
    const queue = coordinator.book.queue('train-cpu-0g');
    const id = `${run.id}.1.shard-trunk-0-0`;
    await queue.add('shard', { version: 1 }, { jobId: id, priority: 1 });
    const fail = () => Promise.reject(new Error('of another version'));
    const worker = new (bullmq().Worker)(queue.name, fail, { connection: redis, prefix: fleet.prefix, autorun: false });
    if (state === 'failed') {
      void worker.run();
      await new Promise((resolve) => worker.once('failed', resolve));
    }
    await worker.close();
    await coordinator.look();
    expect((await queue.getJob(id))?.data).toMatchObject({ version: 2, kind: 'shard' });
    expect(await (await queue.getJob(id))?.getState()).toBe('prioritized');
  },
);

test('a merge that nobody noted, and that failed under the id of another, is replaced', async () => {
  const run = await submitted('foreign-merge');
  const queue = coordinator.book.queue('train-cpu-0g');
  const id = `${run.id}.1.merge-trunk-0`;
  await queue.add('merge', { version: 1 }, { jobId: id, priority: 1 });
  const fail = () => Promise.reject(new Error('of another version'));
  const worker = new (bullmq().Worker)(queue.name, fail, { connection: redis, prefix: fleet.prefix });
  await new Promise((resolve) => worker.once('failed', resolve));
  await worker.close();
  await coordinator.look();
  expect(await (await queue.getJob(id))?.getState()).toBe('waiting-children');
});

test('a coordinator that slept before it wrote the end of a run does not end its next session', async () => {
  const run = await submitted('slept');
  await coordinator.look();
  const { name } = coordinator.book.queue('train-cpu-0g');
  const fail = () => Promise.reject(new (bullmq().UnrecoverableError)('FoveaError: The disk is full.'));
  const worker = new (bullmq().Worker)(name, fail, { connection: redis, prefix: fleet.prefix });
  await new Promise((resolve) => worker.once('failed', resolve));
  await worker.close();
  vi.stubEnv('FOVEA_FAULTS', dir);
  const point = path.join(dir, 'at-plan-concluded');
  await writeFile(point, 'wait');
  coordinator.hear(run.id);
  const looked = coordinator.look();
  await vi.waitFor(() => access(`${point}.pid`), 5000);
  await updateRun(fleet.store, run.id, { session: 2 }, new Date());
  await rm(point);
  await looked;
  vi.unstubAllEnvs();
  expect(await readRun(fleet.store, run.id)).toMatchObject({ status: 'running', session: 2, error: null });
});
