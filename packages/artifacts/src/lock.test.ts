import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type FileLock, isLocked, takeLock } from './lock.ts';

const TYPESCRIPT = ['--import', pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href];

let dir: string;
let file: string;
beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'fovea-lock-'));
  file = path.join(dir, 'locks/a.lock');
});
afterEach(() => rm(dir, { recursive: true, force: true }));

/** Another process that takes the lock and then does nothing. */
async function otherProcess(): Promise<{ said: string; kill: () => Promise<unknown> }> {
  const script = `
    import { takeLock } from ${JSON.stringify(new URL('./lock.ts', import.meta.url).href)};
    const lock = await takeLock(${JSON.stringify(file)});
    console.log('release' in lock ? 'held' : 'refused');
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, [...TYPESCRIPT, '--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [chunk] = await once(child.stdout, 'data');
  return {
    said: String(chunk).trim(),
    kill: async () => {
      child.kill('SIGKILL');
      await once(child, 'exit');
    },
  };
}

test('one holder at a time, named to the next, and free after its release', async () => {
  const lock = (await takeLock(file)) as FileLock;
  expect(await takeLock(file)).toEqual({ heldBy: { pid: process.pid, host: expect.any(String) } });
  expect(await isLocked(file)).toBe(true);
  await lock.release();
  expect(await isLocked(file)).toBe(false);
  expect(await takeLock(file)).toHaveProperty('release');
  expect(await readdir(path.dirname(file))).toEqual(['a.lock']);
});

test('a process that was killed holds nothing; of many heirs one inherits', async () => {
  const other = await otherProcess();
  expect(other.said).toBe('held');
  expect(await takeLock(file)).toHaveProperty('heldBy');
  await other.kill();
  expect(await isLocked(file)).toBe(false);
  const heirs = await Promise.all(Array.from({ length: 12 }, () => takeLock(file)));
  expect(heirs.filter((heir) => 'release' in heir)).toHaveLength(1);
  expect(await readdir(path.dirname(file))).toEqual(['a.lock']);
});

test('a reused process id, a file that is no lock and a silent owner elsewhere hold nothing', async () => {
  const lock = (await takeLock(file)) as FileLock;
  const owner = JSON.parse(await readFile(file, 'utf8'));
  await writeFile(file, JSON.stringify({ ...owner, started: '1', id: 'other' }));
  expect(await isLocked(file)).toBe(process.platform !== 'linux');
  // What is somebody else's by now is not removed.
  await lock.release();
  expect(await readdir(path.dirname(file))).toEqual(['a.lock']);
  await writeFile(file, '');
  expect(await isLocked(file)).toBe(false);
  await writeFile(file, JSON.stringify({ ...owner, host: 'elsewhere' }));
  expect(await isLocked(file)).toBe(true);
  await utimes(file, new Date(Date.now() - 120_000), new Date(Date.now() - 120_000));
  expect(await isLocked(file)).toBe(false);
  expect(await takeLock(file)).toHaveProperty('release');
});

test('a thief that died in the act does not block for long', async () => {
  await takeLock(file);
  await writeFile(file, '');
  await writeFile(`${file}.steal`, '');
  await utimes(`${file}.steal`, new Date(Date.now() - 60_000), new Date(Date.now() - 60_000));
  expect(await takeLock(file)).toHaveProperty('release');
});
