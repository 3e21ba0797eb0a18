// An evaluation over real files: what is the same however it is cut up or killed, and what is refused.

import { spawn } from 'node:child_process';
import { cp, mkdtemp, readFile, rm, truncate, unlink, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { philox } from '@fovea/tensor/random';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readSuite } from '../suite/read-suite.ts';
import { writeSuite } from '../suite/write-suite.ts';
import { type EvaluateOptions, evaluate, rescore } from './evaluate.ts';
import { readResults, readScored } from './results.ts';
import { holdRunFolder, openRunFolder, readRun, runDocument } from './run-folder.ts';
import { keyParts } from './run-key.ts';
import { readStatus } from './status.ts';
import { HashSubject, smallDraft, smallKind } from './testing.ts';

const CHILD = fileURLToPath(new URL('../../test-fixtures/evaluate-child.ts', import.meta.url));
const TYPESCRIPT = ['--import', pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href];
const KEPT = ['preds.jsonl', 'scored.jsonl', 'results.json'];

let dir: string;
let suiteFolder: string;
beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'fovea-judging-'));
  suiteFolder = path.join(dir, 'suite');
  const draft = await smallDraft(path.join(dir, 'made'), 40);
  await writeSuite(suiteFolder, draft);
  await cp(path.join(dir, 'made'), path.join(suiteFolder, 'pictures'), { recursive: true });
});
afterAll(() => rm(dir, { recursive: true, force: true }));

let count = 0;
async function run(subject = new HashSubject(), options: Partial<EvaluateOptions> = {}, folder?: string) {
  const into = folder ?? path.join(dir, `run-${count++}`);
  const suite = await readSuite(suiteFolder);
  const asked = [{ suite, parts: keyParts(subject, suite) }];
  const document = runDocument(asked, { title: 'hash', request: {} });
  await openRunFolder(into, document, asked);
  const all = { kindOf: () => smallKind, now: () => new Date(), bootstrap: { count: 100, seed: 0 }, ...options };
  const status = await evaluate(into, document, [{ suite, subject }], all);
  return { folder: into, own: path.join(into, 'small'), status, document, subject };
}

const filesOf = async (folder: string) => {
  const texts = await Promise.all(KEPT.map((name) => readFile(path.join(folder, 'small', name), 'utf8')));
  return Object.fromEntries(KEPT.map((name, i) => [name, texts[i]]));
};

test('chunks and lanes change no byte, and what is answered is not asked again', async () => {
  const { folder, status } = await run();
  expect(status).toMatchObject({ state: 'completed', suites: { small: { answered: 80, errors: 0, message: null } } });
  const whole = await filesOf(folder);
  for (const [chunk, lanes] of [
    [1, 1],
    [7, 2],
    [80, 8],
  ]) {
    const other = await run(new HashSubject(), { chunk, lanes });
    expect(await filesOf(other.folder)).toEqual(whole);
  }
  const again = await run(new HashSubject(), {}, folder);
  expect(again.subject.calls).toEqual([]);
  expect(await filesOf(folder)).toEqual(whole);
});

test('a torn last line is cut off, and a line that was lost is asked again in its place', async () => {
  const { folder, own } = await run();
  const whole = await filesOf(folder);
  const file = path.join(own, 'preds.jsonl');
  await truncate(file, whole['preds.jsonl'].length - 9);
  const torn = await run(new HashSubject(), {}, folder);
  expect(torn.subject.calls).toEqual([['39/no']]);
  expect(await filesOf(folder)).toEqual(whole);
  const lines = whole['preds.jsonl'].split('\n');
  await writeFile(file, [...lines.slice(0, 5), ...lines.slice(6)].join('\n'));
  expect((await rescore(folder, await readRun(folder), { kindOf: () => smallKind, now: () => new Date() })).state).toBe(
    'incomplete',
  );
  await expect(readResults(own)).rejects.toThrow(/there is no such file/);
  expect((await readStatus(folder)).suites.small.message).toMatch(/^1 of 80 questions have no answer, .*"2\/no"/);
  const lost = await run(new HashSubject(), {}, folder);
  expect(lost.subject.calls).toEqual([['2/no']]);
  expect(await filesOf(folder)).toEqual(whole);
});

test('judging again needs no picture, no suite and no subject', async () => {
  const { folder, own } = await run();
  const whole = await filesOf(folder);
  const moved = path.join(dir, 'moved');
  await cp(folder, moved, { recursive: true });
  for (const name of ['scored.jsonl', 'results.json']) await unlink(path.join(moved, 'small', name));
  const options = { kindOf: () => smallKind, now: () => new Date(), bootstrap: { count: 100, seed: 0 } };
  expect((await rescore(moved, await readRun(moved), options)).state).toBe('completed');
  expect(await filesOf(moved)).toEqual(whole);
  expect(await readScored(own)).toHaveLength(80);
});

test('other weights or another option of decoding are another evaluation', async () => {
  const { folder } = await run();
  await expect(run(new HashSubject('overwritten'), {}, folder)).rejects.toThrow(
    /holds another evaluation: small\.subject\.identity\.weights differs; give another --name/,
  );
  const changed = new HashSubject();
  changed.identity.decoding = { cd_alpha: 2 };
  await expect(run(changed, {}, folder)).rejects.toThrow(/small\.subject\.identity\.decoding\.cd_alpha differs/);
});

test('one process writes a folder at a time', async () => {
  const { folder } = await run();
  const lock = await holdRunFolder(folder);
  await expect(holdRunFolder(folder)).rejects.toThrow(/is being written by process \d+ on /);
  await lock.release();
  await (await holdRunFolder(folder)).release();
});

test('stopped, it says so and goes on from there', async () => {
  const stop = new AbortController();
  const progress = ({ step }: { step: number }) => void (step >= 24 && stop.abort());
  const first = await run(new HashSubject(), { chunk: 8, signal: stop.signal, progress });
  expect(first.status).toMatchObject({ state: 'cancelled', suites: { small: { answered: 24, state: 'cancelled' } } });
  const second = await run(new HashSubject(), {}, first.folder);
  expect(second.subject.calls.flat()).toHaveLength(56);
  expect(await filesOf(first.folder)).toEqual(await filesOf((await run()).folder));
});

test('killed at any moment and resumed, it leaves the same bytes', async () => {
  const whole = await filesOf((await run()).folder);
  let kills = 0;
  let within = 0;
  const lane = async (number: number) => {
    for (let round = 0; kills < 32; round++) {
      const folder = path.join(dir, `killed-${number}-${round}`);
      for (let attempt = 0; ; attempt++) {
        const random = philox(7, `kill/${number}`, round, attempt);
        const ended = await child(folder, attempt < 4 ? random.int(650) : null);
        if (ended.state === 'completed') break;
        expect(ended.state).toBe(null);
        kills++;
        const rows = await readFile(path.join(folder, 'small/preds.jsonl'), 'utf8').catch(() => '');
        if (rows !== '' && rows !== whole['preds.jsonl']) within++;
      }
      expect(await filesOf(folder)).toEqual(whole);
    }
  };
  await Promise.all([lane(0), lane(1)]);
  expect(within).toBeGreaterThan(8);
}, 300_000);

/** Ends after `killMs` from when the process has loaded; the state that it printed, or null where it was killed. */
async function child(folder: string, killMs: number | null): Promise<{ state: string | null }> {
  const running = spawn(process.execPath, [...TYPESCRIPT, CHILD, suiteFolder, folder, '5', '3'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let said = '';
  running.stdout.on('data', (chunk) => {
    if (said === '' && killMs !== null) setTimeout(() => running.kill('SIGKILL'), killMs);
    said += chunk;
  });
  const [code, signal] = await new Promise<[number | null, string | null]>((resolve) => {
    running.on('close', (code, signal) => resolve([code, signal]));
  });
  if (signal === 'SIGKILL') return { state: null };
  expect(code).toBe(0);
  return { state: said.trim().split('\n')[1] };
}
