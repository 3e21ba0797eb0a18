// What parity cannot show of the tokenizers: folders that cannot be read.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { FoveaError } from '@fovea/artifacts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readTokenizer } from './text-tokenizer.ts';

describe('a folder without a usable tokenizer', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(path.join(os.tmpdir(), 'fovea-tokenizer-'));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  const bpe = { added_tokens: [], model: { type: 'BPE', vocab: { '<|endoftext|>': 0, a: 1 }, merges: [] } };

  it.each<[string, Record<string, unknown>, RegExp]>([
    ['has none', {}, /it needs tokenizer.json, or vocab.json and merges.txt/],
    ['has only half of one', { 'vocab.json': {} }, /it needs tokenizer.json, or vocab.json and merges.txt/],
    ['has no JSON', { 'tokenizer.json': '{' }, /tokenizer.json is not JSON/],
    ['has another kind', { 'tokenizer.json': { ...bpe, model: { type: 'WordPiece' } } }, /model.type/],
    ['has no vocabulary', { 'tokenizer.json': { ...bpe, model: { type: 'BPE' } } }, /cannot be built/],
    [
      'pads with a token it lacks',
      { 'tokenizer.json': bpe, 'tokenizer_config.json': { pad_token: { content: '<pad>' } } },
      /has no token <pad>/,
    ],
    [
      'pads on the left',
      { 'tokenizer.json': bpe, 'tokenizer_config.json': { padding_side: 'left' } },
      /tokenizer_config.json cannot be used: padding_side/,
    ],
    ['begins texts with a token it lacks', { 'vocab.json': { a: 0 }, 'merges.txt': '' }, /has no <\|startoftext\|>/],
  ])('%s', (_name, files, message) => {
    for (const [name, content] of Object.entries(files))
      writeFileSync(path.join(folder, name), typeof content === 'string' ? content : JSON.stringify(content));
    expect(() => readTokenizer(folder)).toThrow(FoveaError);
    expect(() => readTokenizer(folder)).toThrow(message);
  });

  it('has one beyond all size', () => {
    writeFileSync(path.join(folder, 'tokenizer.json'), '');
    truncateSync(path.join(folder, 'tokenizer.json'), 2 ** 28);
    expect(() => readTokenizer(folder)).toThrow(/too many for a tokenizer/);
  });

  it('has a pipe in its place, which is not waited for', () => {
    execFileSync('mkfifo', [path.join(folder, 'tokenizer.json')]);
    expect(() => readTokenizer(folder)).toThrow(/it needs tokenizer.json/);
  });
});
