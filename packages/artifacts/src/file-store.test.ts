// What only a folder can suffer: writers that are killed, files that are cut off, and a disk that is full, read-only or
// failing.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FoveaError } from './errors.ts';
import { collectGarbage } from './garbage.ts';
import { openStore, type Store, StoreDamage } from './store.ts';
import { verifyStore } from './verify.ts';

const WRITER = fileURLToPath(new URL('../test-fixtures/writer.ts', import.meta.url));
const EIO = fileURLToPath(new URL('../test-fixtures/eio.c', import.meta.url));

let dir: string;
let store: Store;
beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'fovea-folder-'));
  store = await openStore(path.join(dir, 'store'));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

const bytes = Uint8Array.from({ length: 1000 }, (_, i) => i % 251);

async function filesUnder(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => path.join(entry.parentPath, entry.name));
}

test('every file of a store cut off at every class of place is a sentence, and nothing else suffers', async () => {
  const refs = new Map<string, unknown>();
  const blobs = new Map<string, Uint8Array>();
  for (const size of [1, 2, 63, 4096, 70_000]) {
    const blob = Uint8Array.from({ length: size }, (_, i) => (i * size) % 253);
    const ref = await store.put(blob);
    blobs.set(ref.sha256, blob);
    refs.set(`runs/a/${size}.json`, ref);
    await store.writeRef(`runs/a/${size}.json`, ref);
  }
  for (const file of await filesUnder(store.root)) {
    const whole = await readFile(file);
    const cuts = new Set(
      [0, 1, whole.length >> 1, whole.length - 2, whole.length - 1].filter((n) => n >= 0 && n < whole.length),
    );
    for (const cut of cuts) {
      await writeFile(file, whole.subarray(0, cut));
      const damaged = path.relative(store.root, file).split(path.sep).join('/');
      // A ref ends with a newline, which it can do without.
      const harmless = damaged.startsWith('refs/') && cut === whole.length - 1;
      const { faults } = await verifyStore(store);
      expect(faults, `${damaged} cut to ${cut}`).toEqual(harmless ? [] : [expect.stringContaining(damaged)]);
      for (const [sha256, blob] of blobs) {
        if (damaged.endsWith(sha256)) await expect(store.get(sha256)).rejects.toThrow(StoreDamage);
        else expect(Buffer.compare(await store.get(sha256), blob)).toBe(0);
      }
      for (const [ref, value] of refs) {
        if (damaged === `refs/${ref}` && !harmless) await expect(store.readRef(ref)).rejects.toThrow(StoreDamage);
        else expect(await store.readRef(ref)).toEqual(value);
      }
    }
    await writeFile(file, whole);
  }
  expect((await verifyStore(store)).faults).toEqual([]);
});

test('a folder in the place of a blob, and a file in the place of a folder, are sentences', async () => {
  const { sha256 } = await store.put(bytes);
  const file = path.join(store.root, 'blobs', sha256.slice(0, 2), sha256);
  await rm(file);
  await mkdir(file);
  await expect(store.get(sha256)).rejects.toThrow(/a folder is in its place/);
  await writeFile(path.join(store.root, 'refs/x'), '');
  await expect(store.writeRef('x/y.json', 1)).rejects.toThrow(/a part of that path is a file/);
});

test('a writer that is killed leaves only garbage under tmp', async () => {
  for (let round = 0; round < 6; round++) {
    const child = run(['forever']);
    await new Promise((resolve) => child.stdout!.once('data', resolve));
    await sleep(100 * round + 7);
    child.kill('SIGKILL');
    await new Promise((resolve) => child.once('close', resolve));
  }
  expect(await verifyStore(store)).toMatchObject({ faults: [] });
  for (const file of await filesUnder(path.join(store.root, 'blobs'))) await store.get(path.basename(file));
  const refs = await store.listRefs('');
  expect(refs.length).toBeGreaterThan(0);
  for (const ref of refs) expect(await store.readRef(ref)).toMatchObject({ size: 1 << 20 });
  const left = (await readdir(path.join(store.root, 'tmp'))).length;
  expect(await store.tidy(Date.now() + 1000)).toBe(left);
  await collectGarbage(store, { minAge: 0, now: Date.now() + 1000 });
  expect(await verifyStore(store)).toMatchObject({ refs: refs.length, faults: [] });
}, 120_000);

test('a read-only folder refuses writing in a sentence and is read as ever', async () => {
  const { sha256 } = await store.put(bytes);
  await store.writeRef('a.json', 1);
  const folders = ['', 'blobs', `blobs/${sha256.slice(0, 2)}`, 'refs', 'tmp'].map((name) =>
    path.join(store.root, name),
  );
  for (const folder of folders) await chmod(folder, 0o555);
  const root = process.getuid?.() === 0;
  // Root may write everywhere, so it steps down to nobody meanwhile.
  if (root) await chmod(dir, 0o755).then(() => process.seteuid?.(65534));
  try {
    await expect(store.put(Uint8Array.of(1))).rejects.toThrow(/permission is denied/);
    await expect(store.createRef('b.json', 1)).rejects.toThrow(/permission is denied/);
    await expect(collectGarbage(store, { minAge: 0, now: Date.now() + 1000 })).rejects.toThrow(/not permitted|denied/);
    expect(await store.get(sha256)).toEqual(bytes);
    expect(await store.readRef('a.json')).toBe(1);
  } finally {
    if (root) process.seteuid?.(0);
    for (const folder of folders) await chmod(folder, 0o755);
  }
});

test('writing leaves nothing in tmp, nor does losing a race', async () => {
  await Promise.all(Array.from({ length: 16 }, () => store.put(bytes)));
  await Promise.all(Array.from({ length: 8 }, (_, i) => store.createRef('a/b.json', { i })));
  expect(await readdir(path.join(store.root, 'tmp'))).toEqual([]);
});

test('what a killed writer left is swept after an hour, not before', async () => {
  await writeFile(path.join(store.root, 'tmp/old'), 'x');
  await writeFile(path.join(store.root, 'tmp/new'), 'x');
  const hoursAgo = new Date(Date.now() - 2 * 3600_000);
  await utimes(path.join(store.root, 'tmp/old'), hoursAgo, hoursAgo);
  await openStore(store.root);
  expect(await readdir(path.join(store.root, 'tmp'))).toEqual(['new']);
});

describe('a disk that says no', () => {
  test('a file in the way of the folder', async () => {
    await writeFile(path.join(dir, 'file'), '');
    await expect(openStore(path.join(dir, 'file/store'))).rejects.toThrow(/a part of that path is a file/);
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

describe('a disk that reports errors', () => {
  const cases: [fault: string, suffers: string[]][] = [
    ['fsync:/tmp/', ['put', 'wrote', 'created']],
    ['write:/tmp/', ['put', 'wrote', 'created']],
    ['fsync:/blobs/', ['put']],
    ['fsync:/refs', ['wrote', 'created']],
    ['read:/blobs/', ['got']],
    ['read:/refs/a.json', ['read']],
  ];
  test.for(cases)('%s', async ([fault, suffers], context) => {
    const shim = path.join(dir, 'eio.so');
    try {
      execFileSync('gcc', ['-shared', '-fPIC', '-o', shim, EIO, '-ldl'], { stdio: 'pipe' });
    } catch {
      return context.skip('there is no gcc to make a disk fail with');
    }
    const known = await store.put(bytes);
    await store.writeRef('a.json', { n: 1 });
    const child = run(['once'], { LD_PRELOAD: shim, STORE_EIO: fault, KNOWN: known.sha256 });
    let out = '';
    child.stdout!.on('data', (chunk) => (out += chunk));
    await new Promise((resolve) => child.once('close', resolve));
    const results = JSON.parse(out) as Record<string, { value?: unknown; error?: string }>;
    for (const [name, { error }] of Object.entries(results)) {
      if (suffers.includes(name)) expect(error, name).toMatch(/^FoveaError: .*input\/output error; check the disk/);
      else expect(error, name).toBeUndefined();
    }
    // Whether or not the new value got there, it is whole, and the old blob is untouched.
    expect([{ n: 1 }, { n: 2 }]).toContainEqual(await store.readRef('a.json'));
    expect(await store.get(known.sha256)).toEqual(bytes);
    expect((await verifyStore(store)).faults).toEqual([]);
    expect(await readdir(path.join(store.root, 'tmp'))).toEqual([]);
  });
});

function run(args: string[], env: NodeJS.ProcessEnv = {}): ChildProcess {
  return spawn(process.execPath, ['--import', 'tsx', WRITER, store.root, ...args], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}
