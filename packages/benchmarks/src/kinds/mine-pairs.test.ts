import { philox } from '@fovea/tensor/random';
import { describe, expect, it } from 'vitest';
import { type FeatureMatrix, minedDraft, minePairs, minePairsSchema } from './mine-pairs.ts';

/** Random rows; `copies` makes the second of each pair a noisy copy of the first. */
function rows(n: number, dim: number, seed: number, copies: readonly [number, number, number][] = []): FeatureMatrix {
  const rng = philox(seed, 'rows');
  const values = Float32Array.from({ length: n * dim }, () => rng.normal());
  for (const [from, to, noise] of copies) {
    for (let k = 0; k < dim; k++) values[to * dim + k] = 3 * (values[from * dim + k] + noise * rng.normal());
  }
  return { values, dim };
}

const cosine = ({ values, dim }: FeatureMatrix, a: number, b: number) => {
  const [x, y] = [a, b].map((row) => values.subarray(row * dim, (row + 1) * dim));
  const dot = (p: Float32Array, q: Float32Array) => p.reduce((sum, v, k) => sum + v * q[k], 0);
  return dot(x, y) / Math.sqrt(dot(x, x) * dot(y, y));
};

/** Three planted pairs across blocks of rows, one of them alike for both encoders, in 1,300 pictures. */
const PLANTED: [number, number, number][] = [
  [3, 1200, 0.1],
  [700, 701, 0.2],
  [40, 41, 0.05],
];
const near = rows(1300, 40, 1, PLANTED);
const far = rows(1300, 24, 2, [[40, 41, 0.05]]);

describe('minePairs', () => {
  it('finds the planted pairs, ranked, and not the one that both encoders take for the same', async () => {
    const pairs = await minePairs(near, far);
    expect(pairs.map(({ a, b }) => [a, b]).sort()).toEqual([
      [3, 1200],
      [700, 701],
    ]);
    for (const { a, b, similar, different } of pairs) {
      expect(similar).toBeCloseTo(cosine(near, a, b), 6);
      expect(different).toBeCloseTo(cosine(far, a, b), 6);
    }
    const gaps = pairs.map(({ similar, different }) => similar - different);
    expect(gaps[0]).toBeGreaterThanOrEqual(gaps[1]);
    expect(await minePairs(near, far)).toEqual(pairs);
  });

  it('agrees with all pairs one by one at thresholds that many pass', async () => {
    const options = { above: 0.2, below: 0.1, limit: 1_000_000, disjoint: false };
    const [some, other] = [rows(600, 19, 3), rows(600, 7, 4)];
    const found = new Set((await minePairs(some, other, options)).map(({ a, b }) => `${a}-${b}`));
    const expected: string[] = [];
    for (let a = 0; a < 600; a++) {
      for (let b = a + 1; b < 600; b++) {
        if (cosine(some, a, b) > 0.2 && cosine(other, a, b) < 0.1) expected.push(`${a}-${b}`);
      }
    }
    expect(expected.length).toBeGreaterThan(10_000);
    expect([...found].sort()).toEqual(expected.sort());
  });

  it('gives every picture to one pair, and no more pairs than asked for', async () => {
    const options = { above: 0.2, below: 0.1, limit: 25 };
    const pairs = await minePairs(rows(300, 19, 3), rows(300, 7, 4), options);
    expect(pairs).toHaveLength(25);
    expect(new Set(pairs.flatMap(({ a, b }) => [a, b])).size).toBe(50);
  });

  it('refuses matrices of other pictures and rows without a direction', async () => {
    await expect(minePairs(rows(3, 4, 1), rows(4, 4, 1))).rejects.toThrow('features of 3 and of 4 pictures');
    const zero = rows(3, 4, 1);
    zero.values.fill(0, 4, 8);
    await expect(minePairs(zero, rows(3, 4, 1))).rejects.toThrow('(picture 1)');
    zero.values[5] = Number.NaN;
    await expect(minePairs(zero, rows(3, 4, 1))).rejects.toThrow('(picture 1)');
  });
});

describe('minedDraft', () => {
  const source = {
    pictures: Array.from({ length: 1300 }, (_, i) => ({
      path: `${i}.jpg`,
      sha256: i.toString(16).padStart(64, '0'),
      width: 8,
      height: 8,
    })),
    labels: Array.from({ length: 1300 }, (_, i) => i % 100),
    classes: Array.from({ length: 100 }, (_, i) => `class_${i}`),
    encoders: { confused: 'c', apart: 'd' },
    options: minePairsSchema.parse({}),
  };

  it('asks for each picture by its class name, and leaves out pairs of one class', async () => {
    const pairs = await minePairs(near, far);
    const draft = minedDraft([...pairs, { a: 5, b: 105, similar: 0.99, different: 0.1 }], source);
    expect(draft.items).toHaveLength(4);
    expect(draft.omitted).toEqual([{ what: '1 pairs', reason: 'both pictures are of one class' }]);
    const [first, second] = draft.items.filter(({ pair }) => pair === '3-1200');
    expect(first.ask).toEqual({ kind: 'pick', text: 'class 3', gold: 0 });
    expect(second.ask).toEqual({ kind: 'pick', text: 'class 0', gold: 1 });
    expect(first.pictures).toEqual(second.pictures);
    expect(() => minedDraft([{ a: 5, b: 105, similar: 1, different: 0 }], source)).toThrow('None of 1 pairs');
  });
});
