import { execFileSync } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FoveaError } from './errors.ts';
import { openStore, type Store } from './store.ts';

let dir: string;
let store: Store;
beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'fovea-store-'));
  store = await openStore(dir);
});
afterEach(() => rm(dir, { recursive: true, force: true }));

const bytes = Uint8Array.from({ length: 1000 }, (_, i) => i % 251);
const fileOf = (sha: string) => path.join(dir, 'blobs', sha.slice(0, 2), sha);

test('a blob is found under its hash, once', async () => {
  const ref = await store.put(bytes);
  expect(ref.size).toBe(1000);
  expect(await store.put(bytes)).toEqual(ref);
  expect(await store.get(ref.sha256)).toEqual(bytes);
  expect(await store.has(ref.sha256)).toBe(true);
  expect(await readdir(path.join(dir, 'tmp'))).toEqual([]);
});

test('many writers of the same blob leave one good copy', async () => {
  const refs = await Promise.all(Array.from({ length: 16 }, () => store.put(bytes)));
  expect(new Set(refs.map((ref) => ref.sha256)).size).toBe(1);
  expect(await store.get(refs[0].sha256)).toEqual(bytes);
  expect(await readdir(path.join(dir, 'tmp'))).toEqual([]);
});

test('a torn or changed blob is a sentence, and storing it again mends it', async () => {
  const { sha256 } = await store.put(bytes);
  for (const bad of [bytes.subarray(0, 999), new Uint8Array(1000), new Uint8Array(0)]) {
    await writeFile(fileOf(sha256), bad);
    await expect(store.get(sha256)).rejects.toThrow(FoveaError);
    await expect(store.get(sha256)).rejects.toThrow(/damaged/);
    await store.put(bytes);
    expect(await store.get(sha256)).toEqual(bytes);
  }
});

test('a missing blob is a sentence', async () => {
  await expect(store.get('0'.repeat(64))).rejects.toThrow(/missing from the store.*does not exist/);
});

test('refs are replaced whole, listed by folder, removed', async () => {
  await store.writeRef('runs/a/run.json', { n: 1 });
  await store.writeRef('runs/a/run.json', { n: 2 });
  await store.writeRef('runs/a/tracks/trunk/0.json', {});
  await store.writeRef('runs/ab/run.json', {});
  expect(await store.readRef('runs/a/run.json')).toEqual({ n: 2 });
  expect(await store.readRef('runs/b/run.json')).toBeNull();
  expect(await store.listRefs('runs/a')).toEqual(['runs/a/run.json', 'runs/a/tracks/trunk/0.json']);
  expect(await store.listRefs('runs/none')).toEqual([]);
  await store.removeRef('runs/a/run.json');
  await store.removeRef('runs/a/run.json');
  expect(await store.listRefs('runs')).toEqual(['runs/a/tracks/trunk/0.json', 'runs/ab/run.json']);
});

test('of many that create a ref one wins, and what it wrote stays', async () => {
  const won = await Promise.all(Array.from({ length: 8 }, (_, i) => store.createRef('a/b.json', { i })));
  expect(won.filter(Boolean)).toHaveLength(1);
  expect(await store.readRef('a/b.json')).toEqual({ i: won.indexOf(true) });
  expect(await readdir(path.join(dir, 'tmp'))).toEqual([]);
});

test('a damaged ref is a sentence', async () => {
  await store.writeRef('a.json', {});
  await writeFile(path.join(dir, 'refs/a.json'), '{"torn');
  await expect(store.readRef('a.json')).rejects.toThrow(/refs\/a\.json in the store is damaged/);
});

test.each([['../x.json'], ['a/../x.json'], ['.hidden/x.json'], ['a\0/x.json'], ['x']])(
  'the ref %j is refused',
  async (ref) => {
    await expect(async () => store.writeRef(ref, {})).rejects.toThrow(TypeError);
  },
);

test('what a killed writer left is swept after an hour, not before', async () => {
  await writeFile(path.join(dir, 'tmp/old'), 'x');
  await writeFile(path.join(dir, 'tmp/new'), 'x');
  const hoursAgo = new Date(Date.now() - 2 * 3600_000);
  await utimes(path.join(dir, 'tmp/old'), hoursAgo, hoursAgo);
  await openStore(dir);
  expect(await readdir(path.join(dir, 'tmp'))).toEqual(['new']);
});

describe('a disk that says no', () => {
  test('a file in the way of the folder', async () => {
    await writeFile(path.join(dir, 'file'), '');
    await expect(openStore(path.join(dir, 'file/store'))).rejects.toThrow(/a part of that path is a file/);
  });

  test('no permission', async () => {
    const root = process.getuid?.() === 0;
    await chmod(path.join(dir, 'tmp'), 0o500);
    // Root may write everywhere, so it steps down to nobody for the one call.
    if (root) await chmod(dir, 0o755).then(() => process.seteuid?.(65534));
    try {
      await expect(store.put(bytes)).rejects.toThrow(/permission is denied/);
    } finally {
      if (root) process.seteuid?.(0);
    }
  });

  test('full: one sentence, no half file, and what was there is there', async (context) => {
    const disk = path.join(dir, 'disk');
    await mkdir(disk);
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', disk], { stdio: 'pipe' });
    } catch (error) {
      return context.skip(
        `a small tmpfs cannot be mounted here: ${String((error as { stderr?: unknown }).stderr).trim()}`,
      );
    }
    try {
      const small = await openStore(disk);
      const { sha256 } = await small.put(bytes);
      await small.writeRef('a.json', { good: true });
      const large = new Uint8Array(1 << 20);
      await expect(small.put(large)).rejects.toThrow(FoveaError);
      await expect(small.put(large)).rejects.toThrow(/no space is left.*what was committed before is safe/);
      expect(await readdir(path.join(disk, 'tmp'))).toEqual([]);
      await writeFile(path.join(disk, 'fill'), new Uint8Array(1 << 20)).catch(() => undefined);
      await expect(small.writeRef('a.json', { good: false, pad: 'x'.repeat(10_000) })).rejects.toThrow(/no space/);
      expect(await small.readRef('a.json')).toEqual({ good: true });
      expect(await small.get(sha256)).toEqual(bytes);
      await rm(path.join(disk, 'fill'));
      await small.writeRef('a.json', { good: 'again' });
      expect(JSON.parse(await readFile(path.join(disk, 'refs/a.json'), 'utf8'))).toEqual({ good: 'again' });
      execFileSync('mount', ['-o', 'remount,ro', disk]);
      await expect(small.put(Uint8Array.of(9))).rejects.toThrow(/that file system is read-only/);
      expect(await small.get(sha256)).toEqual(bytes);
    } finally {
      execFileSync('umount', [disk]);
    }
  });
});
