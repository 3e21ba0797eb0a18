// Answers from files, joined to the questions of a small suite of two splits.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { Suite } from '../suite/suite.ts';
import { answersSubject } from './answers.ts';
import type { Request } from './subject.ts';
import { requestOf, suiteOf } from './testing.ts';

const scratch = mkdtempSync(path.join(tmpdir(), 'fovea-answers-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

/** As POPE's: positives are the same in both splits, numbers count anew. */
const rows = ['random', 'popular'].flatMap((split) =>
  ['dog', split === 'random' ? 'car' : 'cat', 'tree'].map((object, i) => ({ split, number: i + 1, object })),
);
const requests: Request[] = rows.map(({ split, number, object }) => {
  const { item, pictures } = requestOf(
    `${split}/${number}`,
    { kind: 'yesno', question: `Is there a ${object} in the image?`, gold: 'yes' },
    0,
  );
  const file = {
    kind: 'file',
    path: `val/${number === 3 ? 'b' : 'a'}.jpg`,
    sha256: '0'.repeat(64),
    width: 8,
    height: 8,
  } as const;
  return { item: { ...item, split, pictures: [file] }, pictures };
});
const suite: Suite = suiteOf(requests);

let count = 0;
function fileOf(lines: readonly unknown[], name = 'answers.jsonl'): string {
  const folder = path.join(scratch, `${count++}`);
  const file = path.join(mkdtempSync(`${folder}-`), name);
  writeFileSync(file, lines.map((line) => (typeof line === 'string' ? line : JSON.stringify(line))).join('\n'));
  return file;
}

async function answersOf(...files: string[]): Promise<string[]> {
  const subject = await answersSubject(files);
  await subject.prepare(suite, {});
  const answers = await subject.answer(requests, {});
  return answers.map((answer) => (answer.kind === 'text' ? answer.text : JSON.stringify(answer)));
}

const words = rows.map(({ split, number }) => `${split} ${number}`);

describe('answers from files', () => {
  it('are joined by the suite’s own ids, in any order', async () => {
    const lines = requests.map(({ item }, i) => ({ itemId: item.id, text: words[i] }));
    expect(await answersOf(fileOf([...lines].reverse()))).toEqual(words);
  });

  it('are joined by question_id and the split that the file is named after', async () => {
    const file = (split: string) =>
      fileOf(
        rows
          .flatMap((row, i) => (row.split === split ? [{ question_id: row.number, prompt: 'x', text: words[i] }] : []))
          .reverse(),
        `llava_coco_pope_${split}.jsonl`,
      );
    expect(await answersOf(file('random'), file('popular'))).toEqual(words);
  });

  it('are joined by picture and question, as in POPE’s own files; the same words about the same picture are the same', async () => {
    const lines = rows.map(({ number, object }) => ({
      image: `COCO/${number === 3 ? 'b' : 'a'}.jpg`,
      question: `Is there a  ${object} in the image?\n`,
      answer: `${object} ${number}`,
    }));
    expect(await answersOf(fileOf([...lines].reverse()))).toEqual(
      rows.map(({ object, number }) => `${object} ${number}`),
    );
  });

  it('take numbers too', async () => {
    const lines = requests.map(({ item }, i) => ({ itemId: item.id, scores: [i, -i] }));
    expect((await answersOf(fileOf(lines)))[2]).toBe('{"kind":"scores","scores":[2,-2]}');
  });

  it.each<[string, unknown[], RegExp]>([
    [
      'say which question is left out',
      requests.slice(1).map(({ item }) => ({ itemId: item.id, text: 'x' })),
      /5 of the 6 questions of small, and lack random\/1/,
    ],
    [
      'refuse words alone that several questions have',
      [{ question: 'Is there a dog in the image?', answer: 'yes' }],
      /could be to 2 questions/,
    ],
    [
      'refuse a number that two splits have',
      [{ question_id: 2, text: 'yes' }],
      /could be to 2 questions of small, such as random\/2 and popular\/2/,
    ],
    [
      'refuse two answers to one question',
      ['yes', 'no'].map((text) => ({ itemId: 'random/1', text })),
      /random\/1 is answered again, otherwise, in "answers.jsonl" line 2/,
    ],
    [
      'refuse a row about another picture',
      [{ itemId: 'random/1', image: 'c.jpg', text: 'x' }],
      /is about c\.jpg, and random\/1 about a\.jpg/,
    ],
    [
      'refuse a row to another question',
      [{ itemId: 'random/1', question: 'Is it red?', text: 'x' }],
      /is to "Is it red\?", and random\/1 asks/,
    ],
    ['refuse what is no JSON', ['{"itemId":'], /"answers\.jsonl" line 1 cannot be used: it is not JSON/],
    ['refuse __proto__', ['{"__proto__": {"answer": "x"}, "question_id": 1, "answer": "x"}'], /__proto__/],
    ['refuse what answers nothing', [{ itemId: 'random/1' }], /it has no answer/],
    ['refuse what nothing joins', [{ answer: 'yes' }], /no itemId, no question_id/],
  ])('%s', async (_name, lines, message) => {
    await expect(answersOf(fileOf(lines))).rejects.toThrow(message);
  });

  it('are known by what is in them, whatever they are called', async () => {
    const lines = requests.map(({ item }) => ({ itemId: item.id, text: 'x' }));
    const identityOf = async (...files: string[]) => (await answersSubject(files)).identity;
    const [a, b] = [fileOf(lines), fileOf(lines, 'other.jsonl')];
    expect(await identityOf(a)).toEqual(await identityOf(b));
    expect(await identityOf(fileOf([...lines].reverse()))).not.toEqual(await identityOf(a));
    await expect(answersSubject([path.join(scratch, 'none')])).rejects.toThrow(/there is no such file/);
  });
});
