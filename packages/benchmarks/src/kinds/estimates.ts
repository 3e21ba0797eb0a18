// Numbers over judged items as results: ratios of sums, resampled by cluster. Kinds say what is summed; this file knows no
// benchmark.

import type { Judged, MeasureOptions } from '../judging/kind.ts';
import type { Result } from '../judging/result.ts';
import { clusterSums, percentileInterval, ratioDraws, resamplesOf, wilson } from '../statistics.ts';
import type { Suite } from '../suite/suite.ts';

/** What one item adds to a ratio. */
export interface Part {
  top: number;
  bottom: number;
}

export interface RatioOptions {
  split: string;
  metric: string;
  chance?: number | null;
  /** Items behind the value. @default those whose bottom is not 0 */
  n?: number;
  /** Right or wrong, item by item: Wilson's interval where every item is its own cluster. @default false */
  isProportion?: boolean;
  /** The most that the ratio can be, where one that is 0 or this gets Wilson's interval. @default 1; null for none */
  most?: number | null;
}

/** Clusters times resamples that are held at once, 200 MB; with more clusters there are fewer resamples, but so many. */
const MOST_DRAWN = 100_000_000;
const FEWEST = 1000;

/** Measures over the items of one suite or one part of it. */
export class Estimates {
  readonly judged: readonly Judged[];
  readonly #suite: string;
  readonly #options: MeasureOptions;
  /** Number of every item's cluster, from 0. */
  readonly clusterIndex: Int32Array;
  readonly #clusters: number;

  constructor(suite: Suite, judged: readonly Judged[], options: MeasureOptions) {
    const numbers = new Map<string, number>();
    this.#suite = suite.manifest.name;
    this.#options = options;
    this.judged = judged;
    this.clusterIndex = Int32Array.from(judged, ({ item }) => {
      const at = numbers.get(item.cluster) ?? numbers.size;
      numbers.set(item.cluster, at);
      return at;
    });
    this.#clusters = numbers.size;
  }

  /** Σ top ⁄ Σ bottom, null where the bottom is 0; the interval is a percentile bootstrap over clusters. */
  ratio(part: (one: Judged, i: number) => Part, options: RatioOptions): Result {
    return this.meanOfRatios([part], options);
  }

  /** The mean of several such ratios, resampled together; null where one of them is. */
  meanOfRatios(parts: readonly ((one: Judged, i: number) => Part)[], options: RatioOptions): Result {
    const { split, metric, chance = null, most = 1, isProportion = false } = options;
    const sums = parts.map((part) => {
      const all = this.judged.map(part);
      const n = all.filter((one) => one.bottom !== 0).length;
      return { top: this.#sums(all, 'top'), bottom: this.#sums(all, 'bottom'), n };
    });
    const value = sums.reduce((sum, { top, bottom }) => sum + total(top) / total(bottom), 0) / parts.length;
    const n = Math.max(...sums.map((one) => one.n));
    const isDefined = Number.isFinite(value);
    const isEnd = most !== null && (value === 0 || Math.abs(value - most) < 1e-12);
    const isWilson = isEnd || (isProportion && this.#clusters === n);
    return {
      suite: this.#suite,
      split,
      metric,
      value: isDefined ? value : null,
      n: options.n ?? n,
      ...this.counts(),
      ci: !isDefined ? null : isWilson ? this.#wilson(value, most ?? 1) : this.#percentile(sums),
      chance,
    };
  }

  counts(): { unknown: number; errors: number } {
    const count = (label: string) => this.judged.filter(({ scored }) => scored.label === label).length;
    return { unknown: count('unknown'), errors: count('error') };
  }

  /** As many trials as clusters; also for what never varies, which resampling would give no width. */
  #wilson(value: number, most: number): Result['ci'] {
    const [low, high] = wilson(Math.round((value / most) * this.#clusters), this.#clusters);
    return { low: low * most, high: high * most, method: 'wilson', level: 0.95 };
  }

  #percentile(sums: readonly { top: Float64Array; bottom: Float64Array }[]): Result['ci'] {
    const { seed } = this.#options;
    const count = Math.min(this.#options.count, Math.max(FEWEST, Math.floor(MOST_DRAWN / this.#clusters)));
    const resamples = resamplesOf(this.#clusters, count, seed);
    const draws = new Float64Array(count);
    for (const { top, bottom } of sums)
      ratioDraws(top, bottom, resamples).forEach((draw, b) => {
        draws[b] += draw / sums.length;
      });
    const [low, high] = percentileInterval(draws);
    if (!Number.isFinite(low)) return null;
    return { low, high, method: 'cluster-bootstrap', level: 0.95, resamples: count, seed };
  }

  #sums(parts: readonly Part[], side: keyof Part): Float64Array {
    return clusterSums(
      Float64Array.from(parts, (part) => part[side]),
      this.clusterIndex,
      this.#clusters,
    );
  }
}

const total = (sums: Float64Array): number => sums.reduce((a, b) => a + b, 0);

/** The items of every split in order of appearance, and all of them as `all` where there is more than one split. */
export function bySplit(judged: readonly Judged[]): [split: string, judged: readonly Judged[]][] {
  const splits = new Map<string, Judged[]>();
  for (const one of judged) {
    const { split } = one.item;
    const known = splits.get(split);
    if (known) known.push(one);
    else splits.set(split, [one]);
  }
  return splits.size > 1 && !splits.has('all') ? [...splits, ['all', judged]] : [...splits];
}
