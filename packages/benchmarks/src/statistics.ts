// Intervals and tests for scores that come in clusters: several pictures share a concept, so concepts are resampled, not
// pictures. Not a statistics library; only what scorecards and comparisons need. No clock, no call-order randomness.

import { philox } from '@fovea/tensor/random';

/** Lower and upper end of a 95 % interval. */
export type Interval = [number, number];

/** Two-sided 95 % point of the standard normal. */
export const Z95 = 1.959963984540054;

/** B resamples of C clusters with replacement: how often each cluster was drawn, row by row. */
export interface Resamples {
  clusters: number;
  count: number;
  /** [B, C] multiplicities; each row sums to C. */
  weights: Uint16Array;
}

const cache = new Map<string, Resamples>();
const CACHED = 6;

/**
 * The resamples that belong to (clusters, count, seed). Every split with as many clusters shares them, which costs
 * nothing in validity and saves drawing them anew.
 */
export function resamplesOf(clusters: number, count: number, seed: number): Resamples {
  const key = `${clusters}/${count}/${seed}`;
  const known = cache.get(key);
  if (known) return known;
  const weights = new Uint16Array(clusters * count);
  eachResample(clusters, { count, seed }, (row, at) => weights.set(row, at * clusters));
  const made = { clusters, count, weights };
  if (cache.size >= CACHED) cache.delete(cache.keys().next().value as string);
  cache.set(key, made);
  return made;
}

/** Draws the same resamples one after another without keeping them; `weights` [C] is reused. */
function eachResample(
  clusters: number,
  { count, seed }: BootstrapOptions,
  visit: (weights: Uint16Array, row: number) => void,
): void {
  const rng = philox(seed, 'cluster-bootstrap', 0, clusters);
  const weights = new Uint16Array(clusters);
  for (let row = 0; row < count; row++) {
    weights.fill(0);
    for (let draw = 0; draw < clusters; draw++) weights[rng.int(clusters)]++;
    visit(weights, row);
  }
}

/** Multiplicities that are kept in memory at most: 64 MiB. Larger bootstraps draw anew. */
const KEPT = 2 ** 25;

/**
 * Totals of every column in every resample, for statistics that are no plain ratio (F1, d′, a mean over splits): one pass
 * serves them all. The resamples are those of `proportion` and `pairedDifference` with as many clusters.
 * @param sums per cluster and column, [C, K]
 * @param visit gets the totals [K] of resample `row`; the array is reused
 * @param kept multiplicities beyond which resamples are drawn anew instead of kept
 */
export function bootstrapTotals(
  sums: Float64Array,
  clusters: number,
  options: BootstrapOptions,
  visit: (totals: Float64Array, row: number) => void,
  kept = KEPT,
): void {
  const columns = sums.length / clusters;
  const totals = new Float64Array(columns);
  const add = (weights: Uint16Array, row: number) => {
    totals.fill(0);
    for (let c = 0, at = 0; c < clusters; c++, at += columns) {
      const weight = weights[c];
      if (weight === 0) continue;
      for (let k = 0; k < columns; k++) totals[k] += weight * sums[at + k];
    }
    visit(totals, row);
  };
  if (clusters * options.count > kept) {
    eachResample(clusters, options, add);
    return;
  }
  const { weights } = resamplesOf(clusters, options.count, options.seed);
  for (let row = 0; row < options.count; row++) add(weights.subarray(row * clusters, (row + 1) * clusters), row);
}

/** Renumbers arbitrary cluster numbers to 0..C−1 in order of first appearance. */
export function compactClusters(clusters: ArrayLike<number>): { index: Int32Array; count: number } {
  const seen = new Map<number, number>();
  const index = new Int32Array(clusters.length);
  for (let i = 0; i < clusters.length; i++) {
    let at = seen.get(clusters[i]);
    if (at === undefined) {
      at = seen.size;
      seen.set(clusters[i], at);
    }
    index[i] = at;
  }
  return { index, count: seen.size };
}

/** Per-cluster sums of `values` [n]; `index` [n] holds cluster numbers 0..count−1. */
export function clusterSums(values: ArrayLike<number>, index: Int32Array, count: number): Float64Array {
  const sums = new Float64Array(count);
  for (let i = 0; i < index.length; i++) sums[index[i]] += values[i];
  return sums;
}

/** The statistic Σ numerator ÷ Σ denominator in every resample, unsorted [B]; NaN where the denominator is 0. */
export function ratioDraws(numerator: Float64Array, denominator: Float64Array, resamples: Resamples): Float64Array {
  const { clusters, count, weights } = resamples;
  const draws = new Float64Array(count);
  for (let row = 0; row < count; row++) {
    let top = 0;
    let bottom = 0;
    for (let c = 0, at = row * clusters; c < clusters; c++, at++) {
      const weight = weights[at];
      top += weight * numerator[c];
      bottom += weight * denominator[c];
    }
    draws[row] = bottom === 0 ? Number.NaN : top / bottom;
  }
  return draws;
}

/** Central 95 % of the draws: linear interpolation between order statistics (type 7 of Hyndman & Fan 1996). NaNs are left out. */
export function percentileInterval(draws: Float64Array, level = 0.95): Interval {
  const sorted = draws.filter((x) => !Number.isNaN(x)).sort();
  if (sorted.length === 0) return [Number.NaN, Number.NaN];
  // As literals at 95 %: 1 − (1 − 0.95) ⁄ 2 is not 0.975 in its last bit, and scorecards are compared by bytes.
  const low = level === 0.95 ? 0.025 : (1 - level) / 2;
  const high = level === 0.95 ? 0.975 : (1 + level) / 2;
  return [quantile(sorted, low), quantile(sorted, high)];
}

function quantile(sorted: Float64Array, q: number): number {
  const at = q * (sorted.length - 1);
  const low = Math.floor(at);
  const high = Math.min(low + 1, sorted.length - 1);
  return sorted[low] + (at - low) * (sorted[high] - sorted[low]);
}

/** Two-sided bootstrap p of "the statistic is 0", with the +1 correction that keeps it above 0 (Davison & Hinkley 1997, 4.2). */
export function bootstrapP(draws: Float64Array): number {
  let low = 0;
  let high = 0;
  let n = 0;
  for (const x of draws) {
    if (Number.isNaN(x)) continue;
    n++;
    if (x <= 0) low++;
    if (x >= 0) high++;
  }
  return Math.min(1, (2 * (1 + Math.min(low, high))) / (n + 1));
}

export interface Estimate {
  value: number;
  ci: Interval;
  n: number;
  clusters: number;
  method: 'cluster-bootstrap' | 'wilson';
}

export interface BootstrapOptions {
  /** Number of resamples. */
  count: number;
  seed: number;
}

/**
 * Mean of 0/1 outcomes with its cluster-bootstrap interval (percentile). Outcomes that are all alike would resample to
 * an interval of no width, so those get Wilson's interval at n = number of clusters, the careful choice.
 */
export function proportion(
  values: ArrayLike<number>,
  clusters: ArrayLike<number>,
  options: BootstrapOptions,
): Estimate {
  const n = values.length;
  const { index, count } = compactClusters(clusters);
  const sums = clusterSums(values, index, count);
  const value = sums.reduce((a, b) => a + b, 0) / n;
  if (value === 0 || value === 1) {
    return { value, ci: wilson(value * count, count), n, clusters: count, method: 'wilson' };
  }
  const ci = percentileInterval(meanDraws(sums, sizes(index, count), options));
  return { value, ci, n, clusters: count, method: 'cluster-bootstrap' };
}

/** `ratioDraws` that never keeps more resamples than memory is for. */
function meanDraws(sums: Float64Array, members: Float64Array, options: BootstrapOptions): Float64Array {
  const clusters = sums.length;
  if (clusters * options.count <= KEPT)
    return ratioDraws(sums, members, resamplesOf(clusters, options.count, options.seed));
  const columns = Float64Array.from({ length: 2 * clusters }, (_, i) => (i % 2 === 0 ? sums : members)[i >> 1]);
  const draws = new Float64Array(options.count);
  bootstrapTotals(columns, clusters, options, ([top, bottom], row) => {
    draws[row] = top / bottom;
  });
  return draws;
}

/** Members per cluster, as doubles for the ratio. */
export function sizes(index: Int32Array, count: number): Float64Array {
  const out = new Float64Array(count);
  for (const c of index) out[c]++;
  return out;
}

/** Mean of a − b over the same items with its paired cluster-bootstrap interval. */
export function pairedDifference(
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  clusters: ArrayLike<number>,
  options: BootstrapOptions,
): { delta: number; ci: Interval } {
  const n = a.length;
  const { index, count } = compactClusters(clusters);
  const sums = clusterSums(
    Float64Array.from({ length: n }, (_, i) => a[i] - b[i]),
    index,
    count,
  );
  const draws = meanDraws(sums, sizes(index, count), options);
  return { delta: sums.reduce((x, y) => x + y, 0) / n, ci: percentileInterval(draws) };
}

/**
 * R² = 1 − Σ(y − ŷ)² ⁄ Σ(y − ȳ)² on the test half, meaned over columns, and its cluster-bootstrap draws. ȳ is the TRAIN
 * half's mean (the out-of-sample R² of Campbell & Thompson 2008), so that knowing nothing is 0 and not a little below.
 * The interval holds the choice of test concepts only. Null when a column never differs from that mean.
 */
export function rSquared(
  probe: { columns: number; error: number[]; baseline: number[] },
  clusters: ArrayLike<number>,
  bootstrap: BootstrapOptions,
): { value: number; draws: Float64Array } | null {
  const { index, count } = compactClusters(clusters);
  const resamples = resamplesOf(count, bootstrap.count, bootstrap.seed);
  const draws = new Float64Array(bootstrap.count);
  let value = 0;
  for (let c = 0; c < probe.columns; c++) {
    const pick = (values: number[]) => values.filter((_, i) => i % probe.columns === c);
    const error = clusterSums(pick(probe.error), index, count);
    const baseline = clusterSums(pick(probe.baseline), index, count);
    const total = baseline.reduce((a, b) => a + b, 0);
    if (!(total > 0)) return null;
    value += (1 - error.reduce((a, b) => a + b, 0) / total) / probe.columns;
    const ratio = ratioDraws(error, baseline, resamples);
    for (let b = 0; b < draws.length; b++) draws[b] += (1 - ratio[b]) / probe.columns;
  }
  return { value, draws };
}

/** Wilson's score interval at 95 % for k successes in n trials (Wilson 1927). */
export function wilson(k: number, n: number): Interval {
  if (n === 0) return [0, 1];
  const z2 = Z95 * Z95;
  const p = k / n;
  const middle = (p + z2 / (2 * n)) / (1 + z2 / n);
  const half = (Z95 / (1 + z2 / n)) * Math.sqrt((p * (1 - p)) / n + z2 / (4 * n * n));
  return [k === 0 ? 0 : middle - half, k === n ? 1 : middle + half];
}

/** Student's t interval of a mean over a few independent values, such as seeds; null where fewer than two make none. */
export function meanInterval(values: readonly number[]): { mean: number; ci: Interval | null } {
  const n = values.length;
  const mean = values.reduce((a, b) => a + b, 0) / n;
  if (n < 2) return { mean, ci: null };
  const variance = values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (n - 1);
  const half = student975(n - 1) * Math.sqrt(variance / n);
  return { mean, ci: [mean - half, mean + half] };
}

/** Two-sided 95 % points of Student's t for 1 to 10 degrees of freedom. */
const STUDENT = [12.7062, 4.30265, 3.18245, 2.77645, 2.57058, 2.44691, 2.36462, 2.306, 2.26216, 2.22814];

/** The same for any number; beyond the table by the Cornish–Fisher expansion, right to four digits (Abramowitz & Stegun 26.7.5). */
function student975(degrees: number): number {
  if (degrees <= STUDENT.length) return STUDENT[degrees - 1];
  const z = Z95;
  const g1 = (z ** 3 + z) / 4;
  const g2 = (5 * z ** 5 + 16 * z ** 3 + 3 * z) / 96;
  const g3 = (3 * z ** 7 + 19 * z ** 5 + 17 * z ** 3 - 15 * z) / 384;
  return z + g1 / degrees + g2 / degrees ** 2 + g3 / degrees ** 3;
}

/** Exact two-sided McNemar test: binomial(b + c, ½) on the discordant pairs; 1 when there are none. */
export function mcnemarExact(b: number, c: number): number {
  const n = b + c;
  if (n === 0) return 1;
  // In logarithms: 2⁻ⁿ itself underflows beyond a thousand discordant pairs.
  let logTerm = -n * Math.LN2;
  let sum = Math.exp(logTerm);
  for (let i = 1; i <= Math.min(b, c); i++) {
    logTerm += Math.log((n - i + 1) / i);
    sum += Math.exp(logTerm);
  }
  return Math.min(1, 2 * sum);
}

/** Standard error of a mean under clustering (Miller 2024, arXiv 2411.00640): s²/n plus the within-cluster cross products. */
export function clusteredStandardError(values: ArrayLike<number>, clusters: ArrayLike<number>): number {
  const n = values.length;
  const { index, count } = compactClusters(clusters);
  let mean = 0;
  for (let i = 0; i < n; i++) mean += values[i] / n;
  const sums = new Float64Array(count);
  let squares = 0;
  for (let i = 0; i < n; i++) {
    const d = values[i] - mean;
    sums[index[i]] += d;
    squares += d * d;
  }
  const cross = sums.reduce((total, s) => total + s * s, 0) - squares;
  return Math.sqrt(squares / (n - 1) / n + cross / (n * n));
}

/** Holm's step-down adjustment of a family of p values, in the order given (Holm 1979). */
export function holm(p: readonly number[]): number[] {
  const order = p.map((_, i) => i).sort((i, j) => p[i] - p[j]);
  const adjusted = new Array<number>(p.length);
  let running = 0;
  order.forEach((i, rank) => {
    running = Math.max(running, Math.min(1, (p.length - rank) * p[i]));
    adjusted[i] = running;
  });
  return adjusted;
}
