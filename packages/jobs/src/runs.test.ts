import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { FoveaError, type Store, writeCheckpoint } from '@fovea/artifacts';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { metrics, recipe, testRun } from '../test-fixtures/run.ts';
import { recoverRun } from './recover.ts';
import { committedRounds, listRuns, readRun, roundRef, scoreKey, updateRun } from './runs.ts';
import type { RunRecord } from './schemas.ts';

let dir: string;
let store: Store;
let run: RunRecord;
beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'fovea-runs-'));
  ({ store, run } = await testRun(dir));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

async function commit(track: string, round: number): Promise<string> {
  const weights = await store.put(new TextEncoder().encode(`${track} ${round}`));
  const checkpoint = await writeCheckpoint(store, {
    version: 1,
    parent: null,
    track,
    stage: 'pretrain',
    round,
    step: round,
    weights,
    optimizer: null,
    cursor: { step: round },
    seed: 3,
    recipe: run.recipeHash,
  });
  await store.writeRef(roundRef(run.id, track, round), {
    checkpoint,
    step: round,
    stage: 'pretrain',
    metrics,
    committedAt: 'x',
  });
  return weights.sha256;
}

const blobFile = (sha256: string) => path.join(dir, 'blobs', sha256.slice(0, 2), sha256);
const rounds = async () =>
  Object.fromEntries(
    [...(await committedRounds(store, run))].map(([track, all]) => [track, all.map(({ round }) => round.round)]),
  );

test('runs are named by recipe and time, each has an id of its own, and they are listed newest first', async () => {
  expect(run.id).toBe('tiny-20261101-102030');
  expect((await testRun(dir)).run.id).toBe('tiny-20261101-102030-2');
  expect((await testRun(dir, new Date('2026-11-01T10:20:31Z'))).run.id).toBe('tiny-20261101-102031');
  expect((await listRuns(store)).map(({ id }) => id)).toEqual([
    'tiny-20261101-102031',
    'tiny-20261101-102030-2',
    'tiny-20261101-102030',
  ]);
});

test('a record is changed whole and read back checked', async () => {
  await updateRun(
    store,
    run.id,
    { status: 'failed', error: { message: 'x', user: true }, session: 2 },
    new Date('2026-11-02T00:00:00Z'),
  );
  expect(await readRun(store, run.id)).toEqual({
    ...run,
    status: 'failed',
    error: { message: 'x', user: true },
    session: 2,
    updatedAt: '2026-11-02T00:00:00.000Z',
  });
});

test.each([['nope'], ['../etc'], [''], ['UPPER']])('the run %j is not there, in one sentence', async (id) => {
  await expect(readRun(store, id)).rejects.toThrow(FoveaError);
  await expect(readRun(store, id)).rejects.toThrow(/no run called/);
});

test('a record of another shape is a sentence that names the place', async () => {
  await store.writeRef(`runs/${run.id}/run.json`, { ...run, status: 'dancing' });
  await expect(readRun(store, run.id)).rejects.toThrow(/run\.json in the store is damaged.*at "status"/);
});

test('one damaged record hides no other run from who is told of it, and stops who must know all', async () => {
  await store.writeRef('runs/broken-1/run.json', { ...run, status: 'dancing' });
  const damaged: string[] = [];
  const runs = await listRuns(store, (id, error) => damaged.push(`${id}: ${error.message}`));
  expect(runs.map(({ id }) => id)).toEqual([run.id]);
  expect(damaged).toEqual([expect.stringMatching(/^broken-1: The file refs\/runs\/broken-1\/run\.json .* damaged/)]);
  await expect(listRuns(store)).rejects.toThrow(/damaged/);
});

test('a record keeps the hashes of the files that its recipe names, and one of before that is read too', async () => {
  expect(run).not.toHaveProperty('sources');
  const sources = { 'encoder.from': 'a'.repeat(64) };
  await store.writeRef(`runs/${run.id}/run.json`, { ...run, sources });
  expect(await readRun(store, run.id)).toEqual({ ...run, sources });
  await store.writeRef(`runs/${run.id}/run.json`, { ...run, sources: { 'encoder.from': 'short' } });
  await expect(readRun(store, run.id)).rejects.toThrow(/damaged.*at "sources\.encoder\.from"/);
});

test('committed rounds are read in order, up to the first gap, and only new ones again', async () => {
  for (const round of [0, 1]) await commit('trunk', round);
  await commit('aligned', 1);
  expect(await rounds()).toEqual({ trunk: [0, 1], aligned: [], control: [] });
  const known = await committedRounds(store, run);
  await commit('trunk', 2);
  await rm(path.join(dir, 'refs', roundRef(run.id, 'trunk', 0)));
  expect((await committedRounds(store, run, known)).get('trunk')!.map(({ round }) => round.round)).toEqual([0, 1, 2]);
});

test('a round whose blob is gone is forgotten with all after it, a damaged head is a sentence', async () => {
  const blobs = [await commit('trunk', 0), await commit('trunk', 1), await commit('trunk', 2)];
  expect(await recoverRun(store, run)).toEqual([]);
  await rm(blobFile(blobs[1]));
  expect(await recoverRun(store, run)).toEqual([roundRef(run.id, 'trunk', 2), roundRef(run.id, 'trunk', 1)]);
  expect(await rounds()).toMatchObject({ trunk: [0] });
  await writeFile(blobFile(blobs[0]), 'trunk!0');
  await expect(recoverRun(store, run)).rejects.toThrow(/damaged/);
  expect(await rounds()).toMatchObject({ trunk: [0] });
});

test('a score is named by the checkpoint and all that decides how it is judged', () => {
  const key = (changes: object = {}, version = '1', suites = ['retention'], sources = {}) =>
    scoreKey('c', version, { recipe: { ...recipe, ...changes }, sources }, suites);
  expect(key()).toBe(key({ name: 'other', stages: [] }));
  expect(key()).toBe(key({ eval: { ...recipe.eval, everyRounds: 7 } }));
  const gates = [{ suite: 'retention' as const, metric: 'top1', maxDrop: 1 }];
  expect(key()).toBe(key({ eval: { ...recipe.eval, gates } }));
  const others = [
    key({}, '2'),
    key({}, '1', ['probes']),
    key({ eval: { ...recipe.eval, seed: 9 } }),
    key({ data: { ...recipe.data, imageSize: 64 } }),
    key({ eval: { ...recipe.eval, benchmarks: ['emoji-pope'] } }),
    key({}, '1', ['retention'], { 'eval.benchmarks.0': 'a' }),
    key({}, '1', ['retention'], { 'eval.benchmarks.0': 'b' }),
  ];
  expect(new Set([key(), ...others]).size).toBe(8);
  expect(key({}, '1', ['retention'], { 'encoder.from': 'a' })).toBe(key());
});
