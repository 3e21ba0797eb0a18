import { philox } from '@fovea/tensor/random';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  bootstrapP,
  bootstrapTotals,
  clusteredStandardError,
  clusterSums,
  compactClusters,
  holm,
  mcnemarExact,
  meanInterval,
  pairedDifference,
  percentileInterval,
  proportion,
  ratioDraws,
  resamplesOf,
  rSquared,
  sizes,
  wilson,
} from './statistics.ts';

/** The worked example of specs/evaluation.md 2.7: 20 clusters of 6. */
const example = () => {
  const values: number[] = [];
  const clusters: number[] = [];
  for (let c = 0; c < 20; c++) {
    for (let k = 0; k < 6; k++) {
      values.push((7 * c + 3 * k) % 10 < (c % 4 === 0 ? 4 : 9) ? 1 : 0);
      clusters.push(c);
    }
  }
  return { values, clusters };
};
const singly = (n: number) => Array.from({ length: n }, (_, i) => i);

describe('McNemar', () => {
  it.each([
    [9, 0, 0.003906],
    [12, 3, 0.035156],
    [20, 11, 0.149613],
    [15, 6, 0.078354],
    [8, 2, 0.109375],
    [60, 40, 0.056888],
    [120, 90, 0.045114],
    [5, 5, 1],
    [0, 0, 1],
    [1, 0, 1],
  ])('is exact for %i against %i', (b, c, p) => {
    expect(mcnemarExact(b, c)).toBeCloseTo(p, 6);
    expect(mcnemarExact(c, b)).toBe(mcnemarExact(b, c));
  });

  it('does not underflow with thousands of discordant pairs', () => {
    // Close to the normal approximation: z = (2 · 2450 − 5000 + 1) / √5000.
    expect(mcnemarExact(2450, 2550)).toBeCloseTo(0.1615, 3);
    expect(mcnemarExact(4000, 1000)).toBeGreaterThanOrEqual(0);
    expect(mcnemarExact(4000, 1000)).toBeLessThan(1e-300);
  });
});

describe('intervals', () => {
  it('Wilson gives the published values', () => {
    // 26 and 35 of 135 (MMVP-VLM before and after DIVA).
    expect(wilson(26, 135).map((x) => Number((100 * x).toFixed(1)))).toEqual([13.5, 26.7]);
    expect(wilson(35, 135).map((x) => Number((100 * x).toFixed(1)))).toEqual([19.3, 33.9]);
    // 0 of n: upper end z² / (n + z²).
    expect(wilson(0, 10)).toEqual([0, expect.closeTo(3.8414588 / 13.8414588, 6)]);
    expect(wilson(0, 0)).toEqual([0, 1]);
  });

  it('agrees with the worked example, clustered and not', () => {
    const { values, clusters } = example();
    const options = { count: 10_000, seed: 42 };
    const clustered = proportion(values, clusters, options);
    expect(clustered.value).toBeCloseTo(0.775, 12);
    expect(clustered.clusters).toBe(20);
    // Means of resamples are multiples of 1/120; another generator may end up one of them away.
    const near = (ci: number[], golden: number[]) => ci.every((end, i) => Math.abs(end - golden[i]) < 1.01 / 120);
    expect(near(clustered.ci, [0.666667, 0.866667])).toBe(true);
    const naive = proportion(values, singly(120), options);
    expect(near(naive.ci, [0.7, 0.85])).toBe(true);
    expect(clustered.ci[1] - clustered.ci[0]).toBeGreaterThan(1.2 * (naive.ci[1] - naive.ci[0]));
  });

  it('gives the worked example exactly under its own generator', () => {
    // mulberry32 of seed 42: one draw per cluster and resample, as the figures were made.
    let state = 42;
    const mulberry32 = () => {
      state = (state + 0x6d2b79f5) | 0;
      let t = Math.imul(state ^ (state >>> 15), 1 | state);
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
    };
    expect([mulberry32(), mulberry32(), mulberry32(), mulberry32()].map((u) => u.toFixed(10))).toEqual([
      '0.6011037519',
      '0.4482905590',
      '0.8524657935',
      '0.6697340414',
    ]);
    const resampled = (clusters: ArrayLike<number>, count: number) => {
      state = 42;
      const weights = new Uint16Array(count * 10_000);
      for (let at = 0; at < weights.length; at += count) {
        for (let draw = 0; draw < count; draw++) weights[at + Math.floor(mulberry32() * count)]++;
      }
      const { index } = compactClusters(clusters);
      const sums = clusterSums(example().values, index, count);
      return percentileInterval(ratioDraws(sums, sizes(index, count), { clusters: count, count: 10_000, weights }));
    };
    const [low, high] = resampled(example().clusters, 20);
    expect([low, high].map((x) => x.toFixed(6))).toEqual(['0.666667', '0.866667']);
    expect(resampled(singly(120), 120).map((x) => x.toFixed(2))).toEqual(['0.70', '0.85']);
  });

  it('a statistic of totals has the draws of the plain ratio, kept in memory or drawn anew', () => {
    const { values, clusters } = example();
    const { index, count } = compactClusters(clusters);
    const [sums, members] = [clusterSums(values, index, count), sizes(index, count)];
    const columns = Float64Array.from({ length: 2 * count }, (_, i) => (i % 2 === 0 ? sums : members)[i >> 1]);
    const collect = (kept?: number) => {
      const draws = new Float64Array(300);
      const visit = ([top, bottom]: Float64Array, row: number) => {
        draws[row] = top / bottom;
      };
      bootstrapTotals(columns, count, { count: 300, seed: 5 }, visit, kept);
      return draws;
    };
    const plain = ratioDraws(sums, members, resamplesOf(count, 300, 5));
    expect(collect()).toEqual(plain);
    expect(collect(0)).toEqual(plain);
  });

  it('clustered standard error gives the golden values', () => {
    const { values, clusters } = example();
    expect(clusteredStandardError(values, singly(120))).toBeCloseTo(0.0382797, 6);
    expect(clusteredStandardError(values, clusters)).toBeCloseTo(0.0518584, 6);
  });

  it('is the same for the same seed and differs for another', () => {
    const { values, clusters } = example();
    const first = proportion(values, clusters, { count: 500, seed: 3 });
    // Eight other shapes push the resamples out of the cache.
    for (let c = 30; c < 38; c++) resamplesOf(c, 10, 1);
    expect(proportion(values, clusters, { count: 500, seed: 3 })).toEqual(first);
    expect(resamplesOf(20, 500, 3).weights).not.toEqual(resamplesOf(20, 500, 4).weights);
  });

  it('resamples as many clusters as there are', () => {
    const { weights } = resamplesOf(17, 40, 5);
    for (let row = 0; row < 40; row++)
      expect(weights.subarray(row * 17, row * 17 + 17).reduce((a, b) => a + b)).toBe(17);
  });

  it('does not depend on the order of items', () => {
    const { values, clusters } = example();
    const value = proportion(values, clusters, { count: 300, seed: 1 });
    const reversed = proportion([...values].reverse(), [...clusters].reverse(), { count: 300, seed: 1 });
    expect(reversed.value).toBe(value.value);
    expect(Math.abs(reversed.ci[0] - value.ci[0])).toBeLessThan(0.05);
  });

  it('covers the truth about 95 times of 100 when clusters vary', () => {
    const trials = 300;
    let covered = 0;
    let naively = 0;
    for (let trial = 0; trial < trials; trial++) {
      const rng = philox(9, 'coverage', trial);
      const values: number[] = [];
      const clusters: number[] = [];
      for (let c = 0; c < 60; c++) {
        // Cluster rates of mean 0.5: half of them 0.2, half of them 0.8.
        const rate = rng.uniform() < 0.5 ? 0.2 : 0.8;
        for (let k = 0; k < 5; k++) {
          values.push(rng.uniform() < rate ? 1 : 0);
          clusters.push(c);
        }
      }
      const inside = ([low, high]: [number, number]) => low <= 0.5 && 0.5 <= high;
      if (inside(proportion(values, clusters, { count: 400, seed: 1 }).ci)) covered++;
      if (inside(proportion(values, singly(300), { count: 400, seed: 1 }).ci)) naively++;
    }
    // Three standard errors of a 0.95 rate over 300 trials are 3.8 points.
    expect(covered / trials).toBeGreaterThan(0.91);
    expect(covered / trials).toBeLessThan(0.99);
    expect(naively).toBeLessThan(covered - 15);
  }, 30_000);

  it('gives outcomes that are all alike a width by Wilson on clusters', () => {
    const all = proportion([1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 2, 2], { count: 100, seed: 1 });
    expect(all).toMatchObject({ value: 1, method: 'wilson', clusters: 3, n: 6 });
    expect(all.ci).toEqual(wilson(3, 3));
  });
});

describe('paired differences', () => {
  it('is 0 with an interval of no width for equal outcomes', () => {
    const { values, clusters } = example();
    expect(pairedDifference(values, values, clusters, { count: 200, seed: 1 })).toEqual({ delta: 0, ci: [0, 0] });
  });

  it('is narrower than the unpaired one when outcomes go together, and antisymmetric', () => {
    const { values, clusters } = example();
    const other = values.map((v, i) => (i % 12 === 0 ? 0 : v));
    const options = { count: 2000, seed: 2 };
    const paired = pairedDifference(values, other, clusters, options);
    const one = proportion(values, clusters, options).ci;
    expect(paired.ci[1] - paired.ci[0]).toBeLessThan(one[1] - one[0]);
    const back = pairedDifference(other, values, clusters, options);
    expect(back.delta).toBeCloseTo(-paired.delta, 12);
    expect(back.ci[0]).toBeCloseTo(-paired.ci[1], 12);
  });
});

describe('draws', () => {
  it('interpolates between order statistics', () => {
    // 0…100: the 2.5th percentile is 2.5.
    expect(percentileInterval(Float64Array.from({ length: 101 }, (_, i) => 100 - i))).toEqual([2.5, 97.5]);
    expect(percentileInterval(Float64Array.of(Number.NaN, 3, Number.NaN))).toEqual([3, 3]);
  });

  it('leaves out resamples without a denominator', () => {
    const resamples = resamplesOf(2, 50, 1);
    const draws = ratioDraws(Float64Array.of(1, 0), Float64Array.of(1, 0), resamples);
    expect(draws.some(Number.isNaN)).toBe(true);
    expect(percentileInterval(draws)).toEqual([1, 1]);
  });

  it('has a p value that is never 0 and 1 at the null', () => {
    expect(bootstrapP(Float64Array.from({ length: 99 }, () => 1))).toBeCloseTo(0.02, 12);
    expect(bootstrapP(Float64Array.of(-1, 1, -1, 1))).toBe(1);
  });

  it('R² is 0 for the baseline itself, 1 for a perfect probe, and the mean over columns', () => {
    const baseline = [1, 4, 9, 16, 25, 36];
    const options = { count: 100, seed: 1 };
    const clusters = [0, 1, 2];
    const of = (error: number[]) => rSquared({ columns: 2, error, baseline }, clusters, options)?.value;
    expect(of(baseline)).toBeCloseTo(0, 12);
    expect(of([0, 0, 0, 0, 0, 0])).toBe(1);
    expect(of([0, 4, 0, 16, 0, 36])).toBeCloseTo(0.5, 12);
    expect(rSquared({ columns: 1, error: [1], baseline: [0] }, [0], options)).toBeNull();
  });
});

describe('Holm', () => {
  it('gives the textbook adjustment', () => {
    const adjusted = holm([0.01, 0.04, 0.03, 0.005]);
    [0.03, 0.06, 0.06, 0.02].forEach((p, i) => {
      expect(adjusted[i]).toBeCloseTo(p, 12);
    });
    expect(holm([])).toEqual([]);
  });

  it('never lowers a p, keeps order, and stays a probability', () => {
    fc.assert(
      fc.property(fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 30 }), (p) => {
        const adjusted = holm(p);
        p.forEach((x, i) => {
          expect(adjusted[i]).toBeGreaterThanOrEqual(x);
          expect(adjusted[i]).toBeLessThanOrEqual(1);
          p.forEach((y, j) => {
            if (x < y) expect(adjusted[i]).toBeLessThanOrEqual(adjusted[j]);
          });
        });
      }),
    );
  });
});

it('renumbers clusters by first appearance', () => {
  expect(compactClusters([7, 3, 7, 9])).toEqual({ index: Int32Array.of(0, 1, 0, 2), count: 3 });
});

// Two-sided 95 % points of published tables.
it.each([
  [1, 12.7062],
  [2, 4.302653],
  [10, 2.228139],
  [11, 2.200985],
  [29, 2.04523],
  [200, 1.971896],
])('the interval of a mean with %i degrees of freedom is Student’s', (degrees, quantile) => {
  const n = degrees + 1;
  const values = Array.from({ length: n }, (_, i) => Math.sin(7 * i));
  const mean = values.reduce((a, b) => a + b, 0) / n;
  const error = Math.sqrt(values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (n - 1) / n);
  const found = meanInterval(values);
  expect(found.mean).toBeCloseTo(mean, 12);
  expect((found.ci![1] - mean) / error).toBeCloseTo(quantile, 3);
  expect((mean - found.ci![0]) / error).toBeCloseTo(quantile, 3);
});

it('one value has a mean and no interval', () => {
  expect(meanInterval([2])).toEqual({ mean: 2, ci: null });
});
