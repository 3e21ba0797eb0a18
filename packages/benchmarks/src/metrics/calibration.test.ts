import { philox } from '@fovea/tensor/random';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { auroc } from './auroc.ts';
import {
  aurc,
  brier,
  ece,
  eceEqualMass,
  equalMassBins,
  equalWidthBins,
  fitTemperature,
  nll,
  riskCoverage,
  TEMPERATURES,
} from './calibration.ts';

/** The worked example of specs/evaluation.md 2.7. */
const CONFIDENCE = [0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5];
const CORRECT = [1, 1, 1, 0, 1, 1, 0, 1, 0, 0];

const outcomes = fc.array(fc.tuple(fc.constantFrom(0, 0.1, 0.2, 1 / 3, 0.6, 0.7, 0.95, 1), fc.constantFrom(0, 1)), {
  minLength: 1,
  maxLength: 60,
});
const split = (rows: [number, number][]) => [rows.map(([c]) => c), rows.map(([, y]) => y)] as const;

describe('calibration', () => {
  it('gives the golden values', () => {
    expect(ece(CONFIDENCE, CORRECT, 10)).toBeCloseTo(0.185, 12);
    expect(brier(CONFIDENCE, CORRECT)).toBeCloseTo(0.19625, 12);
    expect(nll(CONFIDENCE, CORRECT)).toBeCloseTo(0.562527, 6);
    expect(auroc(CONFIDENCE, CORRECT)).toBeCloseTo(0.833333, 6);
  });

  it('puts an edge into the bin below it, and 0 into the first', () => {
    for (const bins of [10, 15]) {
      for (let k = 1; k <= bins; k++) {
        expect(equalWidthBins([k / bins], [1], bins).findIndex((bin) => bin.n === 1)).toBe(k - 1);
        expect(equalWidthBins([k / bins + 1e-12], [1], bins).findIndex((bin) => bin.n === 1)).toBe(
          Math.min(bins - 1, k),
        );
      }
      expect(equalWidthBins([0], [1], bins)[0].n).toBe(1);
    }
  });

  it('fills bins of equal mass evenly, and keeps equal confidences together', () => {
    const values = Array.from({ length: 31 }, (_, i) => i / 31);
    const counts = equalMassBins(
      values,
      values.map(() => 1),
    ).map((bin) => bin.n);
    expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
    expect(equalMassBins([0.5, 0.5, 0.5, 0.9], [1, 0, 1, 1], 2).map((bin) => bin.n)).toEqual([3, 1]);
    // One bin: the gap between mean confidence and accuracy.
    expect(eceEqualMass([0.5, 0.5, 0.5, 0.9], [1, 0, 1, 1], 1)).toBeCloseTo(0.15, 12);
  });

  it('does not depend on the order of items, loses none, and stays in [0, 1]', () => {
    fc.assert(
      fc.property(outcomes, (rows) => {
        const [confidence, correct] = split(rows);
        const [backwards, outcomesBackwards] = split([...rows].reverse());
        for (const bins of [equalWidthBins, equalMassBins]) {
          expect(bins(confidence, correct).reduce((sum, bin) => sum + bin.n, 0)).toBe(rows.length);
        }
        for (const metric of [ece, eceEqualMass, brier, aurc]) {
          const value = metric(confidence, correct) as number;
          expect(value).toBeGreaterThanOrEqual(0);
          expect(value).toBeLessThanOrEqual(1 + 1e-12);
          expect(metric(backwards, outcomesBackwards)).toBeCloseTo(value, 12);
        }
      }),
    );
  });

  it('says nothing of nothing', () => {
    for (const metric of [ece, eceEqualMass, brier, nll, aurc]) expect(metric([], [])).toBeNull();
    expect(fitTemperature([])).toBeNull();
    expect(riskCoverage([], [])).toEqual([]);
  });
});

describe('risk and coverage', () => {
  it('ends at the error rate, with falling thresholds', () => {
    fc.assert(
      fc.property(outcomes, (rows) => {
        const [confidence, correct] = split(rows);
        const points = riskCoverage(confidence, correct);
        const last = points[points.length - 1];
        expect(last.coverage).toBe(1);
        expect(last.risk).toBeCloseTo(correct.filter((y) => y === 0).length / rows.length, 12);
        points.slice(1).forEach((point, i) => {
          expect(point.threshold).toBeLessThan(points[i].threshold);
          expect(point.coverage).toBeGreaterThan(points[i].coverage);
        });
      }),
    );
  });

  it('is the error rate when confidence says nothing, less when it helps', () => {
    expect(aurc([0.5, 0.5, 0.5, 0.5], [1, 0, 1, 1])).toBeCloseTo(0.25, 12);
    // Risks of the 1, 2, 3, 4 most confident: 0, 0, 0, 1/4.
    expect(aurc([0.9, 0.8, 0.7, 0.6], [1, 1, 1, 0])).toBeCloseTo(1 / 16, 12);
    // 1, 1/2, 1/3, 1/4.
    expect(aurc([0.9, 0.8, 0.7, 0.6], [0, 1, 1, 1])).toBeCloseTo((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4, 12);
    const rng = philox(4, 'aurc');
    const many = Array.from({ length: 20_000 }, () => rng.uniform());
    const right = many.map(() => (rng.uniform() < 0.7 ? 1 : 0));
    expect(aurc(many, right)).toBeCloseTo(0.3, 1);
  });
});

describe('temperature', () => {
  it('finds the one that outcomes were drawn with', () => {
    const rng = philox(5, 'temperature');
    const items = Array.from({ length: 20_000 }, () => {
      const scores = [0, 1, 2].map(() => 6 * rng.uniform());
      const weights = scores.map((s) => Math.exp(s / 2.5));
      let left = rng.uniform() * weights.reduce((a, b) => a + b, 0);
      const gold = weights.findIndex((w) => {
        left -= w;
        return left < 0;
      });
      return { scores, gold: Math.max(0, gold) };
    });
    expect(Math.abs((fitTemperature(items) as number) - 2.5)).toBeLessThan(0.15);
  });

  it('is where the loss is least, in closed form for one margin', () => {
    // Three of four right at margin 2: σ(2 ⁄ T) = 3⁄4, so T = 2 ⁄ ln 3.
    const items = [2, 2, 2, -2].map((margin) => ({ scores: [margin, 0], gold: 0 }));
    expect(fitTemperature(items)).toBeCloseTo(2 / Math.log(3), 9);
  });

  it('stays in its bounds where no temperature is best', () => {
    expect(fitTemperature([{ scores: [3, 0], gold: 0 }])).toBe(TEMPERATURES[0]);
    expect(fitTemperature([{ scores: [3, 0], gold: 1 }])).toBe(TEMPERATURES[1]);
  });
});
