// Closed forms of mCE from AlexNet's published errors, and the two ways to get it wrong.

import { describe, expect, it } from 'vitest';
import { ALEXNET_ERROR } from '../corruptions/constants.ts';
import {
  corruptionError,
  meanCorruptionError,
  type Reference,
  relativeMeanCorruptionError,
} from './corruption-error.ts';

const alexnet: Reference = { name: 'alexnet', clean: 0.435, errors: ALEXNET_ERROR };
const names = Object.keys(ALEXNET_ERROR);
const everywhere = (errors: number[]) => Object.fromEntries(names.map((name) => [name, errors]));
const rising = everywhere([0.3, 0.4, 0.5, 0.6, 0.7]);
const own = Object.fromEntries(names.map((name) => [name, new Array<number>(5).fill(alexnet.errors[name])]));

describe('mCE', () => {
  it("starts from AlexNet's errors, whose mean is known", () => {
    const errors = Object.values(ALEXNET_ERROR);
    expect(errors).toHaveLength(15);
    expect(errors.reduce((a, b) => a + b, 0) / 15).toBeCloseTo(0.788993, 6);
  });

  it('is the mean of ratios of sums: neither a ratio of means nor of severities', () => {
    expect(meanCorruptionError(rising, alexnet)).toBeCloseTo(0.646726, 6);
    const ratioOfMeans = 0.5 / (Object.values(ALEXNET_ERROR).reduce((a, b) => a + b, 0) / 15);
    expect(ratioOfMeans).toBeCloseTo(0.633719, 6);
    expect(relativeMeanCorruptionError(rising, 0.25, alexnet)).toBeCloseTo(0.814695, 6);
  });

  it('is 1 for the reference itself', () => {
    expect(meanCorruptionError(own, alexnet)).toBeCloseTo(1, 12);
    expect(relativeMeanCorruptionError(own, 0.435, alexnet)).toBeCloseTo(1, 12);
  });

  it('is unknown where a corruption was not measured or the reference has no clean error', () => {
    const { fog: _, ...rest } = rising;
    expect(meanCorruptionError(rest, alexnet)).toBeNull();
    expect(corruptionError([], 0.5)).toBeNull();
    expect(relativeMeanCorruptionError(rising, 0.25, { ...alexnet, clean: null })).toBeNull();
  });
});
