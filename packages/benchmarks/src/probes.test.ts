import { philox } from '@fovea/tensor/random';
import { describe, expect, it } from 'vitest';
import { runProbes, splitByCluster } from './probes.ts';
import { addGram, cholesky, choleskySolve, quadraticForm, ridgeWeights } from './ridge.ts';
import { percentileInterval, rSquared } from './statistics.ts';

describe('ridge', () => {
  it('solves a system done by hand', () => {
    // X = [[1, 0], [1, 1], [0, 2]], y = [1, 2, 3]: XᵀX = [[2, 1], [1, 5]], Xᵀy = [3, 8]; with penalty 1
    // [[3, 1], [1, 6]]·w = [3, 8] has w = [10, 21] / 17.
    const x = Float64Array.of(1, 0, 1, 1, 0, 2);
    const gram = new Float64Array(4);
    addGram(gram, x, 2, [0, 1, 2]);
    expect([...gram]).toEqual([2, 0, 1, 5]);
    const w = ridgeWeights(gram, Float64Array.of(3, 8), 2, 1);
    expect(w[0]).toBeCloseTo(10 / 17, 14);
    expect(w[1]).toBeCloseTo(21 / 17, 14);
    // Without penalty it is least squares: w = [7, 13] / 9.
    const free = ridgeWeights(gram, Float64Array.of(3, 8), 2, 0);
    expect(free[0]).toBeCloseTo(7 / 9, 14);
    expect(free[1]).toBeCloseTo(13 / 9, 14);
    expect(quadraticForm(gram, Float64Array.of(2, 3), 2)).toBe(2 * 4 + 2 * 6 + 5 * 9);
  });

  it('factors and solves a larger random system', () => {
    const d = 40;
    const rng = philox(1, 'spd');
    const x = Float64Array.from({ length: 60 * d }, () => rng.normal());
    const gram = new Float64Array(d * d);
    addGram(
      gram,
      x,
      d,
      Array.from({ length: 60 }, (_, i) => i),
    );
    const truth = Float64Array.from({ length: d }, () => rng.normal());
    const rhs = new Float64Array(d);
    for (let i = 0; i < d; i++)
      for (let j = 0; j < d; j++) rhs[i] += gram[Math.max(i, j) * d + Math.min(i, j)] * truth[j];
    const solved = choleskySolve(cholesky(gram.slice(), d), d, rhs);
    solved.forEach((v, i) => {
      expect(v).toBeCloseTo(truth[i], 8);
    });
  });

  it('refuses a matrix that is not positive definite', () => {
    expect(() => cholesky(Float64Array.of(1, 0, 2, 1), 2)).toThrow(/not positive definite/);
    expect(() => cholesky(Float64Array.of(Number.NaN), 1)).toThrow(RangeError);
  });
});

const CLUSTERS = 80;
const PER = 5;
const D = 16;
const clusters = Array.from({ length: CLUSTERS * PER }, (_, i) => Math.floor(i / PER));

function features(stream: string): Float32Array {
  const rng = philox(4, stream);
  return Float32Array.from({ length: clusters.length * D }, () => rng.normal());
}

const bootstrap = { count: 1000, seed: 7 };

function evaluate(x: Float32Array, values: Float64Array, columns = 1) {
  const run = runProbes(x, D, clusters, [{ name: 'target', columns, values }], 7);
  const [{ error, baseline, lambda }] = run.outcomes;
  const scored = rSquared(
    { columns, error: [...error], baseline: [...baseline] },
    run.test.map((row) => clusters[row]),
    bootstrap,
  );
  return { value: scored!.value, ci: percentileInterval(scored!.draws), lambda };
}

describe('probes', () => {
  it('split whole clusters into halves, always the same', () => {
    const { train, test, folds } = splitByCluster(clusters, 7);
    expect(train.length + test.length).toBe(clusters.length);
    const trained = new Set([...train].map((row) => clusters[row]));
    expect([...test].every((row) => !trained.has(clusters[row]))).toBe(true);
    const foldOf = new Map<number, number>();
    train.forEach((row, i) => {
      expect(foldOf.get(clusters[row]) ?? folds[i]).toBe(folds[i]);
      foldOf.set(clusters[row], folds[i]);
    });
    expect(new Set(folds).size).toBe(5);
    expect(splitByCluster(clusters, 7)).toEqual({ train, test, folds });
    expect(splitByCluster(clusters, 8).test).not.toEqual(test);
    expect(() => splitByCluster([0, 1, 2], 1)).toThrow(/clusters/);
  });

  it('find a linear target whatever the features’ scale and offset', () => {
    const x = features('x');
    const y = Float64Array.from(clusters, (_, row) => 3 * x[row * D] - 2 * x[row * D + 5] + 10);
    const stretched = x.map((v, i) => v * 2 ** ((i % D) - 8) + 4 * (i % D));
    expect(evaluate(x, y).value).toBeGreaterThan(0.999);
    expect(evaluate(stretched, y).value).toBeGreaterThan(0.99);
  });

  it('find nothing in random features: the interval mostly holds 0', () => {
    let holds = 0;
    for (let trial = 0; trial < 40; trial++) {
      const rng = philox(5, 'noise', trial);
      const { ci, value } = evaluate(
        features(`random-${trial}`),
        Float64Array.from(clusters, () => rng.normal()),
      );
      expect(Math.abs(value)).toBeLessThan(0.15);
      if (ci[0] <= 0 && ci[1] >= 0) holds++;
    }
    // About nine of ten, not 95 of 100: the interval holds the luck of the test half, not that of the train half.
    expect(holds).toBeGreaterThanOrEqual(30);
  }, 20_000);

  it('mean the R² of several columns and choose a penalty for each', () => {
    const x = features('x');
    const rng = philox(6, 'noise');
    const y = new Float64Array(2 * clusters.length);
    for (let row = 0; row < clusters.length; row++) {
      y[2 * row] = x[row * D];
      y[2 * row + 1] = rng.normal();
    }
    const { value, lambda } = evaluate(x, y, 2);
    expect(value).toBeGreaterThan(0.4);
    expect(value).toBeLessThan(0.6);
    expect(lambda[0]).toBeLessThan(lambda[1]);
  });

  it('leave out features that never vary', () => {
    const x = features('x').map((v, i) => (i % D === 3 ? 0.25 : v));
    const y = Float64Array.from(clusters, (_, row) => x[row * D]);
    expect(evaluate(x, y).value).toBeGreaterThan(0.999);
  });
});
