// Two subjects' outcomes on the same items as paired statistics: every metric's difference, its bootstrap draws, and the
// units that a test of signs can flip. Whether a difference is better or worse is decided in compare.ts.

import { FoveaError } from '@fovea/artifacts';
import { ObjectMentions } from '../kinds/object-mentions.ts';
import { type BinaryCounts, binaryMetrics, count, noCounts } from '../metrics/binary.ts';
import { type BootstrapOptions, bootstrapTotals, clusterSums } from '../statistics.ts';
import type { Item } from '../suite/item.ts';
import type { Manifest } from '../suite/manifest.ts';
import type { Scored } from './answer.ts';
import type { JudgedSuite } from './judged-run.ts';

/** Metrics that are compared, and whether more is better (1) or less (−1); null where neither is. */
export const DIRECTIONS = {
  accuracy: 1,
  'pair-accuracy': 1,
  f1: 1,
  'd-prime': 1,
  criterion: null,
  'yes-ratio': null,
  'chair-i': -1,
  recall: 1,
  mse: -1,
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

/** A metric of one split, or a mean of such: where its two values stand among all that a pass works out. */
interface Statistic extends Omit<Paired, 'valueA' | 'valueB' | 'draws'> {
  /** Places of a's values and of b's; several are meaned. */
  at: [a: number[], b: number[]];
}

/** Fills its places of `values` from column totals. */
type Step = (totals: Float64Array, values: Float64Array) => void;

/** What one pass over the resamples works out: columns are summed, steps run once a row, statistics read the values. */
class Pass {
  readonly columns: Float64Array[] = [];
  readonly steps: Step[] = [];
  readonly clusters: number;
  size = 0;

  constructor(clusters: number) {
    this.clusters = clusters;
  }

  /** The column of these values, one a unit; `index` are the units' clusters. */
  column(values: number[], index: number[]): number {
    return this.columns.push(clusterSums(values, Int32Array.from(index), this.clusters)) - 1;
  }

  /** Adds a step that fills `count` places; gives the first. */
  places(count: number, step: (totals: Float64Array, values: Float64Array, at: number) => void): number {
    const at = this.size;
    this.size += count;
    this.steps.push((totals, values) => step(totals, values, at));
    return at;
  }
}

/** Every metric of every split, and their mean over splits where there are several. */
export function pairedStatistics(a: JudgedSuite, b: JudgedSuite, options: BootstrapOptions): Paired[] {
  const { outcomes, clusters } = join(a, b);
  const pass = new Pass(clusters);
  const splits = new Map<string, Outcome[]>();
  for (const outcome of outcomes) {
    const { split } = outcome.item;
    const own = splits.get(split);
    if (own) own.push(outcome);
    else splits.set(split, [outcome]);
  }
  const single = [...splits].flatMap(([split, own]) => statisticsOf(split, own, a.manifest, pass));
  // An unfiltered twin holds its split's items once more.
  const apart = [...splits.keys()].filter((split) => !split.endsWith('-unfiltered'));
  const parts = single.filter(({ split }) => apart.includes(split));
  return evaluate(apart.length > 1 ? [...single, ...macros(parts, apart.length)] : single, pass, options);
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

function statisticsOf(split: string, outcomes: Outcome[], manifest: Manifest, pass: Pass): Statistic[] {
  const isAll = (kind: Item['ask']['kind']) => outcomes.every(({ item }) => item.ask.kind === kind);
  const list = [meanOf('accuracy', split, outcomes.map(unitOf), pass)];
  const pairs = pairUnits(outcomes);
  if (pairs.length > 0) list.push(meanOf('pair-accuracy', split, pairs, pass));
  if (isAll('yesno')) list.push(...yesNoOf(split, outcomes, pass));
  if (isAll('caption') && manifest.lexicon) list.push(...captionsOf(split, outcomes, manifest.lexicon, pass));
  const errors = isAll('estimate') ? outcomes.flatMap(errorUnit) : [];
  if (errors.length === outcomes.length) list.push(meanOf('mse', split, errors, pass));
  return list;
}

/** Squared error of an estimate, meaned over its columns; nothing where a subject gave none. */
function errorUnit({ item, cluster, a, b }: Outcome): Unit[] {
  const [own, other] = [a, b].map(({ detail }) => detail?.error as number[] | undefined);
  if (item.ask.kind !== 'estimate' || !own || !other) return [];
  const mean = (values: number[]) => values.reduce((x, y) => x + y, 0) / values.length;
  return [{ cluster, a: mean(own), b: mean(other) }];
}

/** Wrong mentions over mentions, and objects named over objects there: ratios of sums over captions. */
function captionsOf(
  split: string,
  outcomes: Outcome[],
  lexicon: NonNullable<Manifest['lexicon']>,
  pass: Pass,
): Statistic[] {
  const reader = new ObjectMentions(lexicon);
  const index = outcomes.map(({ cluster }) => cluster);
  const head = { split, n: outcomes.length, clusters: new Set(index).size, units: null };
  const places = (['a', 'b'] as const).map((side) => {
    const counts = outcomes.map((outcome) => captionCounts(outcome.item, outcome[side], reader));
    const [wrong, mentions, named, there] = [0, 1, 2, 3].map((k) =>
      pass.column(
        counts.map((row) => row[k]),
        index,
      ),
    );
    return pass.places(2, (totals, values, first) => {
      values[first] = totals[wrong] / totals[mentions];
      values[first + 1] = totals[named] / totals[there];
    });
  });
  const metrics = ['chair-i', 'recall'] as const;
  return metrics.map((metric, m) => ({ ...head, metric, at: [[places[0] + m], [places[1] + m]] }));
}

function captionCounts({ ask }: Item, { detail }: Scored, reader: ObjectMentions): number[] {
  if (ask.kind !== 'caption') return [0, 0, 0, 0];
  const truth = new Set([...ask.gold, ...ask.references].flatMap((text) => reader.objects(text)));
  const nodes = ((detail?.mentions ?? []) as [string, number][]).map(([node]) => node);
  const wrong = nodes.filter((node) => !truth.has(node)).length;
  return [wrong, nodes.length, new Set(nodes.filter((node) => truth.has(node))).size, truth.size];
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

function meanOf(metric: PairedMetric, split: string, units: Unit[], pass: Pass): Statistic {
  const index = units.map(({ cluster }) => cluster);
  const columns = [units.map(() => 1), units.map((u) => u.a), units.map((u) => u.b)];
  const [n, a, b] = columns.map((values) => pass.column(values, index));
  const at = pass.places(2, (totals, values, first) => {
    values[first] = totals[a] / totals[n];
    values[first + 1] = totals[b] / totals[n];
  });
  return {
    split,
    metric,
    n: units.length,
    clusters: new Set(index).size,
    units: {
      differences: units.map((u) => (u.a - u.b) / units.length),
      clusters: index,
      binary: metric !== 'mse',
    },
    at: [[at], [at + 1]],
  };
}

const CELLS = Object.keys(noCounts()) as (keyof BinaryCounts)[];

function yesNoOf(split: string, outcomes: Outcome[], pass: Pass): Statistic[] {
  const index = outcomes.map(({ cluster }) => cluster);
  const places = (['a', 'b'] as const).map((side) => {
    const single = outcomes.map(({ item, [side]: row }) => count(noCounts(), goldOf(item), row.label));
    const columns = CELLS.map((cell) =>
      pass.column(
        single.map((counts) => counts[cell]),
        index,
      ),
    );
    const counts = noCounts();
    return pass.places(YES_NO.length, (totals, values, first) => {
      for (let k = 0; k < CELLS.length; k++) counts[CELLS[k]] = totals[columns[k]];
      const metrics = binaryMetrics(counts);
      for (let m = 0; m < YES_NO.length; m++) values[first + m] = metrics[YES_NO[m]] ?? Number.NaN;
    });
  });
  const head = { split, n: outcomes.length, clusters: new Set(index).size, units: null };
  return YES_NO.map((metric, m) => ({ ...head, metric, at: [[places[0] + m], [places[1] + m]] }));
}

const YES_NO = ['f1', 'd-prime', 'criterion', 'yes-ratio'] as const;

function goldOf({ ask }: Item): 'yes' | 'no' {
  return ask.kind === 'yesno' && ask.gold === 'yes' ? 'yes' : 'no';
}

/** Metrics that every split has, meaned. Sign flips see each split's units by their weight in the mean. */
function macros(statistics: Statistic[], splits: number): Statistic[] {
  // Squared errors of different targets have different units.
  const metrics = [...new Set(statistics.map(({ metric }) => metric))].filter((metric) => metric !== 'mse');
  return metrics.flatMap((metric): Statistic[] => {
    const parts = statistics.filter((part) => part.metric === metric);
    if (parts.length < splits) return [];
    const units = parts.flatMap((part) => part.units ?? []);
    const flips = {
      differences: units.flatMap(({ differences }) => differences.map((d) => d / splits)),
      clusters: units.flatMap(({ clusters }) => clusters),
      binary: false,
    };
    return [
      {
        split: MACRO,
        metric,
        n: parts.reduce((sum, part) => sum + part.n, 0),
        clusters: units.length > 0 ? new Set(flips.clusters).size : Math.max(...parts.map((part) => part.clusters)),
        units: units.length > 0 ? flips : null,
        at: [parts.flatMap((part) => part.at[0]), parts.flatMap((part) => part.at[1])],
      },
    ];
  });
}

function evaluate(statistics: Statistic[], pass: Pass, options: BootstrapOptions): Paired[] {
  const { columns, steps, clusters } = pass;
  const sums = new Float64Array(columns.length * clusters);
  columns.forEach((column, k) => {
    for (let c = 0; c < clusters; c++) sums[c * columns.length + k] = column[c];
  });
  const values = new Float64Array(pass.size);
  const work = (totals: Float64Array) => {
    for (const step of steps) step(totals, values);
  };
  const mean = (at: number[]) => {
    let sum = 0;
    for (const place of at) sum += values[place];
    return sum / at.length;
  };
  work(Float64Array.from(columns, (column) => column.reduce((x, y) => x + y, 0)));
  const whole = statistics.map(({ at }) => at.map(mean));
  const draws = statistics.map(() => new Float64Array(options.count));
  bootstrapTotals(sums, clusters, options, (totals, row) => {
    work(totals);
    for (let i = 0; i < statistics.length; i++) draws[i][row] = mean(statistics[i].at[0]) - mean(statistics[i].at[1]);
  });
  return statistics
    .map(({ at: _, ...head }, i) => ({ ...head, valueA: whole[i][0], valueB: whole[i][1], draws: draws[i] }))
    .filter(({ valueA, valueB }) => Number.isFinite(valueA) && Number.isFinite(valueB));
}
