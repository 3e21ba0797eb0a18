// What the kinds that ask in pairs have in common: judged items by part, pairs out of items, and shares of either as results
// with intervals. The statistics themselves are in statistics.ts; which numbers a kind reports is its own file's matter.

import type { Judged, MeasureOptions } from '../judging/kind.ts';
import type { Result } from '../judging/result.ts';
import { proportion, wilson } from '../statistics.ts';

/** Something that is right or wrong as a whole: one answer, or all answers of a pair. */
export interface Unit {
  cluster: string;
  correct: boolean;
  unknown: number;
  errors: number;
}

/** Where a result stands. */
export interface Place {
  suite: string;
  split: string;
}

/** Things by a key, in order of first appearance; those without one are left out. */
export function grouped<T>(all: readonly T[], keyOf: (one: T) => string | null | undefined): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const one of all) {
    const key = keyOf(one);
    if (key === null || key === undefined) continue;
    const known = groups.get(key);
    if (known) known.push(one);
    else groups.set(key, [one]);
  }
  return groups;
}

const isRight = ({ scored }: Judged): boolean => scored.correct === 1;

/** Every item on its own. */
export const unitsOf = (judged: readonly Judged[], isCorrect = isRight): Unit[] =>
  judged.map((one) => unit([one], isCorrect(one)));

/** Items that share `pair`, right when all of them are. */
export const pairsOf = (judged: readonly Judged[], isCorrect = isRight): Unit[] =>
  wholes(judged, ({ item }) => item.pair, isCorrect);

/** Items that share a key, right when all of them are. */
export function wholes(
  judged: readonly Judged[],
  keyOf: (one: Judged) => string | undefined,
  isCorrect = isRight,
): Unit[] {
  return [...grouped(judged, keyOf).values()].map((members) => unit(members, members.every(isCorrect)));
}

/** A whole with its own verdict, in the cluster of its first member. */
export function unit(members: readonly Judged[], correct: boolean): Unit {
  const labelled = (label: string) => members.filter(({ scored }) => scored.label === label).length;
  return { cluster: members[0].item.cluster, correct, unknown: labelled('unknown'), errors: labelled('error') };
}

/**
 * Share of right units, in 0 … 1, with a 95 % interval: Wilson's where every unit is its own cluster, else a bootstrap of
 * clusters. Null without units.
 */
export function share(
  place: Place,
  metric: string,
  units: readonly Unit[],
  chance: number | null,
  options: MeasureOptions,
): Result {
  const base = { ...place, metric, ...countsOf(units), chance };
  const n = units.length;
  if (n === 0) return { ...base, value: null, ci: null };
  const numbers = new Map<string, number>();
  const clusters = units.map(({ cluster }) => {
    if (!numbers.has(cluster)) numbers.set(cluster, numbers.size);
    return numbers.get(cluster) as number;
  });
  const right = units.map(({ correct }) => Number(correct));
  const k = right.reduce((a, b) => a + b, 0);
  if (numbers.size === n) return { ...base, value: k / n, ci: wilsonCi(k, n) };
  const { value, ci, method } = proportion(right, clusters, options);
  const resampled = method === 'cluster-bootstrap' ? { resamples: options.count, seed: options.seed } : {};
  return { ...base, value, ci: { low: ci[0], high: ci[1], method, level: 0.95, ...resampled } };
}

export function countsOf(units: readonly Unit[]): Pick<Result, 'n' | 'unknown' | 'errors'> {
  const total = (of: 'unknown' | 'errors') => units.reduce((sum, unit) => sum + unit[of], 0);
  return { n: units.length, unknown: total('unknown'), errors: total('errors') };
}

function wilsonCi(k: number, n: number): NonNullable<Result['ci']> {
  const [low, high] = wilson(k, n);
  return { low, high, method: 'wilson', level: 0.95 };
}
