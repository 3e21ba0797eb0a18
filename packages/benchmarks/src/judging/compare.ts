// Compares runs over the same items: paired differences with cluster-bootstrap intervals, tests that keep a picture's
// questions together, Holm over the family, and what could have been found. Says better, worse or inconclusive.

import { canonicalJson, FoveaError } from '@fovea/artifacts';
import { signFlipP } from '../metrics/permutation.ts';
import { designEffect, detectableFromInterval, minimumDetectableEffect } from '../metrics/power.ts';
import { bootstrapP, holm, type Interval, mcnemarExact, percentileInterval } from '../statistics.ts';
import type { JudgedRun, JudgedSuite } from './judged-run.ts';
import { DIRECTIONS, type Paired, type PairedMetric, pairedStatistics } from './paired.ts';

export interface CompareOptions {
  /** Bootstrap resamples, and sign flips; 10,000 by default. */
  count?: number;
  seed?: number;
  /** Two-sided error: intervals are at 1 − alpha, and an adjusted p below it is asked for. 0.05 by default. */
  alpha?: number;
  /** Which p decides: that of sign flips where a cluster has several items and exact McNemar elsewhere, unless one is named. */
  test?: 'auto' | 'permutation' | 'mcnemar';
  /** Rows that a claim rests on, over which Holm adjusts; by default every suite's headline metric, in every split. */
  family?: readonly { suite: string; split?: string; metric?: string }[];
}

export interface RunDifference {
  suite: string;
  split: string;
  metric: PairedMetric;
  /** Keys of the runs; the difference is a − b. */
  a: string;
  b: string;
  valueA: number;
  valueB: number;
  delta: number;
  /** Paired cluster bootstrap at `level`. */
  ci: Interval;
  level: number;
  n: number;
  clusters: number;
  /** McNemar's b: right in `a` alone; null where units are not right or wrong. */
  wins: number | null;
  /** McNemar's c: right in `b` alone. */
  losses: number | null;
  /** Exact McNemar. */
  mcnemar: number | null;
  /** Sign flips of clusters. */
  permutation: number | null;
  /** The p that decides, and its test. */
  p: number;
  test: 'permutation' | 'mcnemar' | 'bootstrap';
  /** Holm-adjusted in the family; null outside it. */
  pAdjusted: number | null;
  /** Smallest difference found in 80 % of repetitions; null where it cannot be told. */
  detectable: number | null;
  /** Null for what is neither good nor bad, such as a criterion. */
  verdict: 'better' | 'worse' | 'inconclusive' | null;
  /** Of accuracy in yes/no suites: whether it moved with d′ or with the readiness to say yes alone. */
  shift: 'sensitivity' | 'threshold' | null;
  /** What a reader must know besides. */
  note: string | null;
}

export interface RunComparisons {
  rows: RunDifference[];
  /** The family in words. */
  family: string;
  /** Suites that only one of two runs has. */
  omitted: { suite: string; reason: string }[];
}

/** Every candidate against one baseline, suite by suite. Refuses suites of one name whose items differ. */
export function compareRuns(
  candidates: readonly JudgedRun[],
  baseline: JudgedRun,
  options: CompareOptions = {},
): RunComparisons {
  const omitted: RunComparisons['omitted'] = [];
  const rows = candidates.flatMap((run) => {
    const names = [...new Set([...run.suites, ...baseline.suites].map(({ manifest }) => manifest.name))];
    return names.flatMap((name) => {
      const [own, other] = [run, baseline].map(({ suites }) => suites.find(({ manifest }) => manifest.name === name));
      if (own && other) return compareSuite(run.key, own, baseline.key, other, options);
      const absent = own ? baseline : run;
      const why = absent.incomplete?.find(({ suite }) => suite === name)?.reason;
      const reason = why ? `${absent.subject} has not completed it (${why})` : `${absent.subject} was not asked it`;
      omitted.push({ suite: name, reason });
      return [];
    });
  });
  return { ...judged(rows, candidates.length, options), omitted };
}

/** The differences of one suite, not yet adjusted: verdicts are given by `compareRuns`. */
export function compareSuite(
  a: string,
  own: JudgedSuite,
  b: string,
  other: JudgedSuite,
  options: CompareOptions = {},
): RunDifference[] {
  const { name } = own.manifest;
  if (canonicalJson(own.manifest) !== canonicalJson(other.manifest)) {
    throw new FoveaError(
      `Suite "${name}" of run ${a.slice(0, 12)} and of run ${b.slice(0, 12)} holds different questions, pictures or prompts, so the two cannot be compared; run one of them on the other's suite.`,
    );
  }
  if (own.scorer !== other.scorer) {
    throw new FoveaError(
      `Suite "${name}" was scored by ${own.scorer} in run ${a.slice(0, 12)} and by ${other.scorer} in run ${b.slice(0, 12)}, so the two cannot be compared; rescore one of them.`,
    );
  }
  const { count = 10_000, seed = 0, alpha = 0.05 } = options;
  const pairs = pairedStatistics(own, other, { count, seed });
  return pairs.map((row) => difference(row, { suite: name, a, b }, { ...options, count, seed, alpha }));
}

function difference(
  row: Paired,
  head: Pick<RunDifference, 'suite' | 'a' | 'b'>,
  { count, seed, alpha, test = 'auto' }: Required<Pick<CompareOptions, 'count' | 'seed' | 'alpha'>> & CompareOptions,
): RunDifference {
  const { split, metric, valueA, valueB, n, clusters, units, draws } = row;
  const ci = percentileInterval(draws, 1 - alpha);
  const wins = units?.binary ? units.differences.filter((d) => d > 0).length : null;
  const losses = units?.binary ? units.differences.filter((d) => d < 0).length : null;
  const mcnemar = wins === null || losses === null ? null : mcnemarExact(wins, losses);
  const permutation = units ? signFlipP(units.differences, units.clusters, { count, seed }) : null;
  const decided = decide({ mcnemar, permutation, bootstrap: bootstrapP(draws), alone: n === clusters }, test);
  return {
    ...head,
    ...{ split, metric, valueA, valueB, delta: valueA - valueB, ci, level: 1 - alpha, n, clusters },
    ...{ wins, losses, mcnemar, permutation, ...decided, pAdjusted: null },
    detectable: detectable(row, ci, alpha),
    ...{ verdict: null, shift: null, note: null },
  };
}

function decide(
  p: { mcnemar: number | null; permutation: number | null; bootstrap: number; alone: boolean },
  test: NonNullable<CompareOptions['test']>,
): Pick<RunDifference, 'p' | 'test'> {
  const exact = test === 'mcnemar' || (test === 'auto' && p.alone);
  if (exact && p.mcnemar !== null) return { p: p.mcnemar, test: 'mcnemar' };
  if (p.permutation !== null) return { p: p.permutation, test: 'permutation' };
  return { p: p.bootstrap, test: 'bootstrap' };
}

function detectable({ units, n }: Paired, ci: Interval, alpha: number): number | null {
  if (!units?.binary) return detectableFromInterval(ci, { alpha });
  const discordance = units.differences.filter((d) => d !== 0).length / n;
  return minimumDetectableEffect(n, discordance, {
    alpha,
    designEffect: designEffect(units.differences, units.clusters),
  });
}

function judged(
  rows: RunDifference[],
  candidates: number,
  { alpha = 0.05, family }: CompareOptions,
): Pick<RunComparisons, 'rows' | 'family'> {
  const inside = rows.filter((row) => (family ? family.some((one) => matches(row, one)) : isHeadline(row, rows)));
  const adjusted = new Map(holm(inside.map(({ p }) => p)).map((p, i) => [inside[i], p]));
  const verdicts = rows.map((row): RunDifference => {
    const pAdjusted = adjusted.get(row) ?? null;
    return { ...row, pAdjusted, verdict: verdictOf(row, pAdjusted ?? row.p, alpha) };
  });
  const which = family ? 'the comparisons that were named' : 'the headline metric of every suite and split';
  return {
    rows: verdicts.map((row) => withShift(row, verdicts)),
    family: `The family is ${which}${candidates > 1 ? `, of ${candidates} runs` : ''}: ${inside.length} test${inside.length === 1 ? '' : 's'}, adjusted by Holm’s method at α = ${alpha}.`,
  };
}

function matches(row: RunDifference, one: { suite: string; split?: string; metric?: string }): boolean {
  return row.suite === one.suite && (one.split ?? row.split) === row.split && (one.metric ?? row.metric) === row.metric;
}

/** CHAIR-i of captions, squared error of estimates, pairs where a constant answer gets half of each right; else accuracy. */
function isHeadline(row: RunDifference, rows: readonly RunDifference[]): boolean {
  const same = (metric: string) =>
    rows.some((other) => other.suite === row.suite && other.split === row.split && other.metric === metric);
  const own = (['chair-i', 'mse'] as const).find(same);
  if (own) return row.metric === own;
  const yesNo = same('d-prime') || same('yes-ratio');
  return row.metric === (same('pair-accuracy') && !yesNo ? 'pair-accuracy' : 'accuracy');
}

function verdictOf({ metric, ci }: RunDifference, p: number, alpha: number): RunDifference['verdict'] {
  const direction = DIRECTIONS[metric];
  if (direction === null) return null;
  if (!(p < alpha) || !excludesZero(ci)) return 'inconclusive';
  return direction * ci[0] > 0 ? 'better' : 'worse';
}

const excludesZero = ([low, high]: Interval) => low > 0 || high < 0;

/** A gain in accuracy that d′ does not share is a change of the threshold, which no gain can be claimed from. */
function withShift(row: RunDifference, rows: readonly RunDifference[]): RunDifference {
  if (row.metric !== 'accuracy' || row.verdict === null) return row;
  const beside = (metric: PairedMetric) =>
    rows.find(
      (r) => r.metric === metric && r.suite === row.suite && r.split === row.split && r.a === row.a && r.b === row.b,
    );
  const [sensitivity, criterion] = [beside('d-prime'), beside('criterion')];
  if (!sensitivity || !criterion) return row;
  if (excludesZero(sensitivity.ci)) return { ...row, shift: 'sensitivity' };
  if (!excludesZero(criterion.ci)) return row;
  const note = 'threshold shift: the readiness to say yes moved, and d′ did not';
  return { ...row, shift: 'threshold', note, verdict: row.verdict === 'better' ? 'inconclusive' : row.verdict };
}
