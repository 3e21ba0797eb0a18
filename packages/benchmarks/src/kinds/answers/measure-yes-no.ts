// What is measured over judged yes/no questions, split by split, with intervals from resampling clusters (pictures) once
// for all splits, because the splits of POPE share their pictures. Says nothing of one answer: that is yes-no.ts.

import type { Judged, MeasureOptions } from '../../judging/kind.ts';
import type { Result } from '../../judging/result.ts';
import { rankScores, weightedAuroc } from '../../metrics/auroc.ts';
import {
  BINARY_METRICS,
  type BinaryCounts,
  type BinaryMetric,
  binaryMetrics,
  count,
  noCounts,
} from '../../metrics/binary.ts';
import { percentileInterval, type Resamples, ratioDraws, resamplesOf, wilson } from '../../statistics.ts';
import { yesNoAsk } from './yes-no.ts';

const CHANCE: Partial<Record<string, number>> = {
  accuracy: 0.5,
  'accuracy-answered': 0.5,
  'balanced-accuracy': 0.5,
  'pair-accuracy': 0.25,
  'accuracy-macro': 0.5,
  auroc: 0.5,
  mcc: 0,
  'd-prime': 0,
};

/** Metrics that are shares: at 0 or 1 resamples are all alike, so those get Wilson's interval over the clusters. */
const SHARES = new Set<string>(
  BINARY_METRICS.filter((metric) => !['mcc', 'd-prime', 'criterion'].includes(metric)).concat(),
).add('pair-accuracy');

/** A value with its value in every resample. */
interface Drawn {
  value: number | null;
  draws: Float64Array;
  n: number;
  /** Clusters with any question behind the value. */
  clusters: number;
}

/** Everything about one split that its metrics need. */
interface SplitRows {
  name: string;
  judged: readonly Judged[];
  /** Cluster of each row among all of the suite's. */
  cluster: Int32Array;
}

/**
 * Per split: every binary metric, `auroc` of yes over no where answers carry margins, `pair-accuracy` where items are
 * paired. Over splits, as `all`: their means `accuracy-macro` and `f1-macro`; never pooled, since splits repeat questions.
 */
export function measureYesNo(suite: string, judged: readonly Judged[], options: MeasureOptions): Result[] {
  const clusters = new Map<string, number>();
  const splits = new Map<string, { judged: Judged[]; cluster: number[] }>();
  for (const one of judged) {
    const { split, cluster } = one.item;
    if (!clusters.has(cluster)) clusters.set(cluster, clusters.size);
    if (!splits.has(split)) splits.set(split, { judged: [], cluster: [] });
    const rows = splits.get(split) as { judged: Judged[]; cluster: number[] };
    rows.judged.push(one);
    rows.cluster.push(clusters.get(cluster) as number);
  }
  if (judged.length === 0) return [];
  const resamples = resamplesOf(clusters.size, options.count, options.seed);
  const results: Result[] = [];
  const macro = { accuracy: [] as Drawn[], f1: [] as Drawn[] };
  for (const [name, { judged, cluster }] of splits) {
    const rows: SplitRows = { name, judged, cluster: Int32Array.from(cluster) };
    const binary = drawBinary(rows, resamples);
    macro.accuracy.push(binary.accuracy);
    macro.f1.push(binary.f1);
    const drawn: Record<string, Drawn | null> = {
      ...binary,
      auroc: drawAuroc(rows, resamples),
      'pair-accuracy': drawPairs(rows, resamples),
    };
    for (const [metric, one] of Object.entries(drawn)) {
      if (one) results.push(resultOf(suite, name, metric, one, judged, options));
    }
  }
  for (const metric of ['accuracy', 'f1'] as const) {
    results.push(resultOf(suite, 'all', `${metric}-macro`, meanOf(macro[metric], clusters.size), judged, options));
  }
  return results;
}

function resultOf(
  suite: string,
  split: string,
  metric: string,
  { value, draws, n, clusters }: Drawn,
  judged: readonly Judged[],
  { count, seed }: MeasureOptions,
): Result {
  const labelled = (label: string) => judged.reduce((sum, { scored }) => sum + Number(scored.label === label), 0);
  const common = { suite, split, metric, value, n, unknown: labelled('unknown'), errors: labelled('error') };
  return { ...common, ci: interval(), chance: CHANCE[metric] ?? null };

  function interval(): Result['ci'] {
    if (value === null) return null;
    if (SHARES.has(metric.replace(/-macro$/, '')) && (value === 0 || value === 1)) {
      const [low, high] = wilson(value * clusters, clusters);
      return { low, high, method: 'wilson', level: 0.95 };
    }
    const [low, high] = percentileInterval(draws);
    if (Number.isNaN(low)) return null;
    return { low, high, method: 'cluster-bootstrap', level: 0.95, resamples: count, seed };
  }
}

const KEYS = Object.keys(noCounts()) as (keyof BinaryCounts)[];

/** Sums the counts of each resample's clusters, then takes every metric of the sums. */
function drawBinary({ judged, cluster }: SplitRows, resamples: Resamples): Record<BinaryMetric, Drawn> {
  const byCluster = new Map<number, BinaryCounts>();
  const all = noCounts();
  judged.forEach(({ item, scored }, i) => {
    if (!byCluster.has(cluster[i])) byCluster.set(cluster[i], noCounts());
    const { gold } = yesNoAsk(item);
    count(byCluster.get(cluster[i]) as BinaryCounts, gold, scored.label);
    count(all, gold, scored.label);
  });
  const value = binaryMetrics(all);
  const n = { ...Object.fromEntries(BINARY_METRICS.map((metric) => [metric, judged.length])) } as Record<
    BinaryMetric,
    number
  >;
  n['accuracy-answered'] -= all.blankYes + all.blankNo;
  const out = Object.fromEntries(
    BINARY_METRICS.map((metric) => [
      metric,
      { value: value[metric], n: n[metric], clusters: byCluster.size, draws: new Float64Array(resamples.count) },
    ]),
  ) as Record<BinaryMetric, Drawn>;
  const parts = [...byCluster].map(([at, counts]) => ({ at, counts }));
  for (let row = 0; row < resamples.count; row++) {
    const sums = noCounts();
    for (const { at, counts } of parts) {
      const weight = resamples.weights[row * resamples.clusters + at];
      if (weight > 0) for (const key of KEYS) sums[key] += weight * counts[key];
    }
    const drawn = binaryMetrics(sums);
    for (const metric of BINARY_METRICS) out[metric].draws[row] = drawn[metric] ?? Number.NaN;
  }
  return out;
}

/** Of the difference yes − no, over the rows that carry one; null where none does. */
function drawAuroc({ judged, cluster }: SplitRows, resamples: Resamples): Drawn | null {
  const rows = judged.flatMap(({ item, scored }, i) => {
    if (scored.margin === null) return [];
    const yes = yesNoAsk(item).gold === 'yes';
    return [{ score: yes ? scored.margin : -scored.margin, yes: Number(yes), cluster: cluster[i] }];
  });
  if (rows.length === 0) return null;
  const ranked = rankScores(rows.map(({ score }) => score));
  const positive = rows.map(({ yes }) => yes);
  const draws = new Float64Array(resamples.count);
  for (let row = 0; row < resamples.count; row++) {
    const offset = row * resamples.clusters;
    draws[row] = weightedAuroc(ranked, positive, (i) => resamples.weights[offset + rows[i].cluster]) ?? Number.NaN;
  }
  const value = weightedAuroc(ranked, positive, () => 1);
  return { value, draws, n: rows.length, clusters: new Set(rows.map((row) => row.cluster)).size };
}

/** Share of pairs with all of their questions right; a pair lies in one cluster. */
function drawPairs({ judged, cluster }: SplitRows, resamples: Resamples): Drawn | null {
  const pairs = new Map<string, { cluster: number; right: boolean }>();
  judged.forEach(({ item, scored }, i) => {
    if (item.pair === undefined) return;
    const right = scored.correct === 1 && (pairs.get(item.pair)?.right ?? true);
    pairs.set(item.pair, { cluster: cluster[i], right });
  });
  if (pairs.size === 0) return null;
  const right = new Float64Array(resamples.clusters);
  const total = new Float64Array(resamples.clusters);
  for (const pair of pairs.values()) {
    right[pair.cluster] += Number(pair.right);
    total[pair.cluster]++;
  }
  const sum = (values: Float64Array) => values.reduce((a, b) => a + b, 0);
  const draws = ratioDraws(right, total, resamples);
  return { value: sum(right) / pairs.size, draws, n: pairs.size, clusters: total.filter((n) => n > 0).length };
}

/** Mean over splits, resample by resample; null where one of them has no value. */
function meanOf(splits: readonly Drawn[], clusters: number): Drawn {
  const draws = splits[0].draws.map(
    (_, row) => splits.reduce((sum, split) => sum + split.draws[row], 0) / splits.length,
  );
  const values = splits.map(({ value }) => value);
  const value = values.includes(null) ? null : (values as number[]).reduce((a, b) => a + b, 0) / splits.length;
  return { value, draws, n: splits.reduce((sum, { n }) => sum + n, 0), clusters };
}
