// The tokenizers of CLIP and SigLIP against transformers'. text-tokenizer.py wrote the fixture; with FOVEA_PYTHON it also
// lays CLIP's real vocabulary out, which is too large to commit.

import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { readTokenizer } from '@fovea/models';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readFixture } from './parity.ts';

const PYTHON = process.env.FOVEA_PYTHON;
const SCRIPT = fileURLToPath(new URL('text-tokenizer.py', import.meta.url));
const { about, tensors } = readFixture('text-tokenizer');
const texts: string[] = about.texts;

function check(folder: string, length: number, rows: (row: number) => number[]) {
  const ids = readTokenizer(folder).encode(texts, length);
  expect(ids.length).toBe(texts.length * length);
  texts.forEach((text, row) => {
    expect([...ids.subarray(row * length, (row + 1) * length)], JSON.stringify(text)).toEqual(rows(row));
  });
}

describe('text tokenizers', () => {
  let scratch: string;
  beforeAll(() => {
    scratch = mkdtempSync(path.join(os.tmpdir(), 'fovea-tokenizer-'));
    for (const [folder, files] of Object.entries<Record<string, string>>(about.folders)) {
      mkdirSync(path.join(scratch, folder));
      for (const [name, content] of Object.entries(files)) writeFileSync(path.join(scratch, folder, name), content);
    }
  });
  afterAll(() => rmSync(scratch, { recursive: true, force: true }));

  it.each([
    ['clip', 'from tokenizer.json'],
    ['clip-files', 'from vocab.json and merges.txt'],
    ['siglip', 'from tokenizer.json'],
  ])('%s: give the ids that transformers gives, %s', (folder) => {
    const { shape, data } = tensors[`out/${folder}`];
    const [, length] = shape;
    const rows = (row: number) => [...data.subarray(row * length, (row + 1) * length)];
    check(path.join(scratch, folder), length, rows);
  });

  if (!PYTHON)
    console.info("text-tokenizer: CLIP's whole vocabulary is not tried: FOVEA_PYTHON names no Python with open_clip");
  it.skipIf(!PYTHON)(
    "clip: give the ids that transformers gives by CLIP's whole vocabulary",
    () => {
      const folder = path.join(scratch, 'real');
      const { status, stderr } = spawnSync(PYTHON as string, [SCRIPT, folder], { encoding: 'utf8' });
      expect(status, stderr).toBe(0);
      const wanted: number[][] = JSON.parse(readFileSync(path.join(folder, 'ids.json'), 'utf8'));
      for (const layout of ['files', 'json']) check(path.join(folder, layout), 77, (row) => wanted[row]);
    },
    120_000,
  );
});
