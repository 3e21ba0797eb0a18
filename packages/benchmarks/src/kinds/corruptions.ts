// ImageNet-C: errors of classification under each corruption and severity, and their means. Which pictures are asked about
// is build-corruptions.ts's matter, how they are corrupted corruptions/'s.

import { ALEXNET_ERROR, BENCHMARK_15, CORRUPTIONS, FAMILIES } from '../corruptions/constants.ts';
import type { Judged, MeasureOptions, SuiteKind } from '../judging/kind.ts';
import type { Result } from '../judging/result.ts';
import type { Reference } from '../metrics/corruption-error.ts';
import { clusterSums, percentileInterval, ratioDraws, resamplesOf, sizes, wilson } from '../statistics.ts';
import type { Suite } from '../suite/suite.ts';
import { referenceSchema } from './build-corruptions.ts';
import { classify } from './classify.ts';
import { Estimates } from './estimates.ts';

const SEVERITIES = [1, 2, 3, 4, 5];
const CLEAN = 'clean';

/** AlexNet of the paper. Its clean error is known from memory only, so nothing is measured relative to it. */
export const ALEXNET: Reference = { name: 'alexnet', clean: null, errors: ALEXNET_ERROR };

/** What a suite's errors are divided by: the reference of its builder, AlexNet where that names none. */
export function referenceOf({ manifest }: Suite): Reference {
  const given = referenceSchema.safeParse(manifest.source.reference);
  return given.success ? given.data : ALEXNET;
}

/** `clean`, or a corruption and its severity. */
const cellOf = ({ item }: Judged): string => {
  const { corruption } = item.pictures[0];
  return corruption ? `${corruption.name}/${corruption.severity}` : CLEAN;
};

const cellsOf = (name: string): string[] => SEVERITIES.map((severity) => `${name}/${severity}`);

interface Cell {
  value: number;
  n: number;
  unknown: number;
  errors: number;
  /** The error in every resample. */
  draws: Float64Array;
}

/** Errors by cell ({@link cellOf}) and weighted sums of them, resampled together by picture. */
class CellErrors {
  readonly #suite: Suite;
  readonly #options: MeasureOptions;
  readonly #cells = new Map<string, Cell>();
  readonly #clusters: number;

  constructor(suite: Suite, judged: readonly Judged[], options: MeasureOptions) {
    this.#suite = suite;
    this.#options = options;
    const { clusterIndex } = new Estimates(suite, judged, options);
    this.#clusters = clusterIndex.reduce((most, at) => Math.max(most, at + 1), 0);
    const members = new Map<string, number[]>();
    judged.forEach((one, i) => {
      const own = members.get(cellOf(one));
      if (own) own.push(i);
      else members.set(cellOf(one), [i]);
    });
    const resamples = resamplesOf(this.#clusters, options.count, options.seed);
    for (const [name, own] of members) {
      const index = Int32Array.from(own, (i) => clusterIndex[i]);
      const wrong = own.map((i) => 1 - judged[i].scored.correct);
      const count = (label: string) => own.filter((i) => judged[i].scored.label === label).length;
      this.#cells.set(name, {
        value: wrong.reduce((a, b) => a + b, 0) / own.length,
        n: own.length,
        unknown: count('unknown'),
        errors: count('error'),
        draws: ratioDraws(clusterSums(wrong, index, this.#clusters), sizes(index, this.#clusters), resamples),
      });
    }
  }

  has = (cell: string): boolean => this.#cells.has(cell);

  /** The mean error of cells that were asked. */
  mean(split: string, cells: readonly string[], chance: number | null): Result {
    const result = this.sum(split, 'error', new Map(even(cells)), chance);
    if (result.value !== 0 && result.value !== 1) return result;
    const [low, high] = wilson(result.value * this.#clusters, this.#clusters);
    return { ...result, ci: { low, high, method: 'wilson', level: 0.95 } };
  }

  /** Σ weight · error; null where a cell was not asked. */
  sum(split: string, metric: string, weights: ReadonlyMap<string, number>, chance: number | null = null): Result {
    const { count, seed } = this.#options;
    const known = [...weights].flatMap(([cell, weight]) => {
      const own = this.#cells.get(cell);
      return own ? [{ ...own, weight }] : [];
    });
    const total = (of: 'n' | 'unknown' | 'errors') => known.reduce((sum, cell) => sum + cell[of], 0);
    const base = { suite: this.#suite.manifest.name, split, metric, chance };
    const counts = { n: total('n'), unknown: total('unknown'), errors: total('errors') };
    if (known.length < weights.size) return { ...base, ...counts, value: null, ci: null };
    const draws = new Float64Array(count);
    for (const { weight, draws: own } of known) for (let b = 0; b < count; b++) draws[b] += weight * own[b];
    const [low, high] = percentileInterval(draws);
    return {
      ...base,
      ...counts,
      value: known.reduce((sum, { weight, value }) => sum + weight * value, 0),
      ci: Number.isFinite(low) ? { low, high, method: 'cluster-bootstrap', level: 0.95, resamples: count, seed } : null,
    };
  }
}

/** Equal weights that sum to `total`. */
const even = (cells: readonly string[], total = 1): [string, number][] =>
  cells.map((cell) => [cell, total / cells.length]);

function measure(suite: Suite, judged: readonly Judged[], options: MeasureOptions): Result[] {
  const errors = new CellErrors(suite, judged, options);
  const reference = referenceOf(suite);
  const classes = suite.manifest.classes?.length ?? 0;
  const chance = classes > 0 ? 1 - 1 / classes : null;
  const error = (split: string, cells: readonly string[]): Result[] =>
    cells.some(errors.has) ? [errors.mean(split, cells.filter(errors.has), chance)] : [];
  const families = Object.entries(FAMILIES).filter(([, names]) => names.flatMap(cellsOf).every(errors.has));
  return [
    ...error(CLEAN, [CLEAN]),
    ...CORRUPTIONS.flatMap((name) => cellsOf(name).flatMap((cell) => error(cell, [cell]))),
    ...CORRUPTIONS.flatMap((name) => [
      ...error(name, cellsOf(name)),
      ...(cellsOf(name).some(errors.has) ? relativeTo(reference, errors, name, [name]) : []),
    ]),
    ...families.flatMap(([family, names]) => error(family, names.flatMap(cellsOf))),
    ...error('all', BENCHMARK_15.flatMap(cellsOf)),
    ...relativeTo(reference, errors, 'all', BENCHMARK_15),
  ];
}

/**
 * ce or mce, and the same of what is lost against clean pictures; null where a severity was not asked or the reference's
 * clean error is not verified. Nothing for corruptions that the reference has no error of: no hold-out is in an mCE.
 */
function relativeTo(reference: Reference, errors: CellErrors, split: string, names: readonly string[]): Result[] {
  if (names.some((name) => reference.errors[name] === undefined)) return [];
  const prefix = split === 'all' ? 'm' : '';
  const over = (less: number) =>
    names.flatMap((name) => even(cellsOf(name), 1 / (reference.errors[name] - less) / names.length));
  const { clean } = reference;
  const weights = over(clean ?? 0);
  const total = weights.reduce((sum, [, weight]) => sum + weight, 0);
  const relative = errors.sum(split, `relative-${prefix}ce`, new Map([...weights, [CLEAN, -total]]));
  return [
    errors.sum(split, `${prefix}ce`, new Map(over(0))),
    clean === null ? { ...relative, value: null, ci: null } : relative,
  ];
}

/**
 * `error` of clean pictures, of every corruption and severity, of every corruption, of the families that are whole, and of
 * the benchmark's 15 (`all`), unnormalised; `ce`, `mce` and their relative forms against the suite's reference.
 */
export const corruptions: SuiteKind = { kind: 'corruptions', scorers: classify.scorers, measure };
