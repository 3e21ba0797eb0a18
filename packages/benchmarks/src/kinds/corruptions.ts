// ImageNet-C: errors of classification under each corruption and severity, and their means. Which pictures are asked about
// is build-corruptions.ts's matter, how they are corrupted corruptions/'s.

import { ALEXNET_ERROR, BENCHMARK_15, CORRUPTIONS, FAMILIES } from '../corruptions/constants.ts';
import type { Judged, MeasureOptions, SuiteKind } from '../judging/kind.ts';
import type { Result } from '../judging/result.ts';
import type { Reference } from '../metrics/corruption-error.ts';
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

/** Errors as sums over cells; a cell is what stands in {@link cellOf}. */
class CellErrors {
  readonly #estimates: Estimates;
  readonly #cells: readonly string[];
  readonly #counts = new Map<string, number>();

  constructor(suite: Suite, judged: readonly Judged[], options: MeasureOptions) {
    this.#estimates = new Estimates(suite, judged, options);
    this.#cells = judged.map(cellOf);
    for (const cell of this.#cells) this.#counts.set(cell, (this.#counts.get(cell) ?? 0) + 1);
  }

  has = (cell: string): boolean => this.#counts.has(cell);

  /** Σ weight · error of the cell; null where one of them was not asked. */
  sum(split: string, metric: string, weights: ReadonlyMap<string, number>, chance: number | null = null): Result {
    const cells = [...weights];
    const parts = cells.map(([cell, weight]) => (one: Judged, i: number) => {
      const isOwn = this.#cells[i] === cell;
      return { top: isOwn ? cells.length * weight * (1 - one.scored.correct) : 0, bottom: Number(isOwn) };
    });
    const n = cells.reduce((sum, [cell]) => sum + (this.#counts.get(cell) ?? 0), 0);
    const isProportion = cells.length === 1;
    const result = this.#estimates.meanOfRatios(parts, {
      split,
      metric,
      chance,
      n,
      isProportion,
      most: isProportion ? 1 : null,
    });
    return { ...result, ...this.#faults(weights) };
  }

  #faults(weights: ReadonlyMap<string, number>): Pick<Result, 'unknown' | 'errors'> {
    const own = this.#estimates.judged.filter((_, i) => weights.has(this.#cells[i]));
    const count = (label: string) => own.filter(({ scored }) => scored.label === label).length;
    return { unknown: count('unknown'), errors: count('error') };
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
    cells.some(errors.has) ? [errors.sum(split, 'error', new Map(even(cells.filter(errors.has))), chance)] : [];
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
