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
import { ece } from '../../metrics/calibration.ts';
import { percentileInterval, type Resamples, ratioDraws, resamplesOf, wilson } from '../../statistics.ts';
import { COMPAT_RULES, scriptNumbers } from './compat.ts';
import { goldOf } from './yes-no.ts';

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

/** At 0 or 1 all resamples are alike, so every metric that ends there gets Wilson's interval over the clusters; not these. */
const ENDLESS = new Set(['mcc', 'd-prime', 'criterion']);

/** A value with its value in every resample; without any where it gets no interval. */
interface Drawn {
  value: number | null;
  draws: Float64Array;
  n: number;
  /** Clusters with any question behind the value. */
  clusters: number;
}

/** One split; `cluster` numbers each row's among all of the suite's. */
interface SplitRows {
  judged: Judged[];
  cluster: number[];
}

/**
 * Per split: every binary metric, `auroc` of yes over no and `ece` where answers carry scores, `pair-accuracy` where items
 * are paired; where a published script judged, what it prints, as `recall-as-published` and so on. Over splits, as `all`:
 * their means `accuracy-macro` and `f1-macro`; never pooled, since splits repeat questions.
 */
export function measureYesNo(suite: string, judged: readonly Judged[], options: MeasureOptions): Result[] {
  if (judged.length === 0) return [];
  const clusters = new Map<string, number>();
  const splits = new Map<string, SplitRows>();
  for (const one of judged) {
    const { split, cluster } = one.item;
    const number = clusters.get(cluster) ?? clusters.size;
    clusters.set(cluster, number);
    const rows = splits.get(split) ?? { judged: [], cluster: [] };
    splits.set(split, rows);
    rows.judged.push(one);
    rows.cluster.push(number);
  }
  const resamples = resamplesOf(clusters.size, options.count, options.seed);
  const drawn = [...splits].map(([split, rows]) => ({ split, rows, metrics: drawSplit(rows, resamples) }));
  const results = drawn.flatMap(({ split, rows, metrics }) =>
    Object.entries(metrics).flatMap(([metric, one]) =>
      one ? [resultOf({ suite, split, metric }, one, rows.judged, options)] : [],
    ),
  );
  const macros = (['accuracy', 'f1'] as const).map((metric) => {
    const mean = meanOf(
      drawn.map(({ metrics }) => metrics[metric]),
      clusters.size,
    );
    return resultOf({ suite, split: 'all', metric: `${metric}-macro` }, mean, judged, options);
  });
  return [...results, ...macros];
}

const drawSplit = (rows: SplitRows, resamples: Resamples) => ({
  ...drawBinary(rows, resamples),
  auroc: drawAuroc(rows, resamples),
  ece: calibrationOf(rows),
  'pair-accuracy': drawPairs(rows, resamples),
  ...asPublished(rows),
});

function resultOf(
  place: Pick<Result, 'suite' | 'split' | 'metric'>,
  drawn: Drawn,
  judged: readonly Judged[],
  options: MeasureOptions,
): Result {
  const labelled = (label: string) => judged.reduce((sum, { scored }) => sum + Number(scored.label === label), 0);
  return {
    ...place,
    value: drawn.value,
    n: drawn.n,
    unknown: labelled('unknown'),
    errors: labelled('error'),
    ci: intervalOf(place.metric, drawn, options),
    chance: CHANCE[place.metric] ?? null,
  };
}

function intervalOf(metric: string, { value, draws, clusters }: Drawn, { count, seed }: MeasureOptions): Result['ci'] {
  if (value === null || draws.length === 0) return null;
  if (!ENDLESS.has(metric) && (value === 0 || value === 1)) {
    const [low, high] = wilson(value * clusters, clusters);
    return { low, high, method: 'wilson', level: 0.95 };
  }
  const [low, high] = percentileInterval(draws);
  return Number.isNaN(low) ? null : { low, high, method: 'cluster-bootstrap', level: 0.95, resamples: count, seed };
}

const KEYS = ['tp', 'fn', 'fp', 'tn', 'blankYes', 'blankNo'] as const;

/** Sums the counts of each resample's clusters, then takes every metric of the sums. */
function drawBinary({ judged, cluster }: SplitRows, resamples: Resamples): Record<BinaryMetric, Drawn> {
  const byCluster = new Map<number, BinaryCounts>();
  judged.forEach(({ item, scored }, i) => {
    const gold = goldOf(item);
    if (gold === null) return;
    const own = byCluster.get(cluster[i]) ?? noCounts();
    byCluster.set(cluster[i], count(own, gold, scored.label));
  });
  const all = countsOf(judged);
  const value = binaryMetrics(all);
  const answered = judged.length - all.blankYes - all.blankNo;
  const drawn = (metric: BinaryMetric): Drawn => ({
    value: value[metric],
    draws: new Float64Array(resamples.count),
    n: metric === 'accuracy-answered' ? answered : judged.length,
    clusters: byCluster.size,
  });
  const out = Object.fromEntries(BINARY_METRICS.map((metric) => [metric, drawn(metric)])) as Record<
    BinaryMetric,
    Drawn
  >;
  const at = Int32Array.from(byCluster.keys());
  const parts = Float64Array.from([...byCluster.values()].flatMap((counts) => KEYS.map((key) => counts[key])));
  for (let row = 0; row < resamples.count; row++) {
    const metrics = binaryMetrics(weighted(parts, at, resamples.weights, row * resamples.clusters));
    for (const metric of BINARY_METRICS) out[metric].draws[row] = metrics[metric] ?? Number.NaN;
  }
  return out;
}

/** Counts of one resample: six `parts` a cluster, in the order of KEYS, times how often it was drawn. */
function weighted(parts: Float64Array, at: Int32Array, weights: Uint16Array, offset: number): BinaryCounts {
  const sums = noCounts();
  for (let c = 0, part = 0; c < at.length; c++, part += 6) {
    const weight = weights[offset + at[c]];
    if (weight === 0) continue;
    sums.tp += weight * parts[part];
    sums.fn += weight * parts[part + 1];
    sums.fp += weight * parts[part + 2];
    sums.tn += weight * parts[part + 3];
    sums.blankYes += weight * parts[part + 4];
    sums.blankNo += weight * parts[part + 5];
  }
  return sums;
}

/** Of the difference yes − no, over the rows that carry one; null where none does. */
function drawAuroc({ judged, cluster }: SplitRows, resamples: Resamples): Drawn | null {
  const rows = judged.flatMap(({ item, scored }, i) => {
    if (scored.margin === null) return [];
    const yes = goldOf(item) === 'yes';
    return [{ score: yes ? scored.margin : -scored.margin, yes: Number(yes), cluster: cluster[i] }];
  });
  if (rows.length === 0) return null;
  const ranked = rankScores(rows.map(({ score }) => score));
  const positive = Uint8Array.from(rows, ({ yes }) => yes);
  const of = Int32Array.from(rows, ({ cluster }) => cluster);
  const weights = new Uint16Array(rows.length).fill(1);
  const value = weightedAuroc(ranked, positive, weights);
  const draws = new Float64Array(resamples.count);
  for (let row = 0; row < resamples.count; row++) {
    const offset = row * resamples.clusters;
    for (let i = 0; i < of.length; i++) weights[i] = resamples.weights[offset + of[i]];
    draws[row] = weightedAuroc(ranked, positive, weights) ?? Number.NaN;
  }
  return { value, draws, n: rows.length, clusters: new Set(rows.map((row) => row.cluster)).size };
}

/** Of the rows that carry a confidence; without an interval, because resampling makes an ECE larger than it is. */
function calibrationOf({ judged }: SplitRows): Drawn | null {
  const rows = judged.flatMap(({ scored: { confidence, correct } }) =>
    confidence === null ? [] : [{ confidence, correct }],
  );
  if (rows.length === 0) return null;
  const value = ece(
    rows.map(({ confidence }) => confidence),
    rows.map(({ correct }) => correct),
  );
  return { value, draws: new Float64Array(), n: rows.length, clusters: 0 };
}

/** The sums of the script that judged, with its faults; nothing where none did. */
function asPublished({ judged }: SplitRows): Record<string, Drawn> {
  const script = COMPAT_RULES.find(({ id }) => judged.some(({ scored }) => scored.rule === id));
  if (script === undefined) return {};
  const numbers = Object.entries(scriptNumbers(script.id, countsOf(judged)));
  return Object.fromEntries(
    numbers.flatMap(([metric, value]) =>
      value === null
        ? []
        : [[`${metric}-as-published`, { value, draws: new Float64Array(), n: judged.length, clusters: 0 }]],
    ),
  );
}

function countsOf(judged: readonly Judged[]): BinaryCounts {
  const counts = noCounts();
  for (const { item, scored } of judged) {
    const gold = goldOf(item);
    if (gold !== null) count(counts, gold, scored.label);
  }
  return counts;
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
