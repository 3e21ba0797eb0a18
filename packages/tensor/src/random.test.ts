// A whole picture's draws at once: they belong to their names and place alone.

import { describe, expect, it } from 'vitest';
import { fillUint32 } from './random.ts';

const drawn = (count: number, ...of: [seed: number, stream: string, step?: number, index?: number]) => {
  const out = new Uint32Array(count);
  fillUint32(out, ...of);
  return out;
};

describe('fillUint32', () => {
  it('gives the same words however many are asked for, and others by any of its names', () => {
    const all = drawn(1001, 5, 'noise', 2, 3);
    for (const count of [1, 3, 4, 6, 1000]) expect(drawn(count, 5, 'noise', 2, 3)).toEqual(all.slice(0, count));
    const others = [
      drawn(8, 6, 'noise', 2, 3),
      drawn(8, 5, 'hail', 2, 3),
      drawn(8, 5, 'noise', 1, 3),
      drawn(8, 5, 'noise', 2, 4),
    ];
    for (const other of others) for (const [i, word] of other.entries()) expect(word).not.toBe(all[i]);
  });

  it('fills all 32 bits evenly', () => {
    const words = drawn(100_000, 1, 'noise');
    for (let bit = 0; bit < 32; bit++) {
      const share = words.reduce((sum, word) => sum + ((word >>> bit) & 1), 0) / words.length;
      expect(Math.abs(share - 0.5)).toBeLessThan(0.007);
    }
  });
});
