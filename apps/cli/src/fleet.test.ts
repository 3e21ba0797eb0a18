// A lasting fleet through the command line: a coordinator, workers that come and go, runs that are submitted, paused,
// overtaken, cancelled, lost from Redis and taken up again. Real processes, a real Redis, the small engine.

import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { makeToken } from '@fovea/api';
import { JobBook, listWorkers, purge, type RunRecord, readControl, readLog, readRun, readScores } from '@fovea/jobs';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { RECIPE_TEXT, recipe as tiny } from '../../../packages/jobs/test-fixtures/run.ts';
import { until } from '../test-fixtures/cli.ts';
import { TestFleet } from '../test-fixtures/fleet.ts';

let dir: string;
let fleet: TestFleet;
/** Checkpoints of the tiny run that nothing disturbed. */
let undisturbed: Record<string, string>;

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'fovea-fleet-'));
  fleet = await TestFleet.open(dir, { FOVEA_FIXTURE_STEP_MS: '20' });
  fleet.coordinator();
  fleet.worker('train', 'train-a');
  fleet.worker('train', 'train-b');
  fleet.worker('eval', 'eval-a');
  await fleet.workers(3);
  const run = await fleet.submit();
  await fleet.reaches(run, 'completed');
  undisturbed = await checkpoints(run);
}, 120_000);
afterEach(async (context) => {
  if (context.task.result?.state === 'fail') console.error((await readFile(fleet.log, 'utf8')).slice(-6000));
});
afterAll(async () => {
  await fleet.close();
  await rm(dir, { recursive: true, force: true });
});

const checkpoints = (run: RunRecord) => fleet.checkpoints(run);

test('the API tells of workers and submits to whoever has a token, and to nobody else', async () => {
  const { token, line } = makeToken('test', ['read', 'submit']);
  fleet.start('second-coordinator', ['coordinator', '--port', '0'], { FOVEA_API_TOKENS: line });
  let url: string | undefined;
  await until(async () => {
    const log = await readFile(fleet.log, 'utf8');
    url = /\[second-coordinator\][\s\S]*? API at (\S+)/.exec(log)?.[1];
    return url !== undefined;
  }, 'the API to listen');
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
  const listed = await (await fetch(`${url}/v1/workers`, { headers })).json();
  const { workers } = listed as { workers: { name: string; engines: string[] }[] };
  expect(workers.map(({ name }) => name)).toEqual(['eval-a', 'train-a', 'train-b']);
  expect(workers[0].engines).toContainEqual(expect.stringMatching(/^onnxruntime-node \d/));
  expect((await fetch(`${url}/v1/runs`)).status).toBe(401);
  const body = JSON.stringify({ recipe: RECIPE_TEXT });
  const submitted = await fetch(`${url}/v1/runs`, { method: 'POST', headers, body });
  expect(submitted.status).toBe(201);
  const run = await readRun(fleet.store, ((await submitted.json()) as { id: string }).id);
  // Two coordinators look after it; it is trained once.
  await fleet.reaches(run, 'completed');
  expect(await checkpoints(run)).toEqual(undisturbed);
  const metrics = await (await fetch(`${url}/metrics`, { headers })).text();
  expect(metrics).toMatch(/fovea_pool_backlog\{role="train",device="cpu",memory="8"\} \d/);
  fleet.signal('second-coordinator', 'SIGTERM');
}, 90_000);

test('a submitted run is trained, scored and reported, and leaves no job behind', async () => {
  const { code, out, err } = await fleet.fovea('submit', 'tiny.yaml', '--name', 'second', '--json');
  expect(code, err).toBe(0);
  const run = await readRun(fleet.store, JSON.parse(out).run);
  const done = await fleet.reaches(run, 'completed');
  expect(done).toMatchObject({ session: 1, error: null });
  expect(await checkpoints(run)).toEqual(undisturbed);
  expect((await readScores(fleet.store, run.id)).map(({ role, round }) => `${role} ${round}`)).toEqual([
    'aligned 0',
    'aligned 1',
    'baseline 2',
    'control 0',
    'control 1',
  ]);
  const book = new JobBook(fleet.fleet, () => undefined);
  await until(async () => {
    const counts = await book.counts();
    return counts.every(({ waiting, active, delayed, failed }) => waiting + active + delayed + failed === 0);
  }, 'the queues to be empty');
  await book.close();
}, 90_000);

test('a paused run stops in the middle of a round, keeps its steps, and goes on to the same checkpoints', async () => {
  fleet.home.fault('train-aligned-1', 'wait');
  const run = await fleet.submit();
  await fleet.home.standsAt('train-aligned-1');
  expect((await fleet.fovea('runs', 'pause', run.id)).code).toBe(0);
  await fleet.reaches(run, 'paused');
  const partial = `runs/${run.id}/partial/aligned/1/0-of-1.json`;
  await until(async () => (await fleet.store.readRef(partial)) !== null, 'the steps to be kept');
  fleet.home.lift('train-aligned-1');
  const at = await checkpoints(run);
  await new Promise((resolve) => setTimeout(resolve, 1500));
  expect(await checkpoints(run)).toEqual(at);
  expect((await fleet.fovea('runs', 'resume', run.id)).code).toBe(0);
  expect(await fleet.reaches(run, 'completed')).toMatchObject({ session: 2 });
  expect(await checkpoints(run)).toEqual(undisturbed);
  expect(await fleet.store.readRef(partial)).toBeNull();
  expect(Number(await readFile(path.join(fleet.home.faults, 'went-on-aligned-1'), 'utf8'))).toBeGreaterThan(0);
}, 90_000);

test('an urgent run takes the workers of patient ones, which lose no step', async () => {
  fleet.home.fault('train-trunk-1@patient', 'wait');
  fleet.home.fault('train-aligned-0@slow', 'wait');
  const patient = await fleet.submit({ name: 'patient' }, { priority: 500 });
  const slow = await fleet.submit({ name: 'slow' }, { priority: 400 });
  await fleet.home.standsAt('train-trunk-1@patient');
  await fleet.home.standsAt('train-aligned-0@slow');
  const urgent = await fleet.submit({ seed: 4 }, { priority: 1 });
  await fleet.reaches(urgent, 'completed');
  // Both workers stood still, so one of them was given up.
  const logs = await Promise.all([patient, slow].map(({ id }) => readLog(fleet.fleet, id, '0', 100)));
  expect(logs.flatMap(({ lines }) => lines).some(({ text }) => text.includes('higher priority'))).toBe(true);
  fleet.home.lift('train-trunk-1@patient');
  fleet.home.lift('train-aligned-0@slow');
  for (const run of [patient, slow]) {
    await fleet.reaches(run, 'completed');
    expect(await checkpoints(run)).toEqual(undisturbed);
  }
}, 120_000);

test('a cancelled run ends while an engine is frozen in it', async () => {
  fleet.home.fault('train-trunk-2', 'freeze');
  const run = await fleet.submit({ engine: { ...tiny.engine, hangTimeout: 600 } });
  await until(
    async () => (await listWorkers(fleet.fleet)).some(({ job }) => job?.id.includes('shard-trunk-2')),
    'the round',
  );
  await new Promise((resolve) => setTimeout(resolve, 500));
  expect((await fleet.fovea('runs', 'cancel', run.id)).code).toBe(0);
  await fleet.reaches(run, 'cancelled');
  await until(
    async () => (await listWorkers(fleet.fleet)).every(({ job }) => job?.run !== run.id),
    'the worker to be free',
  );
  const again = await fleet.fovea('runs', 'pause', run.id);
  expect(again.code).toBe(2);
  expect(again.err).toContain('is cancelled');
}, 90_000);

test('a run of several shards ends the same whoever computes them, and its rounds name their moments', async () => {
  const shards = {
    min: 2,
    max: 2,
    quorum: null,
    deadline: null,
    outer: { kind: 'average', lrScale: 'linear' },
    delta: 'fp32',
  } as const;
  const one = await fleet.submit({ shards });
  await fleet.reaches(one, 'completed');
  fleet.home.fault('at-shard-computed', 'kill');
  fleet.home.fault('at-merge-claimed', 'kill');
  const two = await fleet.submit({ shards });
  await fleet.reaches(two, 'completed');
  expect(await checkpoints(two)).toEqual(await checkpoints(one));
  expect(await checkpoints(one)).not.toEqual(undisturbed);
  expect(await fleet.store.listRefs(`runs/${two.id}/shards`)).toEqual([]);
}, 120_000);

test('with Redis wiped in the middle, runs are rebuilt from the store', async () => {
  fleet.home.fault('train-control-0', 'wait');
  const run = await fleet.submit();
  await fleet.home.standsAt('train-control-0');
  await purge(fleet.fleet.redis, fleet.fleet.prefix);
  const { code, out } = await fleet.fovea('runs', 'rebuild');
  expect(code).toBe(0);
  expect(out).toContain(`${run.id}: taken up`);
  fleet.home.lift('train-control-0');
  expect(await fleet.reaches(run, 'completed')).toMatchObject({ session: 2 });
  expect(await checkpoints(run)).toEqual(undisturbed);
}, 90_000);

test('a store that cannot be reached costs time and no attempt', async () => {
  fleet.home.fault('train-trunk-1@away', 'away 4');
  const run = await fleet.submit({ name: 'away' });
  await fleet.reaches(run, 'completed');
  expect(await checkpoints(run)).toEqual(undisturbed);
  const { lines } = await readLog(fleet.fleet, run.id, '0', 100);
  expect(lines.filter(({ text }) => text.includes('tried again in 5 s: The store cannot be reached'))).toHaveLength(4);
}, 90_000);

test('a run that has not ended by its deadline fails with a sentence, and may be given more time', async () => {
  fleet.home.fault('train-trunk-1', 'wait');
  const run = await fleet.submit({}, { deadline: new Date(Date.now() + 3000).toISOString() });
  const failed = await fleet.reaches(run, 'failed');
  expect(failed.error?.message).toContain('had not ended by its deadline');
  fleet.home.lift('train-trunk-1');
  expect((await fleet.fovea('runs', 'rank', run.id, '--deadline', '5', '--priority', '7')).code).toBe(0);
  expect(await readControl(fleet.store, run.id)).toMatchObject({ priority: 7 });
  expect((await fleet.fovea('runs', 'resume', run.id)).code).toBe(0);
  await fleet.reaches(run, 'completed');
  expect(await checkpoints(run)).toEqual(undisturbed);
}, 90_000);
