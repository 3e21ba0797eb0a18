// What a comparison could have found: the smallest difference that n pairs resolve, and how far clusters shrink n. Pure
// functions; a report prints them beside every result that says "inconclusive".

import { clusteredStandardError } from '../statistics.ts';
import { normalQuantile } from './normal.ts';

export interface PowerOptions {
  /** Two-sided error of the test. */
  alpha?: number;
  /** Share of repetitions that are to find the difference. */
  power?: number;
  /** Items divided by the independent items that they are worth; at least 1. */
  designEffect?: number;
}

/**
 * Pairs that find a difference of shares `delta` where a share `discordance` of the pairs disagrees: the sample size of
 * McNemar's test (Miettinen 1968, formula of Connor 1987). 1 pp at 10 % discordance and 80 % power needs 7,847.
 */
export function pairsNeeded(delta: number, discordance: number, options: PowerOptions = {}): number {
  const { alpha = 0.05, power = 0.8, designEffect = 1 } = options;
  const spread = Math.max(discordance, Math.abs(delta));
  const root =
    -normalQuantile(alpha / 2) * Math.sqrt(spread) + normalQuantile(power) * Math.sqrt(spread - delta * delta);
  return Math.ceil(designEffect * (root / delta) ** 2);
}

/**
 * The smallest difference of shares that `n` pairs find, given the discordance that was seen. A difference larger than
 * that needs as much discordance as it is large, and is given it.
 * @returns null where it cannot be told: no pair disagreed, or even a difference of 1 would be missed
 */
export function minimumDetectableEffect(n: number, discordance: number, options: PowerOptions = {}): number | null {
  const { alpha = 0.05, power = 0.8, designEffect = 1 } = options;
  if (!(discordance > 0) || n < 1) return null;
  const [za, zb] = [-normalQuantile(alpha / 2), normalQuantile(power)];
  const pairs = n / Math.max(1, designEffect);
  const found = (delta: number) => {
    const spread = Math.max(discordance, delta);
    return za * Math.sqrt(spread) + zb * Math.sqrt(Math.max(0, spread - delta * delta)) <= delta * Math.sqrt(pairs);
  };
  if (!found(1)) return null;
  let [low, high] = [0, 1];
  for (let step = 0; step < 60; step++) {
    const middle = (low + high) / 2;
    if (found(middle)) high = middle;
    else low = middle;
  }
  return high;
}

/** The same for any statistic from the width of its interval at 1 − alpha; null for an interval without width. */
export function detectableFromInterval(
  [low, high]: readonly [number, number],
  { alpha = 0.05, power = 0.8 }: PowerOptions = {},
): number | null {
  const z = -normalQuantile(alpha / 2);
  // Sums of fractions leave a width of their last bits where there is none.
  return high - low > 1e-12 ? ((z + normalQuantile(power)) * (high - low)) / (2 * z) : null;
}

/** Variance of the mean under clustering over that of independent values (Kish 1965), at least 1; 1 for constant values. */
export function designEffect(values: ArrayLike<number>, clusters: ArrayLike<number>): number {
  const single = clusteredStandardError(
    values,
    Float64Array.from({ length: values.length }, (_, i) => i),
  );
  if (!(single > 0)) return 1;
  return Math.max(1, (clusteredStandardError(values, clusters) / single) ** 2);
}
