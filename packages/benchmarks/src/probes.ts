// Linear probes: what a frozen feature says about things that no caption mentions. Ridge regression on half of the
// clusters, R² on the other half. Nothing here touches the encoder; features and targets are given.

import { permutation } from '@fovea/tensor/random';
import { fitRidge, standardise } from './ridge-fit.ts';

/** One thing to read off the features; several columns are averaged, as red, green and blue of the background. */
export interface ProbeTarget {
  name: string;
  columns: number;
  /** [n, columns] */
  values: Float64Array;
}

/** Squared errors on the test half: of the probe, and of always answering the train half's mean. */
export interface ProbeOutcome {
  name: string;
  columns: number;
  /** [test, columns] */
  error: Float64Array;
  /** [test, columns] */
  baseline: Float64Array;
  /** Penalty per train row that was chosen, per column. */
  lambda: number[];
}

export interface ProbeRun {
  /** Rows that were tested, ascending. */
  test: Int32Array;
  outcomes: ProbeOutcome[];
}

const FOLDS = 5;
/** Clusters that probes need in each half, so that halves and folds are never empty. */
export const MIN_CLUSTERS = 2 * FOLDS;

/**
 * Fits and tests one probe per target. Whole clusters fall into the train or the test half and into one fold, so that
 * no concept is on both sides. Features [n, d] are standardised with the train half's mean and deviation.
 */
export function runProbes(
  features: Float32Array,
  d: number,
  clusters: ArrayLike<number>,
  targets: ProbeTarget[],
  seed: number,
): ProbeRun {
  const { train, test, folds } = splitByCluster(clusters, seed);
  const { x } = standardise(features, d, train);
  const columns = targets.flatMap((target) =>
    Array.from({ length: target.columns }, (_, c) => column(target, c, clusters.length, train)),
  );
  const { weights, lambdas } = fitRidge(x, d, columns, { rows: train, folds, count: FOLDS });
  let at = 0;
  const outcomes = targets.map((target) => {
    const error = new Float64Array(test.length * target.columns);
    const baseline = new Float64Array(test.length * target.columns);
    for (let c = 0; c < target.columns; c++) {
      const y = columns[at + c];
      const w = weights[at + c];
      test.forEach((row, i) => {
        let guess = 0;
        for (let k = 0; k < d; k++) guess += x[row * d + k] * w[k];
        error[i * target.columns + c] = (y[row] - guess) ** 2;
        baseline[i * target.columns + c] = y[row] ** 2;
      });
    }
    const outcome = {
      name: target.name,
      columns: target.columns,
      error,
      baseline,
      lambda: lambdas.slice(at, at + target.columns),
    };
    at += target.columns;
    return outcome;
  });
  return { test, outcomes };
}

/** Halves and folds by cluster; the order of clusters is drawn from the seed. */
export function splitByCluster(
  clusters: ArrayLike<number>,
  seed: number,
): { train: Int32Array; test: Int32Array; folds: Int32Array } {
  const names = [...new Set(Array.from(clusters))].sort((a, b) => a - b);
  if (names.length < MIN_CLUSTERS) throw new RangeError(`Probes need ${MIN_CLUSTERS} clusters, got ${names.length}.`);
  const order = permutation(names.length, seed, 'probe-halves');
  const place = new Map(names.map((name, i) => [name, order[i]]));
  const half = Math.floor(names.length / 2);
  const train: number[] = [];
  const test: number[] = [];
  const folds: number[] = [];
  for (let row = 0; row < clusters.length; row++) {
    const at = place.get(clusters[row]) as number;
    if (at < half) {
      train.push(row);
      folds.push(at % FOLDS);
    } else {
      test.push(row);
    }
  }
  return { train: Int32Array.from(train), test: Int32Array.from(test), folds: Int32Array.from(folds) };
}

/** One target column minus its train mean. */
function column(target: ProbeTarget, c: number, n: number, train: Int32Array): Float64Array {
  const y = Float64Array.from({ length: n }, (_, row) => target.values[row * target.columns + c]);
  let mean = 0;
  for (const row of train) mean += y[row] / train.length;
  return y.map((v) => v - mean);
}
