import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { auroc, rankScores, weightedAuroc } from './auroc.ts';
import { type BinaryCounts, binaryMetrics, count, noCounts } from './binary.ts';
import { normalQuantile } from './normal.ts';

const counts = (some: Partial<BinaryCounts>): BinaryCounts => ({ ...noCounts(), ...some });

describe('binary metrics', () => {
  it('gives the golden numbers of the specification (2.1)', () => {
    const m = binaryMetrics(counts({ tp: 1330, fp: 160, tn: 1340, fn: 170 }));
    expect(m.accuracy).toBe(0.89);
    expect(m.precision).toBeCloseTo(0.892617, 6);
    expect(m.recall).toBeCloseTo(0.886667, 6);
    expect(m.f1).toBeCloseTo(0.889632, 6);
    expect(m['yes-ratio']).toBeCloseTo(0.496667, 6);
    expect(m.mcc).toBeCloseTo(0.780017, 6);
    expect(m['d-prime']).toBeCloseTo(2.453442, 6);
    expect(m.criterion).toBeCloseTo(0.017731, 6);
    expect(m.specificity).toBeCloseTo(1340 / 1500, 12);
    expect(m['balanced-accuracy']).toBeCloseTo(0.89, 12);
    expect(m['accuracy-answered']).toBe(0.89);
    expect(m['unknown-rate']).toBe(0);
  });

  it('corrects the rates log-linearly only when one of them is 0 or 1', () => {
    const extreme = binaryMetrics(counts({ tp: 1500, fp: 160, tn: 1340 }));
    const hit = normalQuantile(1500.5 / 1501);
    const alarm = normalQuantile(160.5 / 1501);
    expect(extreme['d-prime']).toBeCloseTo(hit - alarm, 12);
    expect(extreme.criterion).toBeCloseTo(-(hit + alarm) / 2, 12);
  });

  it('gives 50 / 66.7 / 100 to whoever always says yes', () => {
    const m = binaryMetrics(counts({ tp: 1500, fp: 1500 }));
    expect(m).toMatchObject({ accuracy: 0.5, recall: 1, precision: 0.5, 'yes-ratio': 1, specificity: 0, mcc: null });
    expect(m.f1).toBeCloseTo(2 / 3, 12);
    expect(m['d-prime']).toBeCloseTo(0, 12);
    expect(m.criterion).toBeLessThan(-3);
  });

  it('is null where 0 is divided by 0', () => {
    expect(binaryMetrics(counts({ tn: 3, fn: 3 }))).toMatchObject({ precision: null, f1: null, mcc: null, recall: 0 });
    expect(binaryMetrics(counts({ fp: 3, fn: 3 }))).toMatchObject({ precision: 0, recall: 0, f1: null, mcc: -1 });
    expect(binaryMetrics(counts({ tp: 3 }))).toMatchObject({
      specificity: null,
      'balanced-accuracy': null,
      'd-prime': null,
      criterion: null,
    });
    expect(Object.values(binaryMetrics(noCounts())).every((value) => value === null)).toBe(true);
  });

  it('takes a missing answer as wrong, and as neither a yes nor a no', () => {
    const all = [
      ['yes', 'yes'],
      ['yes', 'unknown'],
      ['yes', 'no'],
      ['no', 'no'],
      ['no', 'error'],
      ['no', 'unknown'],
    ] as const;
    const m = binaryMetrics(all.reduce((sum, [gold, said]) => count(sum, gold, said), noCounts()));
    expect(m.accuracy).toBeCloseTo(2 / 6, 12);
    expect(m['accuracy-answered']).toBeCloseTo(2 / 3, 12);
    expect(m.precision).toBe(1);
    expect(m.recall).toBeCloseTo(1 / 3, 12);
    expect(m.specificity).toBeCloseTo(1 / 3, 12);
    expect(m['yes-ratio']).toBeCloseTo(1 / 6, 12);
    expect(m['unknown-rate']).toBe(0.5);
    // (right·n − Σ gold·said) ⁄ √((n² − Σ gold²)(n² − Σ said²)) = 3 ⁄ √(18 · 22)
    expect(m.mcc).toBeCloseTo(3 / Math.sqrt(18 * 22), 12);
  });

  it('keeps every rate between 0 and 1 and mirrors d′ when yes and no change places', () => {
    const n = fc.integer({ min: 0, max: 50 });
    fc.assert(
      fc.property(n, n, n, n, (tp, fn, fp, tn) => {
        const m = binaryMetrics(counts({ tp, fn, fp, tn }));
        const mirrored = binaryMetrics(counts({ tp: tn, fn: fp, fp: fn, tn: tp }));
        for (const metric of ['accuracy', 'precision', 'recall', 'f1', 'yes-ratio'] as const) {
          expect(m[metric] ?? 0).toBeGreaterThanOrEqual(0);
          expect(m[metric] ?? 0).toBeLessThanOrEqual(1);
        }
        expect(mirrored['d-prime'] ?? 0).toBeCloseTo(m['d-prime'] ?? 0, 9);
        expect(mirrored.criterion ?? 0).toBeCloseTo(-(m.criterion ?? 0), 9);
        expect(Math.abs(m.mcc ?? 0)).toBeLessThanOrEqual(1 + 1e-12);
      }),
    );
  });
});

describe('normalQuantile', () => {
  it('agrees with Python’s statistics.NormalDist().inv_cdf in all three ranges', () => {
    const known = [
      [0.5, 0],
      [0.886667, 1.2089917888283364],
      [0.025, -1.9599639845400538],
      [0.0749, -1.4402382675279632],
      [1e-10, -6.361340902404056],
      [1e-15, -7.941345326170998],
    ];
    for (const [p, z] of known) expect(normalQuantile(p)).toBeCloseTo(z, 13);
    expect([normalQuantile(0), normalQuantile(1)]).toEqual([Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY]);
    expect(normalQuantile(1.5)).toBeNaN();
  });
});

describe('auroc', () => {
  it('gives the golden number of the specification (2.7)', () => {
    const confidence = [0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5];
    expect(auroc(confidence, [1, 1, 1, 0, 1, 1, 0, 1, 0, 0])).toBeCloseTo(0.833333, 6);
  });

  it('counts ties one half, and is null without both kinds', () => {
    expect(auroc([1, 1, 1, 1], [1, 0, 1, 0])).toBe(0.5);
    expect(auroc([3, 2, 2, 1], [1, 1, 0, 0])).toBe(0.875);
    expect(auroc([1, 2], [1, 1])).toBeNull();
    expect(auroc([], [])).toBeNull();
  });

  it('is the share of pairs in the right order, and weights are repetitions', () => {
    const items = fc.array(fc.tuple(fc.integer({ min: -3, max: 3 }), fc.integer({ min: 0, max: 1 })), {
      maxLength: 20,
    });
    fc.assert(
      fc.property(
        items,
        fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 20, maxLength: 20 }),
        (rows, weights) => {
          const scores = rows.map(([score]) => score);
          const labels = rows.map(([, label]) => label);
          const repeated = rows.flatMap((row, i) => Array.from({ length: weights[i] }, () => row));
          const expected = byPairs(repeated);
          const value = weightedAuroc(rankScores(scores), labels, weights);
          if (expected === null) expect(value).toBeNull();
          else expect(value).toBeCloseTo(expected, 12);
          expect(auroc(scores, labels)).toEqual(
            byPairs(rows) === null ? null : expect.closeTo(byPairs(rows) as number, 12),
          );
        },
      ),
    );
  });
});

function byPairs(rows: readonly (readonly [number, number])[]): number | null {
  const positives = rows.filter(([, label]) => label === 1);
  const negatives = rows.filter(([, label]) => label === 0);
  if (positives.length === 0 || negatives.length === 0) return null;
  let wins = 0;
  for (const [p] of positives) for (const [n] of negatives) wins += p > n ? 1 : p === n ? 0.5 : 0;
  return wins / (positives.length * negatives.length);
}
