// Language models as folders against transformers, from the words and the picture to what is said. language-model.py wrote
// the folders and the answers.

import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { type LanguageModel, openLanguageModel } from '@fovea/models';
import { afterEach, describe, expect, it } from 'vitest';
import { expectClose, readFixture } from './parity.ts';

const folderOf = (name: string) =>
  fileURLToPath(new URL(`../fixtures/models/language-models/${name}`, import.meta.url));
const { about, tensors } = readFixture('language-models');
const idsOf = (name: string, row: number) => [...tensors[`${name}/${row}/ids`].data];

const logSoftmax = (logits: Float32Array): Float32Array => {
  const top = Math.max(...logits);
  const all = top + Math.log(logits.reduce((sum, x) => sum + Math.exp(x - top), 0));
  return logits.map((x) => x - all);
};

describe('language models from their folders', () => {
  const open: LanguageModel[] = [];
  const opened = async (...given: Parameters<typeof openLanguageModel>) => {
    const model = await openLanguageModel(...given);
    open.push(model);
    return model;
  };
  afterEach(async () => {
    for (const model of open.splice(0)) await model.dispose();
  });

  it('read and go on as transformers does, by pieces of any length', async () => {
    for (const chunk of [64, 5]) {
      const model = await opened(folderOf('llama'), { chunk });
      for (const [row] of about.llama.entries()) {
        const reader = model.reader(200);
        let logits = await reader.read(idsOf('llama', row));
        expectClose(logSoftmax(logits), tensors[`llama/${row}/logs`].data, `logs of ${row}`);
        const said: number[] = [];
        for (const wanted of tensors[`llama/${row}/said`].data) {
          const id = logits.indexOf(Math.max(...logits));
          said.push(id);
          expect(said.at(-1), `token ${said.length} of ${row}`).toBe(wanted);
          logits = await reader.step(id);
        }
        expect(model.tokenizer.decode(said)).toBe(about.llama[row].text);
      }
    }
  });

  it('give a text the same bits whatever was read before it, and however much was forgotten', async () => {
    const model = await opened(folderOf('llama'));
    const [first, second] = [idsOf('llama', 0), idsOf('llama', 4)];
    const fresh = await model.reader(200).read(second);
    const used = model.reader(200);
    await used.read(first);
    await used.step(7);
    used.rewind(0);
    expect(await used.read(second)).toEqual(fresh);
    const threads = await opened(folderOf('llama'), { threads: 2 });
    expect(await threads.reader(200).read(second)).toEqual(fresh);
  });

  it('refuse a text that is longer than there is room for, and pictures that nobody sees', async () => {
    const model = await opened(folderOf('llama'));
    const reader = model.reader(10);
    await expect(reader.read(Array(300).fill(5))).rejects.toThrow(/does not fit into the 256/);
    await expect(model.see(new Float32Array(3 * 12 * 12))).rejects.toThrow(/sees no pictures/);
    const llava = await opened(folderOf('llava'));
    await expect(llava.reader(10).read([1, 2], new Float32Array(9 * 24))).rejects.toThrow(
      /0 tokens of pictures, and 9/,
    );
  });

  describe('of damaged folders', () => {
    const scratch = mkdtempSync(path.join(os.tmpdir(), 'fovea-lm-'));
    const damaged = (name: string, change: (json: Record<string, unknown>) => unknown) => {
      const folder = mkdtempSync(path.join(scratch, 'x-'));
      for (const file of readdirSync(folderOf('llama')))
        copyFileSync(path.join(folderOf('llama'), file), path.join(folder, file));
      const file = path.join(folder, name);
      writeFileSync(file, JSON.stringify(change(JSON.parse(readFileSync(file, 'utf8')))));
      return folder;
    };
    afterEach(() => rmSync(path.join(scratch, 'x'), { recursive: true, force: true }));

    it.each([
      ['config.json', () => ({ model_type: 'mamba' }), /model_type "mamba", which Fovea does not know/],
      ['config.json', (c: object) => ({ ...c, num_hidden_layers: 3 }), /lack model\.layers\.2/],
      ['config.json', (c: object) => ({ ...c, vocab_size: 9 }), /embed_tokens\.weight as/],
      ['tokenizer.json', (c: object) => ({ ...c, model: { type: 'WordLevel' } }), /model\.type/],
      ['model.safetensors.index.json', (c: object) => ({ ...c, weight_map: {} }), /"weight_map" is empty/],
    ] as const)('say what is wrong with %s', async (name, change, message) => {
      await expect(openLanguageModel(damaged(name, change as never))).rejects.toThrow(message);
    });
  });
});
