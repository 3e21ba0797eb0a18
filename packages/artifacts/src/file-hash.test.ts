import { execFileSync } from 'node:child_process';
import { mkdtemp, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { sha256Hex } from './canonical.ts';
import { fileHash } from './file-hash.ts';

let dir: string;
let file: string;
let cache: string;
beforeEach(async () => {
  dir = await mkdtemp(path.join(os.tmpdir(), 'fovea-hash-'));
  file = path.join(dir, 'weights');
  cache = path.join(dir, 'cache');
});
afterEach(() => rm(dir, { recursive: true, force: true }));

const kept = async () => {
  const names = await readdir(path.join(cache, 'hashes'));
  return names.map((name) => path.join(cache, 'hashes', name));
};
/** As another process does it, which remembers nothing. */
const afresh = async () => {
  vi.resetModules();
  return (await import('./file-hash.ts')).fileHash(file, cache);
};

test('a file of several pieces is hashed as a whole, and the hash is kept for other processes', async () => {
  const bytes = Uint8Array.from({ length: 3 * 2 ** 20 + 5 }, (_, i) => (i * 31) % 251);
  await writeFile(file, bytes);
  expect(await fileHash(file, cache)).toBe(sha256Hex(bytes));
  const [entry, ...others] = await kept();
  expect(others).toEqual([]);
  expect(await readFile(entry, 'utf8')).toBe(sha256Hex(bytes));
  // What another process returns is the entry, so that the file was not read again.
  await writeFile(entry, 'b'.repeat(64));
  expect(await afresh()).toBe('b'.repeat(64));
  await writeFile(entry, 'torn');
  expect(await afresh()).toBe(sha256Hex(bytes));
});

test.each([
  ['written over', () => writeFile(file, 'new')],
  ['exchanged by a rename', () => writeFile(`${file}.new`, 'new').then(() => rename(`${file}.new`, file))],
])('a file that is %s by another of the same size and time has another hash', async (_how, exchange) => {
  await writeFile(file, 'old');
  const { atime, mtime } = await stat(file);
  expect(await fileHash(file, cache)).toBe(sha256Hex('old'));
  await exchange();
  await utimes(file, atime, mtime);
  expect(await fileHash(file, cache)).toBe(sha256Hex('new'));
  expect(await afresh()).toBe(sha256Hex('new'));
});

test('a folder in which nothing can be kept does no harm', async () => {
  await writeFile(file, 'x');
  await writeFile(cache, 'a file');
  expect(await fileHash(file, cache)).toBe(sha256Hex('x'));
});

test('what is no file is refused, and a pipe is not waited for', async () => {
  await expect(fileHash(file)).rejects.toThrow(/weights" cannot be read \(open: ENOENT\)/);
  await expect(fileHash(dir)).rejects.toThrow(/is no regular file/);
  execFileSync('mkfifo', [file]);
  await expect(fileHash(file)).rejects.toThrow(/is no regular file/);
});
