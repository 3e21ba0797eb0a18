// LLaVA against transformers. llava.py wrote the fixtures.

import {
  llama,
  llamaLogits,
  llavaEmbed,
  llavaImage,
  llavaPublished,
  llavaSpecs,
  llavaText,
  readLlavaConfig,
} from '@fovea/models';
import { tf } from '@fovea/tensor';
import { describe, expect, it } from 'vitest';
import { checkParity, readFixture } from './parity.ts';

describe('LLaVA', () => {
  it.each([
    ['llava', 'patches before the last block, as LLaVA 1.5'],
    ['llava-full', 'all tokens of the last block, and no biases'],
  ])('%s: %s', async (name) => {
    const fixture = readFixture(name);
    const config = readLlavaConfig(fixture.about, name);
    const ids = [...fixture.tensors['in/ids'].data];
    await checkParity(fixture, llavaSpecs(config), (p, inputs) => {
      const tokens = llavaImage(p, inputs.pixels, config); // [2, N, D]
      const rows = [0, 1].map((row) => {
        const start = ids.indexOf(config.imageToken, row * 9) - row * (ids.length / 2);
        const end = ids.length / 2 - start - config.imageTokens;
        return tf.pad(tf.slice(tokens, [row, 0, 0], [1, -1, -1]), [
          [0, 0],
          [start, end],
          [0, 0],
        ]);
      });
      const x = llavaEmbed(p, inputs.ids, tf.concat(rows, 0), config);
      const text = llavaText(p);
      return { tokens, logits: llamaLogits(text, llama(text, x, config.text).hidden, config.text) };
    });
  });

  it('knows the names of its files of every year', () => {
    const names = Object.keys(llavaSpecs(readLlavaConfig(readFixture('llava').about, 'llava')));
    const between = names.map((name) =>
      name === 'language_model.lm_head.weight'
        ? 'lm_head.weight'
        : `model.${name.replace('language_model.model.', 'language_model.')}`,
    );
    expect(between.map(llavaPublished)).toEqual(names);
    expect(names.map((name) => name.replace('vision_model.', '')).map(llavaPublished)).toEqual(names);
    expect(names.map(llavaPublished)).toEqual(names);
  });

  it.each([
    [{ vision_feature_layer: -9 }, /vision_feature_layer — -9 is no layer of a tower of 3/],
    [{ vision_feature_layer: [-2, -5] }, /vision_feature_layer — features of one layer/],
    [{ vision_config: { model_type: 'pixtral' } }, /model_type/],
  ])('refuses %j by name', (change, message) => {
    expect(() => readLlavaConfig({ ...readFixture('llava').about, ...change }, 'x')).toThrow(message);
  });
});
