// What asking does when something fails: pictures, answers, subjects and disks.

import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { FoveaError } from '@fovea/artifacts';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Request, SubjectRun } from '../subjects/subject.ts';
import { pictureReader } from '../suite/pictures.ts';
import type { Suite } from '../suite/suite.ts';
import { suiteOf } from '../suite/suite-of.ts';
import type { Answer } from './answer.ts';
import { type InferOptions, infer } from './infer.ts';
import { PredictionLog, readPredictions } from './predictions.ts';
import { HashSubject, smallDraft } from './testing.ts';

let dir: string;
let suite: Suite;
const reads: string[] = [];
beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'fovea-infer-'));
  const images = path.join(dir, 'images');
  const draft = await smallDraft(images, 6);
  const read = await pictureReader({ folder: images });
  reads.length = 0;
  suite = suiteOf(draft, (picture) => {
    reads.push((picture as { path: string }).path);
    return read(picture);
  });
});
afterEach(() => rm(dir, { recursive: true, force: true }));

async function ask(subject: HashSubject, options: InferOptions = {}, from = suite) {
  const where = { runKey: 'k', ids: from.items.map(({ id }) => id) };
  const file = path.join(dir, 'preds.jsonl');
  const log = await PredictionLog.open(file, where);
  try {
    await infer(from, subject, 'k', log, { delayMs: 1, ...options });
  } finally {
    await log.close();
  }
  return readPredictions(file, where);
}

test('each picture is decoded once a chunk', async () => {
  expect(await ask(new HashSubject(), { chunk: 6 })).toHaveLength(12);
  expect(reads.sort()).toEqual(['0.png', '1.png', '2.png', '3.png', '4.png', '5.png']);
});

test('a picture that is gone or damaged is an error row, and the rest goes on', async () => {
  await rm(path.join(dir, 'images/2.png'));
  await writeFile(path.join(dir, 'images/4.png'), 'no picture');
  const rows = await ask(new HashSubject());
  const errors = rows.filter(({ answer }) => answer.kind === 'error');
  expect(errors.map(({ itemId }) => itemId)).toEqual(['2/yes', '2/no', '4/yes', '4/no']);
  expect(errors[0].answer).toEqual({
    kind: 'error',
    message: expect.stringMatching(/^The picture "2\.png" cannot be read: there is no such file/),
    attempts: 1,
  });
  expect(rows.map(({ itemId }) => itemId)).toEqual(suite.items.map(({ id }) => id));
});

test('what may pass is tried three times; then it stays an error', async () => {
  let failures = 0;
  const flaky: Suite = {
    ...suite,
    read: async (picture) => {
      if ((picture as { path: string }).path === '1.png' && ++failures < 3) throw new Error('EMFILE');
      if ((picture as { path: string }).path === '3.png') throw new Error('EIO');
      return suite.read(picture);
    },
  };
  const rows = await ask(new HashSubject(), {}, flaky);
  const errors = rows.filter(({ answer }) => answer.kind === 'error');
  expect(errors.map(({ itemId, answer }) => [itemId, answer])).toEqual(
    ['3/yes', '3/no'].map((id) => [id, { kind: 'error', message: 'EIO', attempts: 3 }]),
  );
});

class Moody extends HashSubject {
  asked = new Map<string, number>();

  override async answer(requests: readonly Request[], run: SubjectRun): Promise<Answer[]> {
    const answers = await super.answer(requests, run);
    return answers.map((answer, i) => {
      const { id } = requests[i].item;
      const times = (this.asked.get(id) ?? 0) + 1;
      this.asked.set(id, times);
      const isMute = (id === '1/yes' && times < 3) || id === '5/no';
      return isMute ? { kind: 'error', message: 'busy', attempts: 1 } : answer;
    });
  }
}

test('a question without an answer is asked three times, alone with those like it', async () => {
  const subject = new Moody();
  const rows = await ask(subject);
  const plain = await rm(path.join(dir, 'preds.jsonl')).then(() => ask(new HashSubject()));
  expect(subject.calls.slice(1)).toEqual([
    ['1/yes', '5/no'],
    ['1/yes', '5/no'],
  ]);
  expect(rows.at(-1)?.answer).toEqual({ kind: 'error', message: 'busy', attempts: 3 });
  expect(rows.slice(0, -1)).toEqual(plain.slice(0, -1));
});

test('a subject that fails for good ends the work, and what is answered stays', async () => {
  class Broken extends HashSubject {
    override async answer(requests: readonly Request[], run: SubjectRun): Promise<Answer[]> {
      if (requests.some(({ item }) => item.id.startsWith('3/'))) throw new FoveaError('The server has gone away.');
      return super.answer(requests, run);
    }
  }
  await expect(ask(new Broken(), { chunk: 2 })).rejects.toThrow('The server has gone away.');
  const where = { runKey: 'k', ids: suite.items.map(({ id }) => id) };
  expect(await readPredictions(path.join(dir, 'preds.jsonl'), where)).toHaveLength(6);
  expect(await ask(new HashSubject())).toHaveLength(12);
});

test.each([
  ['{"itemId":"0/yes"', /./],
  ['{"itemId":"0/yes","runKey":"other","answer":{"kind":"scores","scores":[1,2]}}\n', /belongs to another evaluation/],
  ['{"itemId":"9/yes","runKey":"k","answer":{"kind":"scores","scores":[1,2]}}\n', /which the suite does not ask/],
  ['{"itemId":"0/yes","runKey":"k","answer":{"kind":"scores","scores":[1,2]}}\n'.repeat(2), /a second time/],
  ['{"itemId":"0/yes","runKey":"k","answer":{"kind":"scores","scores":["a"]}}\n', /line 1, is not as it should be/],
  ['{"itemId":\n{"itemId":"0/yes"}\n', /line 1, is not JSON/],
])('answers that are not of this evaluation are refused: %s', async (text, sentence) => {
  await writeFile(path.join(dir, 'preds.jsonl'), text);
  if (!text.endsWith('\n')) return expect(await ask(new HashSubject())).toHaveLength(12);
  await expect(ask(new HashSubject())).rejects.toThrow(sentence);
});

test('a full disk is one sentence, and what it holds is taken up when there is room', async (context) => {
  const disk = path.join(dir, 'disk');
  await mkdir(disk);
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', disk], { stdio: 'pipe' });
  } catch (error) {
    return context.skip(
      `a small tmpfs cannot be mounted here: ${String((error as { stderr?: unknown }).stderr).trim()}`,
    );
  }
  try {
    const file = path.join(disk, 'preds.jsonl');
    const where = { runKey: 'k', ids: suite.items.map(({ id }) => id) };
    const log = await PredictionLog.open(file, where);
    await log.append([{ itemId: '0/yes', runKey: 'k', answer: { kind: 'scores', scores: [1, 2] } }]);
    const long: Answer = { kind: 'text', text: 'x'.repeat(100_000), tokens: null, finish: 'stop' };
    const full = log.append([{ itemId: '0/no', runKey: 'k', answer: long }]);
    await expect(full).rejects.toThrow(/cannot be written: no space is left on that disk/);
    await log.close();
    expect((await readFile(file)).length).toBeGreaterThan(60_000);
    const again = await PredictionLog.open(file, where);
    expect([...again.answered]).toEqual(['0/yes']);
    await again.append([{ itemId: '0/no', runKey: 'k', answer: { kind: 'scores', scores: [2, 1] } }]);
    await again.close();
    expect((await readPredictions(file, where)).map(({ itemId }) => itemId)).toEqual(['0/yes', '0/no']);
  } finally {
    execFileSync('umount', [disk]);
  }
});
