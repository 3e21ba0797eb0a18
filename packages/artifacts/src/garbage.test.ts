// Verifying and collecting over real stores: what is named stays whatever happens between mark and sweep, what is not
// goes after two looks, and damage is told and stops the sweep.

import { rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { START_MS, storeKinds } from '../test-fixtures/kinds.ts';
import { FaultProxy } from '../test-fixtures/s3.ts';
import { type Checkpoint, writeCheckpoint } from './checkpoint.ts';
import { FoveaError } from './errors.ts';
import { collectGarbage, DAY_MS } from './garbage.ts';
import { openStore, type Store } from './store.ts';
import { verifyStore } from './verify.ts';

const { dir, kinds, server } = storeKinds();
afterAll(() => rm(dir, { recursive: true, force: true }));

const text = (value: string) => new TextEncoder().encode(value);
/** A time by which all that there is now has grown old, and later ones. */
const after = (looks: number) => Date.now() + looks * 2 * DAY_MS;

async function checkpoint(store: Store, round: number, parent: string | null): Promise<string> {
  const manifest: Checkpoint = {
    version: 1,
    parent,
    track: 'trunk',
    stage: 'align',
    round,
    step: round,
    weights: await store.put(text(`weights ${round}`)),
    optimizer: await store.put(text(`moments ${round}`)),
    cursor: { step: round },
    seed: 3,
    recipe: 'e'.repeat(64),
  };
  return writeCheckpoint(store, manifest);
}

/** Two checkpoints of which a ref names the second, a scorecard, a blob named by {sha256, size}; and two named by nothing. */
async function filled(store: Store) {
  const first = await checkpoint(store, 0, null);
  const second = await checkpoint(store, 1, first);
  const { sha256: scorecard } = await store.put(text('{"score":1}'));
  const delta = await store.put(text('delta'));
  await store.writeRef('runs/a/run.json', { recipeHash: 'd'.repeat(64), id: 'a' });
  await store.writeRef('runs/a/tracks/trunk/1.json', { checkpoint: second, step: 1 });
  await store.writeRef('scores/x.json', { scorecard });
  await store.writeRef('runs/a/shards/trunk/1/0-of-2.json', { base: second, result: { deep: [{ delta }] } });
  const { sha256: garbage } = await store.put(text('garbage'));
  const { sha256: more } = await store.put(text('more garbage'));
  return { first, second, scorecard, delta: delta.sha256, garbage, more };
}

describe.each(kinds)('$name', (kind) => {
  let store: Store;
  let files: string;
  beforeAll(() => kind.start(), START_MS);
  afterAll(() => kind.stop());
  beforeEach(async (context) => {
    if (kind.missing) return context.skip(kind.missing);
    ({ store, files } = await kind.fresh());
  });
  const fileOf = (sha256: string) => path.join(files, 'blobs', sha256.slice(0, 2), sha256);

  test('an empty store is whole and holds no garbage', async () => {
    expect(await verifyStore(store)).toEqual({ refs: 0, blobs: 0, bytes: 0, faults: [] });
    expect(await collectGarbage(store)).toMatchObject({ kept: { blobs: 0 }, trashed: { blobs: 0 } });
  });

  test('what refs name, and what that names, stays; the rest goes in two looks', async () => {
    const { garbage, more } = await filled(store);
    expect(await collectGarbage(store)).toMatchObject({
      kept: { blobs: 8 },
      young: { blobs: 2 },
      trashed: { blobs: 0 },
    });
    const dry = await collectGarbage(store, { now: after(1), dryRun: true });
    expect(dry).toMatchObject({ trashed: { blobs: 2, bytes: 19 }, removed: { blobs: 0 } });
    const first = await collectGarbage(store, { now: after(1) });
    expect(first).toMatchObject({ kept: { blobs: 8 }, young: { blobs: 0 }, trashed: { blobs: 2, bytes: 19 } });
    expect(await store.has(garbage)).toBe(true);
    expect(await store.get(more)).toEqual(text('more garbage'));
    expect(await collectGarbage(store)).toMatchObject({ waiting: { blobs: 2 }, removed: { blobs: 0 } });
    expect(await collectGarbage(store, { now: after(2) })).toMatchObject({ removed: { blobs: 2, bytes: 19 } });
    expect(await store.has(garbage)).toBe(false);
    expect(await verifyStore(store)).toMatchObject({ refs: 4, blobs: 8, faults: [] });
    await store.removeRef('runs/a/tracks/trunk/1.json');
    await store.removeRef('runs/a/shards/trunk/1/0-of-2.json');
    expect(await collectGarbage(store, { minAge: 0, now: after(1) })).toMatchObject({
      removed: { blobs: 7 },
      kept: { blobs: 1 },
    });
  });

  test('a ref that comes after the sweep brings its blob back from the trash', async () => {
    const { garbage } = await filled(store);
    await collectGarbage(store, { now: after(1) });
    await store.writeRef('late.json', { sha256: garbage });
    expect(await store.get(garbage)).toEqual(text('garbage'));
    expect((await verifyStore(store)).faults).toEqual([]);
    expect(await collectGarbage(store, { now: after(2) })).toMatchObject({
      restored: { blobs: 1 },
      removed: { blobs: 1 },
    });
    expect(await collectGarbage(store, { now: after(3) })).toMatchObject({ kept: { blobs: 9 }, removed: { blobs: 0 } });
    expect(await store.get(garbage)).toEqual(text('garbage'));
  });

  test.each(['before it moves', 'after it moved'])('a blob that is put between mark and sweep, %s', async (when) => {
    const { garbage } = await filled(store);
    const racing: Store = Object.create(store);
    racing.moveBlob = async (sha256, to) => {
      if (when === 'before it moves') await store.put(text('garbage'));
      await store.moveBlob(sha256, to);
      if (when === 'after it moved') await store.put(text('garbage'));
    };
    expect((await collectGarbage(racing, { now: after(1) })).trashed.blobs).toBe(2);
    expect(await store.get(garbage)).toEqual(text('garbage'));
    await store.writeRef('late.json', { sha256: garbage });
    for (let look = 2; look < 5; look++) await collectGarbage(store, { now: after(look) });
    expect(await store.get(garbage)).toEqual(text('garbage'));
    expect((await verifyStore(store)).faults).toEqual([]);
  });

  test('retention: weights that need not stay go, their manifests do not, and nobody misses them', async () => {
    const { first, second } = await filled(store);
    const keep = (id: string) => id !== first;
    expect(await collectGarbage(store, { now: after(1), minAge: 0, keep })).toMatchObject({
      kept: { blobs: 6 },
      removed: { blobs: 4 },
    });
    expect(await store.has(first)).toBe(true);
    expect((await verifyStore(store, { keep })).faults).toEqual([]);
    const { faults } = await verifyStore(store);
    expect(faults).toHaveLength(2);
    expect(faults[0]).toContain(`(checkpoint ${first.slice(0, 12)} needs it).`);
    expect(await verifyStore(store, { keep: (id) => id === second })).toMatchObject({ faults: [] });
  });

  test('collectors side by side, writers meanwhile: nothing that is named is missing at the end', async () => {
    const others = await Promise.all([1, 2].map(() => openStore(store.root, kind.env())));
    const until = Date.now() + 5000;
    const minAge = 1500;
    const writer = async (lane: number) => {
      for (let i = 0; Date.now() < until; i++) {
        // The same few blobs again and again, so that many are old when they are put.
        const { sha256 } = await store.put(text(`blob ${(i * 7 + lane) % 40}`));
        await store.writeRef(`lane/${lane}-${i % 5}.json`, { sha256 });
        expect(await store.has(sha256)).toBe(true);
      }
    };
    const collector = async (own: Store) => {
      let swept = 0;
      while (Date.now() < until) swept += (await collectGarbage(own, { minAge })).trashed.blobs;
      return swept;
    };
    for (let i = 0; i < 40; i++) await store.put(text(`blob ${i}`));
    await Promise.all([...[0, 1].map(writer), ...others.map(collector)]);
    const { refs, faults } = await verifyStore(store);
    expect(faults).toEqual([]);
    expect(refs).toBe(10);
    for (let look = 1; look < 4; look++) await collectGarbage(store, { now: after(look) });
    expect((await verifyStore(store)).faults).toEqual([]);
  });

  test('every damage is a sentence of verify, and stops the sweep where it hides what is in use', async () => {
    const { first, second, scorecard, delta } = await filled(store);
    await writeFile(fileOf(delta), 'delto');
    await rm(fileOf(scorecard));
    expect((await verifyStore(store)).faults).toEqual([
      expect.stringMatching(
        /^A blob in the store is damaged: the 5 bytes of .*\(refs\/runs\/a\/shards\/trunk\/1\/0-of-2.json needs it\)\.$/,
      ),
      `A blob is missing from the store: blobs/${scorecard.slice(0, 2)}/${scorecard} (refs/scores/x.json needs it).`,
    ]);
    await expect(collectGarbage(store, { now: after(1) })).rejects.toThrow(
      /^Nothing was removed from the store at .*, as damage hides/,
    );
    await store.put(text('{"score":1}'));
    await store.put(text('delta'));
    await writeFile(path.join(files, 'refs/runs/a/run.json'), '{"torn');
    const { faults } = await verifyStore(store);
    expect(faults).toEqual([expect.stringMatching(/^The file refs\/runs\/a\/run\.json in the store is damaged/)]);
    await expect(collectGarbage(store, { now: after(1) })).rejects.toThrow(FoveaError);
    await rm(path.join(files, 'refs/runs/a/run.json'));
    for (const id of [first, second]) {
      const manifest = await store.get(id);
      await writeFile(fileOf(id), manifest.subarray(0, 40));
      expect((await verifyStore(store)).faults.length).toBeGreaterThanOrEqual(1);
      await expect(collectGarbage(store, { now: after(1) })).rejects.toThrow(FoveaError);
      await store.put(manifest);
    }
    expect((await verifyStore(store)).faults).toEqual([]);
    expect(await collectGarbage(store, { now: after(1) })).toMatchObject({ trashed: { blobs: 2 }, kept: { blobs: 8 } });
  });
});

describe('a bucket, between the copy and the deletion of a blob', () => {
  const bucket = kinds[1];
  beforeAll(() => bucket.start(), START_MS);
  afterAll(() => bucket.stop());

  test('a put is not lost', async (context) => {
    if (bucket.missing) return context.skip(bucket.missing);
    const { store } = await bucket.fresh();
    const { garbage } = await filled(store);
    const proxy = await FaultProxy.start(() => server().endpoint);
    let puts = 0;
    proxy.fault = async (method, url) => {
      if (method === 'DELETE' && url.includes(`/blobs/${garbage.slice(0, 2)}/${garbage}`)) {
        await store.put(text('garbage'));
        puts++;
      }
      return null;
    };
    const behind = await openStore(store.root, server().env(proxy.endpoint));
    await collectGarbage(behind, { now: after(1) });
    await proxy.stop();
    expect(puts).toBe(1);
    await store.writeRef('late.json', { sha256: garbage });
    expect(await store.get(garbage)).toEqual(text('garbage'));
    expect(await collectGarbage(store, { now: after(2) })).toMatchObject({ restored: { blobs: 1 } });
    expect((await verifyStore(store)).faults).toEqual([]);
  });
});
