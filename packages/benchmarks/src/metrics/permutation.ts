// A test of paired differences that assumes nothing but that, if two subjects were alike, the sign of each picture's
// summed difference could as well have been the other. Signs come from Philox, so the same seed gives the same p.

import { philox } from '@fovea/tensor/random';
import { clusterSums, compactClusters } from '../statistics.ts';

export interface FlipOptions {
  /** Flips B; p is never below 1 ⁄ (1 + B). */
  count?: number;
  seed: number;
}

/**
 * Two-sided p of "the mean difference is 0" by flipping the signs of whole clusters: (1 + #{|flipped| ≥ |seen|}) ⁄ (1 + B).
 * @param differences a − b per item [n]; may be weighted
 * @param clusters cluster of each item [n]
 */
export function signFlipP(
  differences: ArrayLike<number>,
  clusters: ArrayLike<number>,
  { count = 10_000, seed }: FlipOptions,
): number {
  const { index, count: size } = compactClusters(clusters);
  const sums = clusterSums(differences, index, size).filter((sum) => sum !== 0);
  const seen = Math.abs(sums.reduce((a, b) => a + b, 0));
  // Sums of fractions taken in another order differ in their last bits; an equal flip must still count.
  const bar = seen - 1e-9 * sums.reduce((a, b) => a + Math.abs(b), 0);
  const rng = philox(seed, 'sign-flip', 0, sums.length);
  let reached = 0;
  for (let flip = 0; flip < count; flip++) {
    let total = 0;
    let bits = 0;
    for (let c = 0; c < sums.length; c++) {
      if ((c & 31) === 0) bits = rng.uint32();
      total += bits & 1 ? sums[c] : -sums[c];
      bits >>>= 1;
    }
    if (Math.abs(total) >= bar) reached++;
  }
  return (1 + reached) / (1 + count);
}
