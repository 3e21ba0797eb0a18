// What every store must do, done to each: one suite over a folder and over a bucket of a real S3 server.

import { mkdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { START_MS, storeKinds } from '../test-fixtures/kinds.ts';
import { FoveaError } from './errors.ts';
import { openStore, type Store, StoreDamage, type StoredBlob } from './store.ts';

const { dir, kinds } = storeKinds();
afterAll(() => rm(dir, { recursive: true, force: true }));

const bytes = Uint8Array.from({ length: 1000 }, (_, i) => i % 251);
const text = (value: string) => new TextEncoder().encode(value);

async function listed(store: Store, area?: 'blobs' | 'trash'): Promise<StoredBlob[]> {
  const blobs: StoredBlob[] = [];
  for await (const blob of store.listBlobs(area)) blobs.push(blob);
  return blobs.sort((a, b) => (a.sha256 < b.sha256 ? -1 : 1));
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
  const fileOf = (sha256: string, area = 'blobs') => path.join(files, area, sha256.slice(0, 2), sha256);

  test('root opens the same store again, and holds no credentials', async () => {
    await store.writeRef('a.json', 1);
    const again = await openStore(store.root, kind.env());
    expect(again.root).toBe(store.root);
    expect(await again.readRef('a.json')).toBe(1);
    if (kind.name === 'a bucket') expect(store.root).toMatch(/^s3:\/\/fovea-test\/store-\d+$/);
  });

  test('a blob is found under its hash, once', async () => {
    const ref = await store.put(bytes);
    expect(ref.size).toBe(1000);
    expect(await store.put(bytes)).toEqual(ref);
    expect(await store.get(ref.sha256)).toEqual(bytes);
    expect(await store.has(ref.sha256)).toBe(true);
    expect(await store.has('0'.repeat(64))).toBe(false);
    expect((await listed(store)).map(({ sha256, size }) => ({ sha256, size }))).toEqual([ref]);
  });

  test('an empty blob, and one that goes in parts', async () => {
    const none = await store.put(new Uint8Array(0));
    expect(await store.get(none.sha256)).toEqual(new Uint8Array(0));
    const large = new Uint8Array((33 << 20) + 7);
    for (let i = 0; i < large.length; i += 4096) large[i] = i >> 12;
    const ref = await store.put(large);
    expect(ref.size).toBe(large.byteLength);
    expect(Buffer.compare(await store.get(ref.sha256), large)).toBe(0);
  });

  test("what get gives is the caller's own: a copy, and slice() copies", async () => {
    const { sha256 } = await store.put(bytes);
    const first = await store.get(sha256);
    expect(first.constructor).toBe(Uint8Array);
    first.fill(0);
    expect(await store.get(sha256)).toEqual(bytes);
  });

  test('many writers of the same blob leave one good copy', async () => {
    const refs = await Promise.all(Array.from({ length: 16 }, () => store.put(bytes)));
    expect(new Set(refs.map((ref) => ref.sha256)).size).toBe(1);
    expect(await store.get(refs[0].sha256)).toEqual(bytes);
  });

  test('a torn or changed blob is a sentence, and storing it again mends it', async () => {
    const { sha256 } = await store.put(bytes);
    for (const bad of [bytes.subarray(0, 999), bytes.subarray(0, 500), new Uint8Array(1000), new Uint8Array(0)]) {
      await writeFile(fileOf(sha256), bad);
      const error = await store.get(sha256).catch((caught) => caught);
      expect(error).toBeInstanceOf(StoreDamage);
      expect(error.message).toMatch(/^A blob in the store is damaged: the \d+ bytes of blobs\/.* hash to/);
      await store.put(bytes);
      expect(await store.get(sha256)).toEqual(bytes);
    }
  });

  test('a missing blob is a sentence', async () => {
    await expect(store.get('0'.repeat(64))).rejects.toThrow(/missing from the store.*does not exist/);
    await expect(store.get('0'.repeat(64))).rejects.toThrow(FoveaError);
    await expect(async () => store.get('../etc')).rejects.toThrow(TypeError);
  });

  test('refs are replaced whole, listed by folder, removed', async () => {
    await store.writeRef('runs/a/run.json', { n: 1 });
    await store.writeRef('runs/a/run.json', { n: 2, text: 'ü€😀' });
    await store.writeRef('runs/a/tracks/trunk/0.json', {});
    await store.writeRef('runs/ab/run.json', {});
    expect(await store.readRef('runs/a/run.json')).toEqual({ n: 2, text: 'ü€😀' });
    expect(await store.readRef('runs/b/run.json')).toBeNull();
    expect(await store.listRefs('runs/a')).toEqual(['runs/a/run.json', 'runs/a/tracks/trunk/0.json']);
    expect(await store.listRefs('runs/none')).toEqual([]);
    expect(await store.listRefs('')).toHaveLength(3);
    await store.removeRef('runs/a/run.json');
    await store.removeRef('runs/a/run.json');
    expect(await store.listRefs('runs')).toEqual(['runs/a/tracks/trunk/0.json', 'runs/ab/run.json']);
  });

  test('more refs than a page of a listing holds', async () => {
    const names = Array.from({ length: 1030 }, (_, i) => `many/${String(i).padStart(5, '0')}.json`);
    for (let i = 0; i < names.length; i += 50) {
      await Promise.all(names.slice(i, i + 50).map((name) => store.writeRef(name, 0)));
    }
    expect(await store.listRefs('many')).toEqual(names);
  });

  test('of many that create a ref one wins, and what it wrote stays', async () => {
    const other = await openStore(store.root, kind.env());
    for (let round = 0; round < 5; round++) {
      const ref = `a/${round}.json`;
      const won = await Promise.all(
        Array.from({ length: 16 }, (_, i) => (i % 2 ? other : store).createRef(ref, { i })),
      );
      expect(won.filter(Boolean)).toHaveLength(1);
      expect(await store.readRef(ref)).toEqual({ i: won.indexOf(true) });
      expect(await store.createRef(ref, {})).toBe(false);
    }
    expect(await store.listRefs('')).toHaveLength(5);
  });

  test('a ref cut off anywhere is its old value or a sentence, never another value', async () => {
    const value = { checkpoint: 'a'.repeat(64), steps: [1, 2, 30], text: 'ü' };
    await store.writeRef('a.json', value);
    const good = text(`${JSON.stringify(value, null, 2)}\n`);
    for (let length = 0; length < good.length; length++) {
      await writeFile(path.join(files, 'refs/a.json'), good.subarray(0, length));
      const got = await store.readRef('a.json').catch((error: Error) => error.message);
      if (length === good.length - 1) expect(got).toEqual(value);
      else expect(got).toMatch(/^The file refs\/a\.json in the store is damaged: it is not JSON; put back/);
    }
    await store.writeRef('a.json', value);
    expect(await store.readRef('a.json')).toEqual(value);
  });

  test.each(['../x.json', 'a/../x.json', '.hidden/x.json', 'a\0/x.json', 'x'])('the ref %j is refused', async (ref) => {
    await expect(async () => store.writeRef(ref, {})).rejects.toThrow(TypeError);
    await expect(async () => store.readRef(ref)).rejects.toThrow(TypeError);
  });

  test('a blob in the trash is still found; it comes back, or goes for good', async () => {
    const ref = await store.put(bytes);
    await store.moveBlob(ref.sha256, 'trash');
    expect(await listed(store)).toEqual([]);
    expect(await listed(store, 'trash')).toMatchObject([ref]);
    expect(await store.get(ref.sha256)).toEqual(bytes);
    expect(await store.has(ref.sha256)).toBe(true);
    await store.moveBlob(ref.sha256, 'blobs');
    expect(await listed(store, 'trash')).toEqual([]);
    expect(await listed(store)).toMatchObject([ref]);
    await store.removeBlob(ref.sha256);
    expect(await store.has(ref.sha256)).toBe(true);
    await store.moveBlob(ref.sha256, 'trash');
    await store.removeBlob(ref.sha256);
    expect(await store.has(ref.sha256)).toBe(false);
    await store.moveBlob(ref.sha256, 'trash');
    await store.moveBlob(ref.sha256, 'blobs');
    await store.removeBlob(ref.sha256);
  });

  test('whoever reads a blob while it moves to and fro always finds it', async () => {
    const { sha256 } = await store.put(bytes);
    let reading = true;
    let reads = 0;
    const reader = (async () => {
      for (; reading; reads++) expect(await store.get(sha256)).toEqual(bytes);
    })();
    const mover = (async () => {
      for (let i = 0; i < 50; i++) {
        await store.moveBlob(sha256, i % 2 ? 'blobs' : 'trash');
        // A read may meet one move, not two: hours lie between those of a collector.
        for (const before = reads; reads === before && reading; )
          await new Promise((resolve) => setTimeout(resolve, 1));
      }
    })();
    await Promise.race([reader, mover]).finally(() => {
      reading = false;
    });
    await Promise.all([reader, mover]);
    expect(reads).toBeGreaterThan(10);
  });

  test('of many that remove the same, none fails', async () => {
    for (let i = 0; i < 10; i++) {
      const { sha256 } = await store.put(new TextEncoder().encode(`blob ${i}`));
      await store.moveBlob(sha256, 'trash');
      await store.writeRef('a/b.json', { i });
      const all = Array.from({ length: 6 }, () => [store.removeBlob(sha256), store.removeRef('a/b.json')]);
      await Promise.all(all.flat());
      expect(await store.has(sha256)).toBe(false);
      expect(await store.readRef('a/b.json')).toBeNull();
    }
  });

  test('a put makes an old blob young', async () => {
    const { sha256 } = await store.put(bytes);
    const [{ storedAt }] = await listed(store);
    expect(Math.abs(storedAt - Date.now())).toBeLessThan(10_000);
    await new Promise((resolve) => setTimeout(resolve, 1100));
    await store.put(bytes);
    const [again] = await listed(store);
    expect(again.sha256).toBe(sha256);
    expect(again.storedAt).toBeGreaterThan(storedAt);
  });

  test('what does not belong there is not listed and does no harm', async () => {
    await mkdir(path.join(files, 'blobs/zz'), { recursive: true });
    await writeFile(path.join(files, 'blobs/zz/README'), 'x');
    await mkdir(path.join(files, 'refs'), { recursive: true });
    await writeFile(path.join(files, 'refs/note.txt'), 'x');
    expect(await listed(store)).toEqual([]);
    expect(await store.listRefs('')).toEqual([]);
  });
});
