// Ridge regression on a Gram matrix with its own small Cholesky factorisation. Double precision, dense, a few hundred
// features; not a linear-algebra library. The probes are built on it.

/**
 * In-place Cholesky factor L (lower, row-major [d, d]) of a symmetric positive definite matrix; reads the lower half.
 * Throws a RangeError when the matrix is not positive definite.
 */
export function cholesky(a: Float64Array, d: number): Float64Array {
  for (let i = 0; i < d; i++) {
    const rowI = i * d;
    for (let j = 0; j <= i; j++) {
      const rowJ = j * d;
      let sum = a[rowI + j];
      for (let k = 0; k < j; k++) sum -= a[rowI + k] * a[rowJ + k];
      if (i === j) {
        if (!(sum > 0)) throw new RangeError(`Matrix is not positive definite at row ${i}.`);
        a[rowI + i] = Math.sqrt(sum);
      } else {
        a[rowI + j] = sum / a[rowJ + j];
      }
    }
  }
  return a;
}

/** Solves L·Lᵀ·x = b for one right side, in place on `b` [d]. */
export function choleskySolve(l: Float64Array, d: number, b: Float64Array): Float64Array {
  for (let i = 0; i < d; i++) {
    let sum = b[i];
    for (let k = 0; k < i; k++) sum -= l[i * d + k] * b[k];
    b[i] = sum / l[i * d + i];
  }
  for (let i = d - 1; i >= 0; i--) {
    let sum = b[i];
    for (let k = i + 1; k < d; k++) sum -= l[k * d + i] * b[k];
    b[i] = sum / l[i * d + i];
  }
  return b;
}

/** The factor of gram + penalty·I; `gram` [d, d] is left as it is. */
export function factorPenalised(gram: Float64Array, d: number, penalty: number): Float64Array {
  const a = gram.slice();
  for (let i = 0; i < d; i++) a[i * d + i] += penalty;
  return cholesky(a, d);
}

/** Weights w of ridge regression, (XᵀX + penalty·I)·w = Xᵀy, from `gram` = XᵀX [d, d] and `rhs` = Xᵀy [d]. */
export function ridgeWeights(gram: Float64Array, rhs: Float64Array, d: number, penalty: number): Float64Array {
  return choleskySolve(factorPenalised(gram, d, penalty), d, rhs.slice());
}

/** Adds xᵀx (lower half) of the given rows of `x` [n, d] to `gram` [d, d]. */
export function addGram(gram: Float64Array, x: Float64Array, d: number, rows: ArrayLike<number>): void {
  for (let r = 0; r < rows.length; r++) {
    const at = rows[r] * d;
    for (let i = 0; i < d; i++) {
      const xi = x[at + i];
      if (xi === 0) continue;
      const row = i * d;
      for (let j = 0; j <= i; j++) gram[row + j] += xi * x[at + j];
    }
  }
}

/** wᵀ·G·w for a symmetric `gram` [d, d] of which the lower half is filled. */
export function quadraticForm(gram: Float64Array, w: Float64Array, d: number): number {
  let total = 0;
  for (let i = 0; i < d; i++) {
    const row = i * d;
    let sum = 0;
    for (let j = 0; j < i; j++) sum += gram[row + j] * w[j];
    total += w[i] * (2 * sum + gram[row + i] * w[i]);
  }
  return total;
}
