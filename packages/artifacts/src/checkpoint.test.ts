import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import {
  blobsOf,
  type Checkpoint,
  hasCheckpoint,
  readCheckpoint,
  verifyCheckpoint,
  writeCheckpoint,
} from './checkpoint.ts';
import { isUserError } from './errors.ts';
import { openStore, type Store } from './store.ts';

let dir: string;
let store: Store;
beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'fovea-checkpoint-'));
  store = await openStore(dir);
});
afterEach(() => rm(dir, { recursive: true, force: true }));

async function manifest(): Promise<Checkpoint> {
  const weights = await store.put(Uint8Array.of(1, 2, 3));
  const optimizer = await store.put(Uint8Array.of(4, 5));
  return {
    version: 1,
    parent: null,
    track: 'trunk',
    stage: 'init',
    round: 0,
    step: 0,
    weights,
    optimizer,
    cursor: { step: 0 },
    seed: 7,
    recipe: 'a'.repeat(64),
  };
}

test('the id is the hash of the manifest, whatever the order of its fields, and it is read back whole', async () => {
  const one = await manifest();
  const id = await writeCheckpoint(store, one);
  expect(await writeCheckpoint(store, Object.fromEntries(Object.entries(one).reverse()) as Checkpoint)).toBe(id);
  expect(await readCheckpoint(store, id)).toEqual(one);
  expect(await verifyCheckpoint(store, id)).toEqual(one);
  expect(await writeCheckpoint(store, { ...one, step: 1 })).not.toBe(id);
});

test('unknown fields and wrong hashes are refused before anything is written', async () => {
  const one = await manifest();
  await expect(writeCheckpoint(store, { ...one, at: 1 } as never)).rejects.toThrow();
  await expect(writeCheckpoint(store, { ...one, recipe: 'x' })).rejects.toThrow(/SHA-256/);
});

test('one flipped byte anywhere is one sentence of the user', async () => {
  const one = await manifest();
  const id = await writeCheckpoint(store, one);
  for (const blob of [id, one.weights.sha256, one.optimizer!.sha256]) {
    const file = path.join(dir, 'blobs', blob.slice(0, 2), blob);
    const good = await readFile(file);
    const bad = Buffer.from(good);
    bad[0] ^= 1;
    await writeFile(file, bad);
    const error = await verifyCheckpoint(store, id).catch((caught) => caught);
    expect(isUserError(error)).toBe(true);
    expect(error.message).toMatch(/damaged.*hash to/);
    await writeFile(file, good);
  }
  expect(await hasCheckpoint(store, id)).toBe(true);
  await rm(path.join(dir, 'blobs', one.weights.sha256.slice(0, 2), one.weights.sha256));
  expect(await hasCheckpoint(store, id)).toBe(false);
});

test('a blob that is no checkpoint says so', async () => {
  const { sha256 } = await store.put(new TextEncoder().encode('{"version":2}'));
  await expect(readCheckpoint(store, sha256)).rejects.toThrow(/no checkpoint of this version/);
});

test('moments of shards are part of a checkpoint, and none leave its id as it was', async () => {
  const one = await manifest();
  const inner = [await store.put(Uint8Array.of(6)), await store.put(Uint8Array.of(7))];
  const plain = await writeCheckpoint(store, one);
  expect(await writeCheckpoint(store, { ...one, inner: undefined })).toBe(plain);
  await expect(writeCheckpoint(store, { ...one, inner: [] })).rejects.toThrow();
  const id = await writeCheckpoint(store, { ...one, inner });
  expect(id).not.toBe(plain);
  expect(await writeCheckpoint(store, { ...one, inner: [...inner].reverse() })).not.toBe(id);
  const read = await verifyCheckpoint(store, id);
  expect(read.inner).toEqual(inner);
  expect(blobsOf(read)).toEqual([one.weights, one.optimizer, ...inner]);
  expect(await hasCheckpoint(store, id)).toBe(true);
  const file = path.join(dir, 'blobs', inner[1].sha256.slice(0, 2), inner[1].sha256);
  await writeFile(file, Uint8Array.of(8));
  expect(isUserError(await verifyCheckpoint(store, id).catch((caught) => caught))).toBe(true);
  await rm(file);
  expect(await hasCheckpoint(store, id)).toBe(false);
});
