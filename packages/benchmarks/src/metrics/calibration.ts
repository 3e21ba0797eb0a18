// Whether a subject knows when it is right: confidences against outcomes. Pure functions over arrays; what a confidence
// is (σ of a margin, a softmax) and which items count is the caller's.

/** One bin of a reliability diagram; means are null where it is empty. */
export interface Bin {
  low: number;
  high: number;
  n: number;
  /** Mean confidence. */
  confidence: number | null;
  /** Share that was right. */
  accuracy: number | null;
}

/** Bins of the specification. */
export const BINS = 15;

/** Equal-width bins (low, high] over [0, 1]; a confidence of 0 falls into the first (Guo et al. 2017). */
export function equalWidthBins(confidence: ArrayLike<number>, correct: ArrayLike<number>, bins = BINS): Bin[] {
  return binned(confidence, correct, bins, (value) => {
    let at = Math.min(bins - 1, Math.max(0, Math.ceil(value * bins) - 1));
    // The product may round across an edge that the quotient defines.
    if (at > 0 && value <= at / bins) at--;
    else if (at < bins - 1 && value > (at + 1) / bins) at++;
    return at;
  }).map((bin, k) => ({ ...bin, low: k / bins, high: (k + 1) / bins }));
}

/**
 * Bins of nearly equal counts by rank (Nixon et al. 2019). Equal confidences share their mean rank and so a bin, which
 * keeps the result free of the items' order. `low` and `high` are the least and greatest confidence inside.
 */
export function equalMassBins(confidence: ArrayLike<number>, correct: ArrayLike<number>, bins = BINS): Bin[] {
  const n = confidence.length;
  const of = new Map<number, number>();
  for (const { from, to, value } of ties(confidence)) {
    of.set(value, Math.min(bins - 1, Math.floor((((from + to) / 2) * bins) / n)));
  }
  return binned(confidence, correct, bins, (value) => of.get(value) as number);
}

function binned(
  confidence: ArrayLike<number>,
  correct: ArrayLike<number>,
  bins: number,
  binOf: (value: number) => number,
): Bin[] {
  const rows = Array.from({ length: bins }, () => ({ n: 0, confidence: 0, right: 0, low: 1, high: 0 }));
  for (let i = 0; i < confidence.length; i++) {
    const row = rows[binOf(confidence[i])];
    row.n++;
    row.confidence += confidence[i];
    row.right += correct[i];
    row.low = Math.min(row.low, confidence[i]);
    row.high = Math.max(row.high, confidence[i]);
  }
  return rows.map(({ n, low, high, confidence: sum, right }) => ({
    low: n === 0 ? 0 : low,
    high,
    n,
    confidence: n === 0 ? null : sum / n,
    accuracy: n === 0 ? null : right / n,
  }));
}

/** Runs of equal values in ascending order, as half-open ranges of ranks. */
function ties(values: ArrayLike<number>): { from: number; to: number; value: number }[] {
  const sorted = Float64Array.from(values).sort();
  const runs: { from: number; to: number; value: number }[] = [];
  for (let from = 0; from < sorted.length; ) {
    let to = from + 1;
    while (to < sorted.length && sorted[to] === sorted[from]) to++;
    runs.push({ from, to, value: sorted[from] });
    from = to;
  }
  return runs;
}

/** Σ (n_b ⁄ N) · |accuracy_b − confidence_b|; null without items. */
export function calibrationError(bins: readonly Bin[]): number | null {
  const n = bins.reduce((sum, bin) => sum + bin.n, 0);
  if (n === 0) return null;
  return bins.reduce((sum, bin) => sum + (bin.n / n) * Math.abs((bin.accuracy ?? 0) - (bin.confidence ?? 0)), 0);
}

/** Expected calibration error over equal-width bins. */
export function ece(confidence: ArrayLike<number>, correct: ArrayLike<number>, bins = BINS): number | null {
  return calibrationError(equalWidthBins(confidence, correct, bins));
}

/** Expected calibration error over bins of equal mass. */
export function eceEqualMass(confidence: ArrayLike<number>, correct: ArrayLike<number>, bins = BINS): number | null {
  return calibrationError(equalMassBins(confidence, correct, bins));
}

/** Mean of (confidence − outcome)² (Brier 1950); null without items. */
export function brier(confidence: ArrayLike<number>, correct: ArrayLike<number>): number | null {
  return mean(confidence.length, (i) => (confidence[i] - correct[i]) ** 2);
}

/** Mean −ln of the probability given to what came true; confidences are kept 1e−12 away from 0 and 1. */
export function nll(confidence: ArrayLike<number>, correct: ArrayLike<number>): number | null {
  return mean(confidence.length, (i) => {
    const p = Math.min(1 - 1e-12, Math.max(1e-12, confidence[i]));
    return -Math.log(correct[i] ? p : 1 - p);
  });
}

function mean(n: number, of: (i: number) => number): number | null {
  if (n === 0) return null;
  let sum = 0;
  for (let i = 0; i < n; i++) sum += of(i);
  return sum / n;
}

/** Risk (share wrong) where the `coverage` most confident share is answered. */
export interface RiskPoint {
  coverage: number;
  risk: number;
  /** Least confidence that is answered. */
  threshold: number;
}

/** One point per distinct confidence, from the most confident to all; coverage 1 has the error rate. */
export function riskCoverage(confidence: ArrayLike<number>, correct: ArrayLike<number>): RiskPoint[] {
  const n = confidence.length;
  const wrong = wrongByValue(confidence, correct);
  let errors = 0;
  return ties(confidence)
    .reverse()
    .map(({ from, value }) => {
      errors += wrong.get(value) as number;
      return { coverage: (n - from) / n, risk: errors / (n - from), threshold: value };
    });
}

/**
 * Area under the risk–coverage curve: mean risk of the k most confident, k = 1…n (Geifman & El-Yaniv 2017). Equal
 * confidences are taken in the mean of their orders, so a constant confidence gives the error rate. Null without items.
 */
export function aurc(confidence: ArrayLike<number>, correct: ArrayLike<number>): number | null {
  const n = confidence.length;
  const wrong = wrongByValue(confidence, correct);
  let [errors, taken, sum] = [0, 0, 0];
  for (const { from, to, value } of ties(confidence).reverse()) {
    const rate = (wrong.get(value) as number) / (to - from);
    for (let k = 0; k < to - from; k++) {
      errors += rate;
      taken++;
      sum += errors / taken;
    }
  }
  return n === 0 ? null : sum / n;
}

function wrongByValue(confidence: ArrayLike<number>, correct: ArrayLike<number>): Map<number, number> {
  const wrong = new Map<number, number>();
  for (let i = 0; i < confidence.length; i++) {
    wrong.set(confidence[i], (wrong.get(confidence[i]) ?? 0) + (correct[i] ? 0 : 1));
  }
  return wrong;
}

/** Scores of all options of one item and which is right. */
export interface Logits {
  scores: ArrayLike<number>;
  gold: number;
}

/** Ends of the search; a subject that is always right has no best temperature and gets the lower one. */
export const TEMPERATURES = [0.01, 100] as const;

/**
 * The temperature T that minimises the mean −ln softmax(scores ⁄ T)[gold] (Guo et al. 2017). The loss is convex in
 * 1 ⁄ T, whose zero slope is found by bisection. Fit it on a validation part, never on what is reported. Null without items.
 */
export function fitTemperature(items: readonly Logits[]): number | null {
  if (items.length === 0) return null;
  const slope = (inverse: number) => items.reduce((sum, item) => sum + slopeOf(item, inverse), 0);
  let [low, high] = [1 / TEMPERATURES[1], 1 / TEMPERATURES[0]];
  if (slope(low) >= 0) return TEMPERATURES[1];
  if (slope(high) <= 0) return TEMPERATURES[0];
  for (let step = 0; step < 60; step++) {
    const middle = Math.sqrt(low * high);
    if (slope(middle) < 0) low = middle;
    else high = middle;
  }
  return 1 / Math.sqrt(low * high);
}

/** Mean score under softmax(inverse · scores), less the right one's. */
function slopeOf({ scores, gold }: Logits, inverse: number): number {
  let top = Number.NEGATIVE_INFINITY;
  for (let k = 0; k < scores.length; k++) top = Math.max(top, scores[k]);
  let [total, weighted] = [0, 0];
  for (let k = 0; k < scores.length; k++) {
    const weight = Math.exp(inverse * (scores[k] - top));
    total += weight;
    weighted += weight * scores[k];
  }
  return weighted / total - scores[gold];
}
