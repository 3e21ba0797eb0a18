// Statistics of what the load and network proofs measure: quantiles of latencies, and whether a series rises.

/** The q-quantile by the nearest rank; NaN of nothing. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)] ?? Number.NaN;
}

export const mean = (values: readonly number[]): number => values.reduce((sum, x) => sum + x, 0) / values.length;

export interface Slope {
  /** Units of the series a minute. */
  perMinute: number;
  /** Half the width of the 95 % interval. */
  plusMinus: number;
  /** Blocks that the line was laid through. */
  n: number;
}

/** 97.5 % points of Student's t by degrees of freedom; beyond these the normal one does. */
const T = [12.71, 4.3, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.2, 2.18, 2.16, 2.14, 2.13, 2.12, 2.11, 2.1];

/**
 * Least squares through the means of blocks of `block` seconds, since neighbouring samples are not independent. `points`
 * are [seconds, value].
 */
export function slope(points: readonly (readonly [number, number])[], block: number): Slope {
  const blocks = new Map<number, [number, number][]>();
  for (const [at, value] of points) {
    const key = Math.floor(at / block);
    blocks.set(key, [...(blocks.get(key) ?? []), [at, value]]);
  }
  const xs = [...blocks.values()].map((each) => mean(each.map(([at]) => at / 60)));
  const ys = [...blocks.values()].map((each) => mean(each.map(([, value]) => value)));
  const n = xs.length;
  if (n < 3) return { perMinute: Number.NaN, plusMinus: Number.NaN, n };
  const [mx, my] = [mean(xs), mean(ys)];
  const sxx = xs.reduce((sum, x) => sum + (x - mx) ** 2, 0);
  const b = xs.reduce((sum, x, i) => sum + (x - mx) * (ys[i] - my), 0) / sxx;
  const rest = ys.reduce((sum, y, i) => sum + (y - my - b * (xs[i] - mx)) ** 2, 0);
  return { perMinute: b, plusMinus: (T[n - 3] ?? 1.96) * Math.sqrt(rest / (n - 2) / sxx), n };
}
