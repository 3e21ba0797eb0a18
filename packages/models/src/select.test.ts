// Token selections: how many tokens the published methods' choices give, that the class token is always first, what is
// taken from which space, and how random patches are drawn.

import { jsEngine, type NumericArray, type Spec, tf } from '@fovea/tensor';
import { philox } from '@fovea/tensor/random';
import { describe, expect, it } from 'vitest';
import type { EncoderShape } from './encoder.ts';
import { countTokens, drawTokens, selectTokens, type TokenSelection, type TokenSpace } from './select.ts';

describe('counts', () => {
  it.each([
    ['OpenAI L/14 at 224', 77, 256, { mode: 'randomK', k: 76, replacement: true }],
    ['OpenAI L/14 at 336', 77, 576, { mode: 'randomK', k: 76, replacement: true }],
    ['MetaCLIP at 224', 257, 256, { mode: 'all' }],
    ['DFN H at 378', 365, 729, { mode: 'randomRatio', ratio: 0.5, replacement: true }],
    ['SigLIP at 224', 43, 256, { mode: 'pool', window: 6 }],
    ['SigLIP at 384', 73, 729, { mode: 'pool', window: 10 }],
    ['GenHancer', 1, 256, { mode: 'none' }],
  ] as [string, number, number, TokenSelection][])('of %s are %i', (_name, count, patches, selection) => {
    expect(countTokens(patches, selection)).toBe(count);
  });

  it('refuse more different patches than there are', () => {
    expect(() => countTokens(16, { mode: 'randomK', k: 17, replacement: false })).toThrow(
      'The token selection cannot be made: 17 different patches are more than the 16 that there are; lower it, or choose another mode.',
    );
    expect(() => countTokens(16, { mode: 'pool', window: 17 })).toThrow(/a window of 17/);
  });
});

describe('draws', () => {
  it('with replacement come from all patches, and repeat some', () => {
    const drawn = drawTokens(philox(1, 'tokens'), 16, { mode: 'randomK', k: 76, replacement: true });
    expect(drawn.length).toBe(76);
    expect(new Set(drawn)).toEqual(new Set(Array.from({ length: 16 }, (_, i) => i)));
  });

  it('without replacement are different patches, each as likely as another', () => {
    const counts = new Int32Array(10);
    for (let i = 0; i < 2000; i++) {
      const drawn = drawTokens(philox(1, 'tokens', 0, i), 10, { mode: 'randomRatio', ratio: 0.4, replacement: false });
      expect(new Set(drawn).size).toBe(4);
      for (const patch of drawn) counts[patch]++;
    }
    for (const count of counts) expect(Math.abs(count - 800)).toBeLessThan(100);
  });

  it('are none where nothing is random', () => {
    expect(drawTokens(philox(1, 'tokens'), 16, { mode: 'all' }).length).toBe(0);
  });
});

// Two pictures, a class token and a register in front of 4 patches, 2 wide: the hidden token t of picture b is 100b + t, normed ones
// are negative, the pooled vector is 7, the projected one 9.
const shape: EncoderShape = {
  imageSize: { height: 2, width: 2 },
  patches: 4,
  prefix: 2,
  width: 2,
  projection: 2,
};

async function select(
  selection: TokenSelection,
  space: TokenSpace,
  options: { prefix?: number; indices?: number[] } = {},
) {
  const { prefix = 2, indices } = options;
  const tokens = prefix + shape.patches;
  const hidden = Float32Array.from(
    { length: 4 * tokens },
    (_, i) => 100 * Math.floor(i / 2 / tokens) + (Math.floor(i / 2) % tokens),
  );
  const inputs: Record<string, Spec> = { hidden: { shape: [2, tokens, 2], dtype: 'float32' } };
  const values: Record<string, NumericArray> = { hidden };
  if (indices) {
    inputs.indices = { shape: [2, indices.length / 2], dtype: 'int32' };
    values.indices = Int32Array.from(indices);
  }
  const { first } = await jsEngine.run(
    ({ hidden: x, indices: chosen }) => {
      const output = { hidden: x, normed: tf.neg(x), pooled: tf.fill([2, 2], 7), embeds: tf.fill([2, 2], 9) };
      const project = (y: typeof x) => tf.mul(y, 10);
      const selected = selectTokens(output, { ...shape, prefix }, selection, { space, indices: chosen, project });
      return { outputs: { first: tf.slice(selected, [0, 0, 0], [-1, -1, 1]) } };
    },
    { inputs },
    values,
  );
  const count = first.length / 2;
  return [[...first.slice(0, count)], [...first.slice(count)]];
}

describe('selections', () => {
  it('take the class token first, from each space', async () => {
    expect(await select({ mode: 'none' }, 'hidden')).toEqual([[0], [100]]);
    expect(await select({ mode: 'none' }, 'normed')).toEqual([[7], [7]]);
    expect(await select({ mode: 'none' }, 'projected')).toEqual([[9], [9]]);
  });

  it('take the pooled vector where there is no class token', async () => {
    expect(await select({ mode: 'all' }, 'hidden', { prefix: 0 })).toEqual([
      [7, 0, 1, 2, 3],
      [7, 100, 101, 102, 103],
    ]);
  });

  it('take all patches and no register', async () => {
    expect(await select({ mode: 'all' }, 'hidden')).toEqual([
      [0, 2, 3, 4, 5],
      [100, 102, 103, 104, 105],
    ]);
    expect(await select({ mode: 'all' }, 'projected')).toEqual([
      [9, -20, -30, -40, -50],
      [9, -1020, -1030, -1040, -1050],
    ]);
  });

  it('take the patches of the given indices, each picture its own', async () => {
    const selection: TokenSelection = { mode: 'randomK', k: 3, replacement: true };
    expect(await select(selection, 'hidden', { indices: [3, 0, 3, 1, 1, 2] })).toEqual([
      [0, 5, 2, 5],
      [100, 103, 103, 104],
    ]);
    await expect(select(selection, 'hidden')).rejects.toThrow(/needs the indices of \[2,3\] patches/);
  });

  it('average windows along the sequence and drop the rest', async () => {
    expect(await select({ mode: 'pool', window: 3 }, 'hidden')).toEqual([
      [0, 3],
      [100, 103],
    ]);
  });
});
