// Two subjects' outcomes on the same items as paired statistics: every metric's difference, its bootstrap draws, and the
// units that a test of signs can flip. Whether a difference is better or worse is decided in compare.ts.

import { FoveaError } from '@fovea/artifacts';
import { type BinaryCounts, binaryMetrics, count, noCounts } from '../metrics/binary.ts';
import { type BootstrapOptions, bootstrapTotals, clusterSums } from '../statistics.ts';
import type { Item } from '../suite/item.ts';
import type { Scored } from './answer.ts';
import type { JudgedSuite } from './judged-run.ts';

/** Metrics that are compared, and whether more is better; null where neither is. */
export const DIRECTIONS = {
  accuracy: 1,
  'pair-accuracy': 1,
  f1: 1,
  'd-prime': 1,
  criterion: null,
  'yes-ratio': null,
} as const;
export type PairedMetric = keyof typeof DIRECTIONS;

/** A split's name for the mean over a suite's splits, each weighing the same. */
export const MACRO = 'macro';

export interface Paired {
  split: string;
  metric: PairedMetric;
  valueA: number;
  valueB: number;
  /** Differences a − b in every resample; NaN where a resample leaves one undefined. */
  draws: Float64Array;
  /** Items or pairs. */
  n: number;
  clusters: number;
  /** Difference and cluster of each unit, weighted so that they sum to the difference; null for what is no mean. */
  units: { differences: number[]; clusters: number[]; binary: boolean } | null;
}

interface Outcome {
  item: Item;
  cluster: number;
  a: Scored;
  b: Scored;
}

/** A metric of one split as a function of the column totals. */
interface Statistic extends Omit<Paired, 'valueA' | 'valueB' | 'draws'> {
  of: (totals: Float64Array) => readonly [number, number];
}

/** Every metric of every split, and their mean over splits where there are several. */
export function pairedStatistics(a: JudgedSuite, b: JudgedSuite, options: BootstrapOptions): Paired[] {
  const { outcomes, clusters } = join(a, b);
  const columns: Float64Array[] = [];
  const add: AddColumn = (values, index) => columns.push(clusterSums(values, Int32Array.from(index), clusters)) - 1;
  const splits = [...new Set(outcomes.map(({ item }) => item.split))];
  const single = splits.flatMap((split) =>
    statisticsOf(
      split,
      outcomes.filter(({ item }) => item.split === split),
      add,
    ),
  );
  const statistics = splits.length > 1 ? [...single, ...macros(single, splits.length)] : single;
  return evaluate(statistics, columns, clusters, options);
}

/** Rows of both by item id. The items' order, which is the suite's, is kept. */
function join(a: JudgedSuite, b: JudgedSuite): { outcomes: Outcome[]; clusters: number } {
  const [ofA, ofB] = [a, b].map((suite) => new Map(suite.scored.map((row) => [row.itemId, row])));
  const names = new Map<string, number>();
  const outcomes = a.items.map((item): Outcome => {
    const [own, other] = [ofA.get(item.id), ofB.get(item.id)];
    if (!own || !other) {
      throw new FoveaError(
        `Suite "${a.manifest.name}" has no judged answer to item "${item.id}" in ${own ? 'the second' : 'the first'} run, so it is incomplete and not compared; resume that run.`,
      );
    }
    if (!names.has(item.cluster)) names.set(item.cluster, names.size);
    return { item, cluster: names.get(item.cluster) as number, a: own, b: other };
  });
  return { outcomes, clusters: names.size };
}

type AddColumn = (values: number[], clusters: number[]) => number;

function statisticsOf(split: string, outcomes: Outcome[], add: AddColumn): Statistic[] {
  const list = [meanOf('accuracy', split, outcomes.map(unitOf), add)];
  const pairs = pairUnits(outcomes);
  if (pairs.length > 0) list.push(meanOf('pair-accuracy', split, pairs, add));
  return outcomes.every(({ item }) => item.ask.kind === 'yesno') ? [...list, ...yesNoOf(split, outcomes, add)] : list;
}

interface Unit {
  cluster: number;
  a: number;
  b: number;
}

const unitOf = ({ cluster, a, b }: Outcome): Unit => ({ cluster, a: a.correct, b: b.correct });

/** Pairs of two items or more, right only as a whole. */
function pairUnits(outcomes: Outcome[]): Unit[] {
  const pairs = new Map<string, Outcome[]>();
  for (const outcome of outcomes) {
    const { pair } = outcome.item;
    if (pair !== undefined) pairs.set(pair, [...(pairs.get(pair) ?? []), outcome]);
  }
  return [...pairs.values()]
    .filter((members) => members.length > 1)
    .map((members) => ({
      cluster: members[0].cluster,
      a: members.every(({ a }) => a.correct === 1) ? 1 : 0,
      b: members.every(({ b }) => b.correct === 1) ? 1 : 0,
    }));
}

function meanOf(metric: PairedMetric, split: string, units: Unit[], add: AddColumn): Statistic {
  const at = units.map(({ cluster }) => cluster);
  const [n, a, b] = [units.map(() => 1), units.map((u) => u.a), units.map((u) => u.b)].map((x) => add(x, at));
  return {
    split,
    metric,
    n: units.length,
    clusters: new Set(at).size,
    units: { differences: units.map((u) => (u.a - u.b) / units.length), clusters: at, binary: true },
    of: (totals) => [totals[a] / totals[n], totals[b] / totals[n]],
  };
}

const CELLS = Object.keys(noCounts()) as (keyof BinaryCounts)[];

function yesNoOf(split: string, outcomes: Outcome[], add: AddColumn): Statistic[] {
  const at = outcomes.map(({ cluster }) => cluster);
  const columnsOf = (side: 'a' | 'b') => {
    const single = outcomes.map(({ item, [side]: row }) => count(noCounts(), goldOf(item), row.label));
    return CELLS.map((cell) => {
      const values = single.map((counts) => counts[cell]);
      return [cell, add(values, at)] as const;
    });
  };
  const sides = [columnsOf('a'), columnsOf('b')];
  const measure = (metric: YesNoMetric, totals: Float64Array, columns: (readonly [keyof BinaryCounts, number])[]) => {
    const counts = Object.fromEntries(columns.map(([cell, column]) => [cell, totals[column]]));
    return binaryMetrics(counts as unknown as BinaryCounts)[metric] ?? Number.NaN;
  };
  const head = { split, n: outcomes.length, clusters: new Set(at).size, units: null };
  return YES_NO.map((metric) => ({
    ...head,
    metric,
    of: (totals) => [measure(metric, totals, sides[0]), measure(metric, totals, sides[1])] as const,
  }));
}

const YES_NO = ['f1', 'd-prime', 'criterion', 'yes-ratio'] as const;
type YesNoMetric = (typeof YES_NO)[number];

function goldOf({ ask }: Item): 'yes' | 'no' {
  return ask.kind === 'yesno' && ask.gold === 'yes' ? 'yes' : 'no';
}

/** Metrics that every split has, meaned. Sign flips see each split's units by their weight in the mean. */
function macros(statistics: Statistic[], splits: number): Statistic[] {
  const metrics = [...new Set(statistics.map(({ metric }) => metric))];
  return metrics.flatMap((metric) => {
    const parts = statistics.filter((part) => part.metric === metric);
    if (parts.length < splits) return [];
    const units = parts.every((part) => part.units)
      ? {
          differences: parts.flatMap((part) => (part.units?.differences ?? []).map((d) => d / splits)),
          clusters: parts.flatMap((part) => part.units?.clusters ?? []),
          binary: false,
        }
      : null;
    const mean = (values: readonly (readonly [number, number])[], side: 0 | 1) =>
      values.reduce((sum, pair) => sum + pair[side], 0) / values.length;
    return {
      split: MACRO,
      metric,
      n: parts.reduce((sum, part) => sum + part.n, 0),
      clusters: Math.max(...parts.map((part) => part.clusters), new Set(units?.clusters ?? []).size),
      units,
      of: (totals: Float64Array) => {
        const values = parts.map((part) => part.of(totals));
        return [mean(values, 0), mean(values, 1)] as const;
      },
    };
  });
}

function evaluate(
  statistics: Statistic[],
  columns: Float64Array[],
  clusters: number,
  options: BootstrapOptions,
): Paired[] {
  const sums = new Float64Array(columns.length * clusters);
  columns.forEach((column, k) => {
    for (let c = 0; c < clusters; c++) sums[c * columns.length + k] = column[c];
  });
  const whole = Float64Array.from(columns, (column) => column.reduce((x, y) => x + y, 0));
  const values = statistics.map((statistic) => statistic.of(whole));
  const draws = statistics.map(() => new Float64Array(options.count));
  bootstrapTotals(sums, clusters, options, (totals, row) => {
    statistics.forEach((statistic, i) => {
      const [a, b] = statistic.of(totals);
      draws[i][row] = a - b;
    });
  });
  return statistics
    .map(({ of: _, ...head }, i) => ({ ...head, valueA: values[i][0], valueB: values[i][1], draws: draws[i] }))
    .filter(({ valueA, valueB }) => Number.isFinite(valueA) && Number.isFinite(valueB));
}
