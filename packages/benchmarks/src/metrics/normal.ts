// The standard normal distribution and its quantiles, to about fourteen digits. Nothing else; d′ and power need it.

const ROOT_TAU = Math.sqrt(2 * Math.PI);

/** Φ(x), the probability of a value below x. */
export function normalCdf(x: number): number {
  if (Number.isNaN(x)) return x;
  if (x > 0) return 1 - normalCdf(-x);
  if (x < -38) return 0;
  const density = Math.exp((-x * x) / 2) / ROOT_TAU;
  return x > -4 ? 0.5 + density * series(x) : density * tail(-x);
}

/** x + x³⁄3 + x⁵⁄(3·5) + … (Marsaglia 2004). */
function series(x: number): number {
  let term = x;
  let sum = x;
  for (let k = 3; Math.abs(term) > 1e-17 * Math.abs(sum); k += 2) {
    term *= (x * x) / k;
    sum += term;
  }
  return sum;
}

/** Mills' ratio by Laplace's continued fraction: 1⁄(x + 1⁄(x + 2⁄(x + …))). */
function tail(x: number): number {
  let fraction = x;
  for (let k = 80; k >= 1; k--) fraction = x + k / fraction;
  return 1 / fraction;
}

/** The z with Φ(z) = p; ±∞ at 1 and 0. */
export function normalQuantile(p: number): number {
  if (!(p >= 0 && p <= 1)) return Number.NaN;
  if (p === 0 || p === 1) return p === 0 ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  if (p > 0.5) return -normalQuantile(1 - p);
  // Abramowitz & Stegun 26.2.23 to 4.5e−4, then Halley's steps.
  const t = Math.sqrt(-2 * Math.log(p));
  let z = (2.515517 + t * (0.802853 + t * 0.010328)) / (1 + t * (1.432788 + t * (0.189269 + t * 0.001308))) - t;
  for (let step = 0; step < 3; step++) {
    const error = ((normalCdf(z) - p) * ROOT_TAU) / Math.exp((-z * z) / 2);
    z -= error / (1 + (z * error) / 2);
  }
  return z;
}
