// Whether a subject's confidence says when it is right, as results beside a kind's own. It holds for every kind whose
// scorers give confidences; answers without one (words, errors, not understood) are left out, and n says so.

import { philox } from '@fovea/tensor/random';
import { auroc } from '../metrics/auroc.ts';
import { aurc, brier, ece, eceEqualMass, fitTemperature, nll } from '../metrics/calibration.ts';
import { proportion } from '../statistics.ts';
import type { Judged, MeasureOptions } from './kind.ts';
import type { Result } from './result.ts';

/** Fewer answers than these say nothing of calibration. */
const FEWEST = 30;

/**
 * Per split: `ece` (15 equal-width bins), `ece-mass`, `brier` (with its interval), `nll`, `aurc`, and `auroc-confidence`, of
 * right over wrong answers. Where every answer was one of two, also `temperature`, fitted on one half of the clusters, and
 * `ece-scaled`, of the other half under it.
 * @param known results of the suite's kind; what is among them is not measured again
 */
export function measureCalibration(
  known: readonly Result[],
  suite: string,
  judged: readonly Judged[],
  options: MeasureOptions,
): Result[] {
  const splits = new Map<string, Judged[]>();
  for (const one of judged) {
    const { confidence, label } = one.scored;
    if (confidence === null || label === 'error' || label === 'unknown') continue;
    splits.set(one.item.split, [...(splits.get(one.item.split) ?? []), one]);
  }
  const results = [...splits].flatMap(([split, rows]) =>
    rows.length < FEWEST ? [] : measureSplit({ suite, split, unknown: 0, errors: 0, chance: null }, rows, options),
  );
  const isKnown = ({ split, metric }: Result) => known.some((one) => one.split === split && one.metric === metric);
  return results.filter((result) => !isKnown(result));
}

type Place = Pick<Result, 'suite' | 'split' | 'unknown' | 'errors' | 'chance'>;

function measureSplit(place: Place, rows: readonly Judged[], options: MeasureOptions): Result[] {
  const confidence = rows.map(({ scored }) => scored.confidence as number);
  const correct = rows.map(({ scored }) => scored.correct);
  const result = (metric: string, value: number | null, n = rows.length, ci: Result['ci'] = null): Result => ({
    ...place,
    metric,
    value,
    n,
    ci,
  });
  return [
    result('ece', ece(confidence, correct)),
    result('ece-mass', eceEqualMass(confidence, correct)),
    result('brier', brier(confidence, correct), rows.length, brierInterval(rows, options)),
    result('nll', nll(confidence, correct)),
    result('aurc', aurc(confidence, correct)),
    result('auroc-confidence', auroc(confidence, correct)),
    ...scaled(rows, options, result),
  ];
}

function brierInterval(rows: readonly Judged[], options: MeasureOptions): Result['ci'] {
  const losses = rows.map(({ scored }) => ((scored.confidence as number) - scored.correct) ** 2);
  const { ci, method } = proportion(losses, clustersOf(rows), options);
  if (method === 'wilson') return null;
  return { low: ci[0], high: ci[1], method, level: 0.95, resamples: options.count, seed: options.seed };
}

function clustersOf(rows: readonly Judged[]): number[] {
  const names = new Map<string, number>();
  return rows.map(({ item: { cluster } }) => {
    if (!names.has(cluster)) names.set(cluster, names.size);
    return names.get(cluster) as number;
  });
}

const optionsOf = ({ item: { ask, pictures } }: Judged): number =>
  ask.kind === 'yesno' ? 2 : ask.kind === 'choice' ? ask.options.length : ask.kind === 'pick' ? pictures.length : 0;

/** Temperature from one half of the clusters, calibration of the other half under it. */
function scaled(
  rows: readonly Judged[],
  { seed }: MeasureOptions,
  result: (metric: string, value: number | null, n: number) => Result,
): Result[] {
  if (!rows.every((row) => optionsOf(row) === 2 && row.scored.margin !== null)) return [];
  const clusters = clustersOf(rows);
  const rng = philox(seed, 'calibration-halves');
  const half = Array.from({ length: Math.max(...clusters) + 1 }, () => rng.uniform() < 0.5);
  const [validation, test] = [true, false].map((side) => rows.filter((_, i) => half[clusters[i]] === side));
  if (Math.min(validation.length, test.length) < FEWEST / 2) return [];
  const marginOf = ({ scored }: Judged) => scored.margin as number;
  const temperature = fitTemperature(validation.map((row) => ({ scores: [marginOf(row), 0], gold: 0 })));
  if (temperature === null) return [];
  const confidence = test.map((row) => 1 / (1 + Math.exp(-Math.abs(marginOf(row)) / temperature)));
  const correct = test.map(({ scored }) => scored.correct);
  return [
    result('temperature', temperature, validation.length),
    result('ece-scaled', ece(confidence, correct), test.length),
  ];
}
