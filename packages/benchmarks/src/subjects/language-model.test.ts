// Language models as subjects, on the tiny folders that test/parity/models/language-model.py wrote beside transformers'
// answers to the same questions about the same pictures.

import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { readChatTokenizer } from '@fovea/models';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import type { Answer } from '../judging/answer.ts';
import { blindSubject } from './blind.ts';
import { languageModelSubject } from './language-model.ts';
import type { Request, Subject } from './subject.ts';
import { about, FIXTURES, fixture, folderOf, requestOf, suiteOf } from './testing.ts';

const yesNo = (name: string): Request[] =>
  about[name].map(({ question, picture }, i) =>
    requestOf(`${i}`, { kind: 'yesno', question, gold: 'yes' }, picture ?? i % 3),
  );

const open: Subject[] = [];
const opened = async (...given: Parameters<typeof languageModelSubject>): Promise<Subject> => {
  const subject = await languageModelSubject(...given);
  open.push(subject);
  return subject;
};
afterEach(async () => {
  for (const subject of open.splice(0)) await subject.dispose();
});
const scratch = mkdtempSync(path.join(tmpdir(), 'fovea-subject-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

describe.each(['llama', 'llava'])('a language model: %s', (name) => {
  const requests = yesNo(name);

  it('answers yes and no by the likelihoods that transformers gives', async () => {
    const subject = await opened(folderOf(name));
    await subject.prepare(suiteOf(requests), {});
    const answers = await subject.answer(requests, {});
    const { singles } = readChatTokenizer(folderOf(name));
    const ids = [
      ['Yes', 'yes'],
      ['No', 'no'],
    ].map((words) => [...new Set(words.flatMap((word) => [word, ` ${word}`]).flatMap(singles))]);
    // The one tokenizer has a token for each, the other has to spell them.
    expect(ids.map(({ length }) => length)).toEqual(name === 'llama' ? [4, 4] : [0, 0]);
    answers.forEach((answer, row) => {
      const numbers = (what: string) => fixture.tensors.get(`${name}/${row}/${what}`)!.data as Float32Array;
      const sum = (list: number[]) => Math.log(list.reduce((all, id) => all + Math.exp(numbers('logs')[id]), 0));
      const wanted = name === 'llama' ? ids.map(sum) : [...numbers('spelt')];
      const scores = answer.kind === 'scores' ? answer.scores : [];
      expect(scores.length).toBe(2);
      for (const [i, score] of scores.entries())
        expect(Math.abs(score - wanted[i]), `${row}: ${score}, in PyTorch ${wanted[i]}`).toBeLessThan(
          1e-4 * Math.abs(wanted[i]),
        );
    });
  });

  it('says what transformers says', async () => {
    const subject = await opened(folderOf(name), { answers: 'text', maxTokens: 12 });
    await subject.prepare(suiteOf(requests), {});
    const answers = await subject.answer(requests, {});
    answers.forEach((answer, row) => {
      const said = fixture.tensors.get(`${name}/${row}/said`)!.data.length;
      expect(answer).toEqual({ kind: 'text', text: about[name][row].text.trim(), tokens: said, finish: 'length' });
    });
  });

  it('gives the same bits one by one, by twos, by eights, backwards, and with other threads', async () => {
    const suite = suiteOf(requests);
    const ask = async (size: number, backwards = false, threads = 1): Promise<Answer[]> => {
      const subject = await opened(folderOf(name), { threads });
      await subject.prepare(suite, {});
      const order = backwards ? [...requests].reverse() : requests;
      const answers: Answer[] = [];
      for (let i = 0; i < order.length; i += size)
        answers.push(...(await subject.answer(order.slice(i, i + size), {})));
      return backwards ? answers.reverse() : answers;
    };
    const wanted = JSON.stringify(await ask(1));
    expect(JSON.stringify(await ask(2))).toBe(wanted);
    expect(JSON.stringify(await ask(8))).toBe(wanted);
    expect(JSON.stringify(await ask(3, true, 2))).toBe(wanted);
  });

  it('chooses among options by their letters, and describes in words', async () => {
    const choose = requestOf(
      'choose',
      { kind: 'choice', question: 'Is it', options: ['open', 'shut', 'on fire'], gold: 1 },
      0,
    );
    const describe = requestOf('describe', { kind: 'caption', gold: ['cat'], references: [] }, 1);
    const subject = await opened(folderOf(name), { maxTokens: 5 });
    await subject.prepare(suiteOf([choose, describe]), {});
    const [chosen, described] = await subject.answer([choose, describe], {});
    expect(chosen).toMatchObject({
      kind: 'scores',
      scores: [expect.any(Number), expect.any(Number), expect.any(Number)],
    });
    expect(chosen.kind === 'scores' && chosen.scores.every((score) => score < 0)).toBe(true);
    expect(described).toMatchObject({ kind: 'text', tokens: 5, finish: 'length' });
  });
});

describe('a language model that sees', () => {
  it('answers of another picture otherwise, and blindly of every picture alike', async () => {
    const requests = [0, 1].map((picture) =>
      requestOf(`${picture}`, { kind: 'yesno', question: 'Is there a dog in the image?', gold: 'yes' }, picture),
    );
    const subject = await opened(folderOf('llava'));
    const suite = suiteOf(requests);
    await subject.prepare(suite, {});
    const seen = await subject.answer(requests, {});
    expect(seen[0]).not.toEqual(seen[1]);
    const blind = blindSubject(subject);
    await blind.prepare(suite, {});
    const unseen = await blind.answer(requests, {});
    expect(unseen[0]).toEqual(unseen[1]);
    expect(blind.kind).toBe('blind');
    expect(blind.identity).toMatchObject({ subject: { kind: 'language-model', identity: subject.identity } });
  });

  it('says so where a question holds the picture’s own token, and answers the others', async () => {
    const requests = ['Is <image> a dog?', 'Is it a dog?'].map((question, i) =>
      requestOf(`${i}`, { kind: 'yesno', question, gold: 'yes' }, 0),
    );
    const subject = await opened(folderOf('llava'));
    await subject.prepare(suiteOf(requests), {});
    const [fault, answer] = await subject.answer(requests, {});
    expect(fault).toMatchObject({ kind: 'error', message: expect.stringMatching(/2 places for a picture/) });
    expect(answer.kind).toBe('scores');
  });

  it('refuses what is not asked in words, and a prompt that is too long', async () => {
    const subject = await opened(folderOf('llama'));
    const estimate = requestOf('e', { kind: 'estimate', target: 'count', gold: [1] }, 0);
    expect(subject.refuses(suiteOf([estimate]))).toMatch(/asks by estimate/);
    const long = requestOf('l', { kind: 'yesno', question: 'long '.repeat(400), gold: 'no' }, 0);
    await subject.prepare(suiteOf([long]), {});
    expect(await subject.answer([long], {})).toMatchObject([{ kind: 'error', message: /more than the 512/ }]);
  });
});

describe('the identity of a language model', () => {
  it('changes with any file and any option of decoding, and knows no path', async () => {
    const copy = path.join(scratch, 'copy');
    cpSync(folderOf('llava'), copy, { recursive: true });
    const identityOf = async (...given: Parameters<typeof languageModelSubject>) => (await opened(...given)).identity;
    const own = await identityOf(folderOf('llava'));
    expect(await identityOf(copy)).toEqual(own);
    expect(JSON.stringify(own)).not.toContain(path.dirname(FIXTURES));
    for (const option of [{ maxTokens: 7 }, { answers: 'text' as const }, { system: 'Be brief.' }, { chunk: 64 }])
      expect(await identityOf(copy, option)).not.toEqual(own);
    for (const file of [
      'chat_template.jinja',
      'processor_config.json',
      'generation_config.json',
      'tokenizer_config.json',
    ]) {
      const text = readFileSync(path.join(copy, file), 'utf8');
      writeFileSync(path.join(copy, file), file.endsWith('.jinja') ? `${text} ` : `${text}\n`);
      expect(await identityOf(copy), file).not.toEqual(own);
      writeFileSync(path.join(copy, file), text);
    }
    expect(await identityOf(copy)).toEqual(own);
  });
});
