import { philox } from '@fovea/tensor/random';
import { describe, expect, it } from 'vitest';
import { mcnemarExact } from '../statistics.ts';
import { signFlipP } from './permutation.ts';
import { designEffect, detectableFromInterval, minimumDetectableEffect, pairsNeeded } from './power.ts';

describe('power', () => {
  it('gives the figures of the specification', () => {
    expect(pairsNeeded(0.01, 0.1)).toBe(7847);
    expect(minimumDetectableEffect(7847, 0.1)).toBeCloseTo(0.01, 5);
    // A smoke suite of 200 resolves about 6 pp.
    expect(minimumDetectableEffect(200, 0.1)).toBeCloseTo(0.062, 3);
  });

  it('cannot be told where no pair disagreed, or pairs are too few for anything', () => {
    expect(minimumDetectableEffect(5000, 0)).toBeNull();
    expect(minimumDetectableEffect(0, 0.1)).toBeNull();
    expect(minimumDetectableEffect(3, 0.5)).toBeNull();
  });

  it('gives a difference at least the discordance that it needs', () => {
    const effect = minimumDetectableEffect(20, 0.05) as number;
    expect(effect).toBeGreaterThan(0.3);
    expect(effect).toBeLessThan(0.4);
  });

  it('grows with clusters as if there were fewer pairs', () => {
    expect(minimumDetectableEffect(300, 0.1, { designEffect: 1.5 })).toBeCloseTo(
      minimumDetectableEffect(200, 0.1) as number,
      9,
    );
  });

  it('is what such a test finds four times of five', () => {
    const [n, discordance] = [400, 0.2];
    const effect = minimumDetectableEffect(n, discordance) as number;
    let found = 0;
    for (let trial = 0; trial < 600; trial++) {
      const rng = philox(11, 'power', trial);
      let [b, c] = [0, 0];
      for (let i = 0; i < n; i++) {
        const u = rng.uniform();
        if (u < (discordance + effect) / 2) b++;
        else if (u < discordance) c++;
      }
      if (mcnemarExact(b, c) <= 0.05) found++;
    }
    // The exact test is a little careful; three standard errors are 5 points.
    expect(found / 600).toBeGreaterThan(0.7);
    expect(found / 600).toBeLessThan(0.86);
  });

  it('follows from an interval’s width, null without one', () => {
    expect(detectableFromInterval([-1.96, 1.96])).toBeCloseTo(2.8016, 3);
    expect(detectableFromInterval([0, 0])).toBeNull();
  });

  it('six questions a picture at correlation 0.1 are worth 1 + 5ρ = 1.5 times fewer', () => {
    const rng = philox(12, 'design');
    const values: number[] = [];
    const clusters: number[] = [];
    for (let c = 0; c < 40_000; c++) {
      // A picture takes a shared answer with √0.1 for each question: correlation 0.1 at any rate.
      const shared = rng.uniform() < 0.85 ? 1 : 0;
      for (let k = 0; k < 6; k++) {
        values.push(rng.uniform() < Math.sqrt(0.1) ? shared : rng.uniform() < 0.85 ? 1 : 0);
        clusters.push(c);
      }
    }
    const effect = designEffect(values, clusters);
    expect(effect).toBeCloseTo(1.5, 1);
    expect(Math.sqrt(effect)).toBeCloseTo(1.22, 1);
    expect(designEffect([1, 1, 1], [0, 0, 1])).toBe(1);
  });
});

describe('sign flips', () => {
  const singly = (n: number) => Array.from({ length: n }, (_, i) => i);

  it('agrees with the exact sign test where every cluster is one item', () => {
    for (const [b, c] of [
      [9, 0],
      [12, 3],
      [20, 11],
      [15, 6],
    ]) {
      const differences = [...Array(b).fill(1), ...Array(c).fill(-1), ...Array(50).fill(0)];
      const p = signFlipP(differences, singly(differences.length), { seed: 1 });
      // Four standard errors of a share of 10,000 flips.
      const exact = mcnemarExact(b, c);
      expect(Math.abs(p - exact)).toBeLessThan(4 * Math.sqrt(exact / 10_000) + 1 / 10_001);
    }
  });

  it('is 1 without differences, never 0, and the same for the same seed', () => {
    expect(signFlipP([0, 0, 0], [0, 1, 2], { seed: 1 })).toBe(1);
    const differences = Array(60).fill(1);
    expect(signFlipP(differences, singly(60), { seed: 1, count: 999 })).toBe(1 / 1000);
    const mixed = Array.from({ length: 40 }, (_, i) => ((i * 7) % 5) - 1.5);
    expect(signFlipP(mixed, singly(40), { seed: 3 })).toBe(signFlipP(mixed, singly(40), { seed: 3 }));
  });

  it('flips pictures, not questions', () => {
    // Ten pictures, each six times the same difference: ten coins, not sixty.
    const differences = Array.from({ length: 60 }, (_, i) => (Math.floor(i / 6) < 8 ? 1 : -1));
    const clusters = differences.map((_, i) => Math.floor(i / 6));
    expect(Math.abs(signFlipP(differences, clusters, { seed: 2 }) - mcnemarExact(8, 2))).toBeLessThan(0.015);
    expect(signFlipP(differences, singly(60), { seed: 2 })).toBeLessThan(0.001);
  });

  it('keeps its level when clusters vary', () => {
    let rejected = 0;
    for (let trial = 0; trial < 400; trial++) {
      const rng = philox(13, 'level', trial);
      const [differences, clusters]: [number[], number[]] = [[], []];
      for (let c = 0; c < 40; c++) {
        const lean = rng.uniform() < 0.5 ? -1 : 1;
        for (let k = 0; k < 5; k++) {
          differences.push(rng.uniform() < 0.4 ? lean : 0);
          clusters.push(c);
        }
      }
      if (signFlipP(differences, clusters, { seed: trial, count: 399 }) <= 0.05) rejected++;
    }
    expect(rejected / 400).toBeLessThan(0.05 + 3 * Math.sqrt((0.05 * 0.95) / 400));
    expect(rejected).toBeGreaterThan(0);
  });
});
