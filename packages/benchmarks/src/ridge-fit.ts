// Ridge regression of many columns on one set of features: one Gram matrix per fold, penalties chosen by cross-validation
// over whole folds. What is fitted on what, and who is tested, is for the callers to say.

import { addGram, choleskySolve, factorPenalised, quadraticForm } from './ridge.ts';

/** Penalties per train row that are tried, on standardised features. */
export const LAMBDAS = [1e-4, 1e-3, 1e-2, 1e-1, 1, 10, 100, 1000] as const;

export interface Folds {
  /** Rows to fit on. */
  rows: Int32Array;
  /** Fold of each of `rows`, 0 … count − 1; folds hold whole clusters. */
  folds: ArrayLike<number>;
  count: number;
}

export interface RidgeFit {
  /** [d] per column. */
  weights: Float64Array[];
  /** Chosen penalty per row, per column. */
  lambdas: number[];
  /** Mean squared error of the held-out folds under it, per column. */
  variance: number[];
}

/** Fits every column [n] of targets, centred on `rows`, to standardised features `x` [n, d]. */
export function fitRidge(x: Float64Array, d: number, columns: Float64Array[], { rows, folds, count }: Folds): RidgeFit {
  const inFold = (f: number) => rows.filter((_, i) => folds[i] === f);
  const parts = Array.from({ length: count }, (_, f) => momentsOf(x, d, columns, inFold(f)));
  const { lambdas, loss } = chooseLambdas(parts, d);
  const square = columns.map((y) => rows.reduce((sum, row) => sum + y[row] ** 2, 0));
  return {
    weights: fitAll(total(parts), d, lambdas),
    lambdas,
    variance: loss.map((value, c) => Math.max(0, value + square[c]) / rows.length),
  };
}

/** Features as doubles with the train rows' mean 0 and deviation 1; a feature that never varies there becomes 0. */
export function standardise(
  features: Float32Array,
  d: number,
  train: ArrayLike<number> & Iterable<number>,
): { x: Float64Array; mean: Float64Array; scale: Float64Array } {
  const mean = new Float64Array(d);
  const square = new Float64Array(d);
  for (const row of train) for (let k = 0; k < d; k++) mean[k] += features[row * d + k] / train.length;
  for (const row of train)
    for (let k = 0; k < d; k++) square[k] += (features[row * d + k] - mean[k]) ** 2 / train.length;
  const scale = square.map((v) => (v > 1e-16 ? 1 / Math.sqrt(v) : 0));
  const x = new Float64Array(features.length);
  for (let i = 0; i < x.length; i++) x[i] = (features[i] - mean[i % d]) * scale[i % d];
  return { x, mean, scale };
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
function chooseLambdas(parts: Moments[], d: number): { lambdas: number[]; loss: number[] } {
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
  const best = loss.map((row) => row.reduce((at, v, i) => (v <= row[at] ? i : at), 0));
  return { lambdas: best.map((at) => LAMBDAS[at]), loss: best.map((at, c) => loss[c][at]) };
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
