// What parity does not show: the sizes of the published networks, and what is refused.

import { compile, tf } from '@fovea/tensor';
import { describe, expect, it } from 'vitest';
import { readUnetConfig, unet, unetSkipShapes, unetSpecs } from './index.ts';

const SD21 = { attention_head_dim: [5, 10, 20, 20], cross_attention_dim: 1024, use_linear_projection: true };
const parameters = (json: object) =>
  Object.values(unetSpecs(readUnetConfig(json, 'it'))).reduce(
    (sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1),
    0,
  );

describe('the published U-Nets', () => {
  it('have as many parameters as their files', () => {
    expect(parameters({ cross_attention_dim: 768 })).toBe(859_520_964);
    expect(parameters(SD21)).toBe(865_910_724);
    const unclip = { ...SD21, class_embed_type: 'projection', projection_class_embeddings_input_dim: 2048 };
    expect(parameters(unclip)).toBe(865_910_724 + (2048 + 1 + 1280 + 1) * 1280);
  });

  it('keep twelve feature maps', () => {
    const { skips, mid } = unetSkipShapes(readUnetConfig(SD21, 'it'), 64, 64);
    const sides = [64, 64, 64, 32, 32, 32, 16, 16, 16, 8, 8, 8];
    expect(skips.map(([, height]) => height)).toEqual(sides);
    expect(skips.map(([channels]) => channels)).toEqual([320, 320, 320, 320, 640, 640, 640, ...Array(5).fill(1280)]);
    expect(mid).toEqual([1280, 8, 8]);
  });
});

describe('a configuration', () => {
  it.each([
    [{ addition_embed_type: 'text_time' }, /unet\/config\.json cannot be used: addition_embed_type — /],
    [{ down_block_types: ['SimpleCrossAttnDownBlock2D'] }, /: down_block_types\.0 — /],
    [{ only_cross_attention: true }, /: only_cross_attention — .*expected false/],
    [{ resnet_time_scale_shift: 'scale_shift' }, /: resnet_time_scale_shift — .*expected "default"/],
    [{ transformer_layers_per_block: [1, 2, 10] }, /: transformer_layers_per_block — .*expected number/],
    [{ class_embed_type: 'timestep' }, /: class_embed_type — .*expected "projection"/],
    [{ class_embed_type: 'projection' }, /: projection_class_embeddings_input_dim — class_embed_type/],
    [{ block_out_channels: [32, 64] }, /: down_block_types — it names 4 blocks, and block_out_channels has 2/],
    [{ attention_head_dim: [5, 10] }, /: attention_head_dim — it has 2 entries, and block_out_channels has 4/],
    [{ attention_head_dim: 7 }, /: attention_head_dim — 7 heads do not divide the 320 channels/],
    [{ norm_num_groups: 48 }, /: norm_num_groups — 48 groups do not divide the 320 channels/],
  ])('is refused with %j', (json, sentence) => {
    expect(() => readUnetConfig(json, 'unet/config.json')).toThrow(sentence);
  });
});

describe('tensors that do not fit', () => {
  const small = {
    block_out_channels: [4],
    down_block_types: ['CrossAttnDownBlock2D'],
    up_block_types: ['CrossAttnUpBlock2D'],
    layers_per_block: 1,
    attention_head_dim: 1,
    norm_num_groups: 1,
    cross_attention_dim: 6,
  };
  const config = readUnetConfig(small, 'it');
  const labelled = readUnetConfig(
    { ...small, class_embed_type: 'projection', projection_class_embeddings_input_dim: 5 },
    'it',
  );
  const pass = (c: typeof config, width: number, options: () => Parameters<typeof unet>[5]) =>
    compile(({ x }) => ({ outputs: { y: unet({}, x, tf.zeros([1]), tf.zeros([1, 3, width]), c, options()) } }), {
      inputs: { x: { shape: [1, 4, 2, 2], dtype: 'float32' } },
    });

  it.each([
    ['condition', config, 7, () => ({}), /condition must have the shape \[1,\*,6\], and is \[1,3,7\]/],
    ['labels', labelled, 6, () => ({}), /class labels must have the shape \[1,5\], and is absent/],
    ['no labels', config, 6, () => ({ classLabels: tf.zeros([1, 5]) }), /no class embedding; leave/],
    ['skips', config, 6, () => ({ skipResiduals: [tf.zeros([1, 4, 2, 2])] }), /has 2 skips, not 1/],
    [
      'middle',
      config,
      6,
      () => ({ midResidual: tf.zeros([1, 4, 1, 1]) }),
      /middle block must have the shape \[1,4,2,2\]/,
    ],
  ])('are refused in a sentence: %s', async (_what, c, width, options, sentence) => {
    await expect(pass(c, width, options)).rejects.toThrow(sentence);
  });
});
