// The tokenizers and chat templates of language models against transformers'. chat-tokenizer.py wrote the fixture.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { readChatTokenizer } from '@fovea/models';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readFixture } from './parity.ts';

const { about } = readFixture('chat-tokenizer');
const texts: string[] = about.texts;

describe('tokenizers of language models', () => {
  let scratch: string;
  beforeAll(() => {
    scratch = mkdtempSync(path.join(os.tmpdir(), 'fovea-chat-'));
    for (const [folder, files] of Object.entries<Record<string, string>>(about.folders)) {
      mkdirSync(path.join(scratch, folder));
      for (const [name, content] of Object.entries(files)) writeFileSync(path.join(scratch, folder, name), content);
    }
  });
  afterAll(() => rmSync(scratch, { recursive: true, force: true }));

  describe.each([
    ['llama3', 'bytes, digits by threes'],
    ['qwen2', 'bytes, NFC'],
    ['smollm2', 'bytes, digits one by one'],
    ['llama2', "sentencepiece's, with the normalizer's spaces"],
    ['llava', "sentencepiece's, with spaces before it is split"],
  ])('%s: %s', (name) => {
    const wanted = about.answers[name];

    it('gives the ids that transformers gives', () => {
      const tokenizer = readChatTokenizer(path.join(scratch, name));
      texts.forEach((text, row) => {
        expect(tokenizer.encode(text), JSON.stringify(text)).toEqual(wanted.plain[row]);
        expect(tokenizer.encode(text, { special: true }), JSON.stringify(text)).toEqual(wanted.special[row]);
      });
    });

    it('gives the texts that transformers gives back', () => {
      const tokenizer = readChatTokenizer(path.join(scratch, name));
      wanted.plain.forEach((ids: number[], row: number) => {
        expect(tokenizer.decode(ids), JSON.stringify(texts[row])).toBe(wanted.decoded[row]);
      });
    });

    it('fills in its chat template as transformers does', () => {
      const tokenizer = readChatTokenizer(path.join(scratch, name));
      expect(wanted.chats.map(tokenizer.render)).toEqual(wanted.rendered);
    });
  });
});
