// Linear probes: what a frozen feature says about things that no caption mentions. Ridge regression on half of the
// clusters, R² on the other half. Nothing here touches the encoder; features and targets are given.

import { permutation } from '@fovea/tensor/random';
import { addGram, choleskySolve, factorPenalised, quadraticForm } from './ridge.ts';

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

/** Penalties per train row that are tried, on standardised features. */
export const LAMBDAS = [1e-4, 1e-3, 1e-2, 1e-1, 1, 10, 100, 1000] as const;
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
  const x = standardise(features, d, train);
  const columns = targets.flatMap((target) =>
    Array.from({ length: target.columns }, (_, c) => column(target, c, clusters.length, train)),
  );
  const inFold = (f: number) => train.filter((_, i) => folds[i] === f);
  const parts = Array.from({ length: FOLDS }, (_, f) => momentsOf(x, d, columns, inFold(f)));
  const lambdas = chooseLambdas(parts, d);
  const weights = fitAll(total(parts), d, lambdas);
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

/** Features as doubles with the train rows' mean 0 and deviation 1; a feature that never varies there becomes 0. */
function standardise(features: Float32Array, d: number, train: Int32Array): Float64Array {
  const mean = new Float64Array(d);
  const square = new Float64Array(d);
  for (const row of train) for (let k = 0; k < d; k++) mean[k] += features[row * d + k] / train.length;
  for (const row of train)
    for (let k = 0; k < d; k++) square[k] += (features[row * d + k] - mean[k]) ** 2 / train.length;
  const scale = square.map((v) => (v > 1e-16 ? 1 / Math.sqrt(v) : 0));
  const x = new Float64Array(features.length);
  for (let i = 0; i < x.length; i++) x[i] = (features[i] - mean[i % d]) * scale[i % d];
  return x;
}

/** One target column minus its train mean. */
function column(target: ProbeTarget, c: number, n: number, train: Int32Array): Float64Array {
  const y = Float64Array.from({ length: n }, (_, row) => target.values[row * target.columns + c]);
  let mean = 0;
  for (const row of train) mean += y[row] / train.length;
  return y.map((v) => v - mean);
}

/** XᵀX and the Xᵀy of every column, over some rows. */
interface Moments {
  rows: number;
  gram: Float64Array;
  rhs: Float64Array[];
}

function momentsOf(x: Float64Array, d: number, columns: Float64Array[], rows: Int32Array): Moments {
  const gram = new Float64Array(d * d);
  addGram(gram, x, d, rows);
  const rhs = columns.map((y) => {
    const out = new Float64Array(d);
    for (const row of rows) for (let k = 0; k < d; k++) out[k] += x[row * d + k] * y[row];
    return out;
  });
  return { rows: rows.length, gram, rhs };
}

function total(parts: Moments[]): Moments {
  return {
    rows: parts.reduce((n, part) => n + part.rows, 0),
    gram: sum(parts.map((part) => part.gram)),
    rhs: parts[0].rhs.map((_, c) => sum(parts.map((part) => part.rhs[c]))),
  };
}

/**
 * Cross-validated penalty per column; among equals the stronger one. Not the one-standard-error rule: it holds noise at
 * R² 0 a little better, but jumps between penalties, and then two models of one skill differ.
 */
function chooseLambdas(parts: Moments[], d: number): number[] {
  const columns = parts[0].rhs.length;
  const loss = Array.from({ length: columns }, () => new Float64Array(LAMBDAS.length));
  parts.forEach((held, f) => {
    const rest = total(parts.filter((_, i) => i !== f));
    LAMBDAS.forEach((lambda, at) => {
      const factor = factorPenalised(rest.gram, d, lambda * rest.rows);
      for (let c = 0; c < columns; c++) {
        const w = choleskySolve(factor, d, rest.rhs[c].slice());
        // Σ(y − x·w)² without Σy², which is the same for every penalty.
        let cross = 0;
        for (let k = 0; k < d; k++) cross += w[k] * held.rhs[c][k];
        loss[c][at] += quadraticForm(held.gram, w, d) - 2 * cross;
      }
    });
  });
  return loss.map((row) => LAMBDAS[row.reduce((best, v, at) => (v <= row[best] ? at : best), 0)]);
}

function fitAll({ rows, gram, rhs }: Moments, d: number, lambdas: number[]): Float64Array[] {
  const factors = new Map<number, Float64Array>();
  return rhs.map((side, c) => {
    const lambda = lambdas[c];
    let factor = factors.get(lambda);
    if (!factor) factors.set(lambda, (factor = factorPenalised(gram, d, lambda * rows)));
    return choleskySolve(factor, d, side.slice());
  });
}

function sum(arrays: Float64Array[]): Float64Array {
  const out = new Float64Array(arrays[0].length);
  for (const array of arrays) for (let i = 0; i < out.length; i++) out[i] += array[i];
  return out;
}
