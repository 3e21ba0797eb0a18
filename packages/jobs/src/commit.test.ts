import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type Checkpoint, isUserError, type Store } from '@fovea/artifacts';
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { metrics, testRun } from '../test-fixtures/run.ts';
import { claimRound, commitRound, type FencingToken, latestOf, StaleToken } from './commit.ts';
import { connect } from './connection.ts';
import { type Fleet, purge } from './fleet.ts';
import { ensureRedis, type OwnedRedis } from './redis.ts';
import { committedRounds, readRound, roundRef } from './runs.ts';
import type { RunRecord } from './schemas.ts';

let dir: string;
let server: OwnedRedis;
let redis: Redis;
let store: Store;
let run: RunRecord;
let fleet: Fleet;
beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'fovea-commit-'));
  server = await ensureRedis({ root: dir, runId: 'commit' });
  redis = connect(server.url);
});
afterAll(async () => {
  redis.disconnect();
  await server.stop();
  await rm(dir, { recursive: true, force: true });
});
beforeEach(async () => {
  ({ store, run } = await testRun(path.join(dir, 'store')));
  fleet = { redis, store, prefix: 'commit' };
});

const token = (attempt: number, round = 0, session = 1): FencingToken => ({ session, round, attempt });

async function commit(at: FencingToken, byte: number, track = 'aligned') {
  const weights = await store.put(Uint8Array.of(byte));
  const manifest: Checkpoint = {
    version: 1,
    parent: null,
    track,
    stage: 'align',
    round: at.round,
    step: byte,
    weights,
    optimizer: null,
    cursor: { step: byte },
    seed: 3,
    recipe: run.recipeHash,
  };
  const record = { step: byte, stage: 'align', metrics, committedAt: '2026-11-01T10:20:30.000Z' };
  return commitRound(fleet, { runId: run.id, track }, at, manifest, record);
}

test('a commit moves latest and appears in the store; committing again gives the first', async () => {
  const first = await commit(token(1), 1);
  expect(await latestOf(fleet, run.id, 'aligned')).toEqual({ round: 0, checkpoint: first.checkpoint });
  expect(await readRound(store, run.id, 'aligned', 0)).toEqual(first);
  expect(await commit(token(1), 1)).toEqual(first);
  expect(await commit(token(2), 9)).toEqual(first);
  const second = await commit(token(1, 1), 2);
  expect(await latestOf(fleet, run.id, 'aligned')).toEqual({ round: 1, checkpoint: second.checkpoint });
});

test('a stale token can move neither latest nor the store, before or after the newer one commits', async () => {
  await claimRound(fleet, run.id, 'aligned', token(1));
  await claimRound(fleet, run.id, 'aligned', token(2));
  await expect(claimRound(fleet, run.id, 'aligned', token(1))).rejects.toThrow(StaleToken);
  await expect(commit(token(1), 66)).rejects.toThrow(StaleToken);
  expect(await latestOf(fleet, run.id, 'aligned')).toBeNull();
  expect(await readRound(store, run.id, 'aligned', 0)).toBeNull();
  const good = await commit(token(2), 1);
  await commit(token(1, 1), 2);
  // A zombie of round 0 that wakes up now, and one of an earlier session with any number of attempts.
  await store.removeRef(roundRef(run.id, 'aligned', 0));
  await expect(commit(token(1), 66)).rejects.toThrow(StaleToken);
  await expect(commit(token(19, 2, 0), 66)).rejects.toThrow(StaleToken);
  expect((await latestOf(fleet, run.id, 'aligned'))!.round).toBe(1);
  expect(good.step).toBe(1);
});

test('tracks do not fence each other', async () => {
  await claimRound(fleet, run.id, 'aligned', token(5));
  await expect(commit(token(1), 1, 'control')).resolves.toMatchObject({ step: 1 });
});

test('a worker that died between Redis and the store is finished by its successor with the same checkpoint', async () => {
  const first = await commit(token(1), 1);
  await store.removeRef(roundRef(run.id, 'aligned', 0));
  expect(await commit(token(2), 2)).toEqual(first);
  expect(await readRound(store, run.id, 'aligned', 0)).toEqual(first);
});

test('with Redis wiped the store still holds: what is committed stays, what comes next can be committed', async () => {
  const first = await commit(token(3), 1);
  expect(await purge(redis, 'commit', run.id)).toBe(1);
  expect(await commit(token(1), 2)).toEqual(first);
  expect(await latestOf(fleet, run.id, 'aligned')).toBeNull();
  const second = await commit(token(1, 1), 2);
  expect((await committedRounds(store, run)).get('aligned')!.map(({ record }) => record)).toEqual([first, second]);
});

test('of many that commit at once with different results one wins everywhere', async () => {
  const records = await Promise.all(Array.from({ length: 8 }, (_, i) => commit(token(1), i)));
  expect(new Set(records.map((record) => record.checkpoint)).size).toBe(1);
  expect((await latestOf(fleet, run.id, 'aligned'))!.checkpoint).toBe(records[0].checkpoint);
});

test('a result whose blob is torn is a sentence and commits nothing', async () => {
  const { sha256 } = await store.put(Uint8Array.of(1));
  await writeFile(path.join(store.root, 'blobs', sha256.slice(0, 2), sha256), '');
  const manifest: Checkpoint = {
    version: 1,
    parent: null,
    track: 'aligned',
    stage: 'align',
    round: 0,
    step: 1,
    weights: { sha256, size: 1 },
    optimizer: null,
    cursor: { step: 1 },
    seed: 3,
    recipe: run.recipeHash,
  };
  const error = await commitRound(fleet, { runId: run.id, track: 'aligned' }, token(1), manifest, {
    step: 1,
    stage: 'align',
    metrics,
    committedAt: '',
  }).catch((caught) => caught);
  expect(isUserError(error)).toBe(true);
  expect(await latestOf(fleet, run.id, 'aligned')).toBeNull();
  expect(await readRound(store, run.id, 'aligned', 0)).toBeNull();
});
