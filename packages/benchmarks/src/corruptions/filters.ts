// Filters that corruptions are made of, over rows of interleaved numbers in double precision: Gaussian blur as SciPy
// sums it, linear zoom, a trail of motion, a small kernel. What a picture means is no matter here.

import type { Rgb8 } from '@fovea/data';

/** Numbers over a grid: [height, width, channels], interleaved. */
export interface Grid {
  height: number;
  width: number;
  channels: number;
  data: Float32Array | Float64Array;
}

/** 8 bits as numbers in [0, 1]. */
export function unit({ width, height, data }: Rgb8): Grid & { data: Float64Array } {
  const out = new Float64Array(data.length);
  for (let i = 0; i < out.length; i++) out[i] = data[i] / 255;
  return { width, height, channels: 3, data: out };
}

/** Numbers in [0, 1] as 8 bits: clipped, then cut off and not rounded, which is what the published pictures went through. */
export function bytes({ width, height, data }: Grid): Rgb8 {
  const out = new Uint8Array(data.length);
  for (let i = 0; i < out.length; i++) out[i] = Math.min(1, Math.max(0, data[i])) * 255;
  return { width, height, data: out };
}

/** What lies beyond an edge: the edge itself (`clamp`), the picture from the edge on (`reflect`: b a | a b), or without it (`mirror`: c b | a b c). */
export type Beyond = 'clamp' | 'reflect' | 'mirror';

/** The position inside [0, n) that stands for `i`. */
export function inside(i: number, n: number, beyond: Beyond): number {
  if (i >= 0 && i < n) return i;
  if (beyond === 'clamp' || n === 1) return i < 0 ? 0 : n - 1;
  const period = beyond === 'reflect' ? 2 * n : 2 * n - 2;
  const at = ((i % period) + period) % period;
  if (at < n) return at;
  return beyond === 'reflect' ? period - 1 - at : period - at;
}

/** Half of a normalised Gaussian: the middle first, `radius` + 1 weights. */
function gaussianWeights(sigma: number, radius: number): Float64Array {
  const weights = new Float64Array(radius + 1);
  for (let i = 0; i <= radius; i++) weights[i] = Math.exp((-0.5 / (sigma * sigma)) * i * i);
  const sum = weights[0] + 2 * weights.subarray(1).reduce((a, b) => a + b, 0);
  return weights.map((w) => w / sum);
}

/**
 * Gaussian blur, down the columns and then along the rows. `sigma` in pixels: of rows and columns where they differ.
 * The kernel ends at `truncate` · σ.
 */
export function gaussianBlur(
  grid: Grid,
  sigma: number | readonly [number, number],
  { beyond = 'clamp', truncate = 4 }: { beyond?: Beyond; truncate?: number } = {},
): Grid & { data: Float64Array } {
  const [down, along] = typeof sigma === 'number' ? [sigma, sigma] : sigma;
  const { height, width, channels } = grid;
  const stride = width * channels;
  const data = new Float64Array(height * stride);
  const vertical = gaussianWeights(down, Math.trunc(truncate * down + 0.5));
  for (let y = 0; y < height; y++) {
    weigh(data, y * stride, stride, vertical, grid.data, (j) => inside(y + j, height, beyond) * stride);
  }
  const horizontal = gaussianWeights(along, Math.trunc(truncate * along + 0.5));
  const radius = horizontal.length - 1;
  const line = new Float64Array((width + 2 * radius) * channels);
  for (let y = 0; y < height; y++) {
    for (let x = -radius; x < width + radius; x++) {
      const from = y * stride + inside(x, width, beyond) * channels;
      for (let c = 0; c < channels; c++) line[(x + radius) * channels + c] = data[from + c];
    }
    weigh(data, y * stride, stride, horizontal, line, (j) => (radius + j) * channels);
  }
  return { height, width, channels, data };
}

/** out[start + k] = Σ_j weights[|j|] · from[at(j) + k], the middle first and then from the ends inwards, as SciPy adds. */
function weigh(
  out: Float64Array,
  start: number,
  count: number,
  weights: Float64Array,
  from: Float32Array | Float64Array,
  at: (j: number) => number,
): void {
  const middle = at(0);
  for (let k = 0; k < count; k++) out[start + k] = from[middle + k] * weights[0];
  for (let j = weights.length - 1; j > 0; j--) {
    const [left, right, weight] = [at(-j), at(j), weights[j]];
    for (let k = 0; k < count; k++) out[start + k] += (from[left + k] + from[right + k]) * weight;
  }
}

/** The middle of `grid` enlarged by `factor` without the rest, linear between pixels; a little over `grid`'s size. */
export function zoomMiddle(grid: Grid, factor: number): Grid & { data: Float32Array } {
  const { channels } = grid;
  const rows = zoomTaps(grid.height, factor);
  const columns = zoomTaps(grid.width, factor);
  const [height, width] = [rows.length, columns.length];
  const data = new Float32Array(height * width * channels);
  let out = 0;
  for (const { at: y, part: v } of rows) {
    const top = y * grid.width * channels;
    const bottom = v === 0 ? top : top + grid.width * channels;
    for (const { at: x, part: u } of columns) {
      const left = x * channels;
      const right = u === 0 ? left : left + channels;
      for (let c = 0; c < channels; c++) {
        const upper = grid.data[top + left + c] * (1 - u) + grid.data[top + right + c] * u;
        const lower = grid.data[bottom + left + c] * (1 - u) + grid.data[bottom + right + c] * u;
        data[out++] = upper * (1 - v) + lower * v;
      }
    }
  }
  return { height, width, channels, data };
}

/** Source position and the part of the one after it, for each position of the enlarged middle. */
function zoomTaps(side: number, factor: number): { at: number; part: number }[] {
  const cut = Math.ceil(side / factor);
  const first = (side - cut) >> 1;
  const count = Math.round(cut * factor);
  const scale = (cut - 1) / (count - 1);
  return Array.from({ length: count }, (_, i) => {
    const at = Math.min(Math.floor(i * scale), cut - 1);
    return { at: first + at, part: Math.min(i * scale, cut - 1) - at };
  });
}

/** A trail of 2 · radius + 1 copies along `angle` (degrees), each fainter by half a Gaussian; edges are drawn out. */
export function motionTrail(
  grid: Omit<Grid, 'data'> & { data: ArrayLike<number> },
  { radius, sigma }: { radius: number; sigma: number },
  angle: number,
): Grid & { data: Float64Array } {
  const { height, width, channels } = grid;
  const length = 2 * radius + 1;
  const weights = Array.from({ length }, (_, i) => Math.exp(-(i * i) / (2 * sigma * sigma)));
  const sum = weights.reduce((a, b) => a + b, 0);
  const [sin, cos] = [Math.sin((angle * Math.PI) / 180), Math.cos((angle * Math.PI) / 180)];
  const data = new Float64Array(height * width * channels);
  const from = new Int32Array(width);
  for (let i = 0; i < length; i++) {
    const dy = -Math.ceil(i * sin - 0.5);
    const dx = -Math.ceil(i * cos - 0.5);
    if (Math.abs(dy) >= height || Math.abs(dx) >= width) break;
    const weight = weights[i] / sum;
    for (let x = 0; x < width; x++) from[x] = inside(x - dx, width, 'clamp') * channels;
    for (let y = 0, out = 0; y < height; y++) {
      const row = inside(y - dy, height, 'clamp') * width * channels;
      for (let x = 0; x < width; x++) {
        for (let c = 0, at = row + from[x]; c < channels; c++) data[out++] += weight * grid.data[at + c];
      }
    }
  }
  return { height, width, channels, data };
}

/** Σ kernel · neighbours of an odd square kernel [side, side], mirrored at the edges. */
export function correlate(grid: Grid, kernel: ArrayLike<number>, side: number): Grid & { data: Float64Array } {
  const { height, width, channels } = grid;
  const reach = side >> 1;
  const stride = width * channels;
  const padded = (width + 2 * reach) * channels;
  const line = new Float64Array(padded);
  const data = new Float64Array(height * stride);
  for (let source = -reach; source < height + reach; source++) {
    const row = inside(source, height, 'mirror') * stride;
    for (let x = -reach, at = 0; x < width + reach; x++) {
      const from = row + inside(x, width, 'mirror') * channels;
      for (let c = 0; c < channels; c++) line[at++] = grid.data[from + c];
    }
    for (let ky = 0; ky < side; ky++) {
      const y = source + reach - ky;
      if (y < 0 || y >= height) continue;
      for (let kx = 0; kx < side; kx++) {
        const weight = kernel[ky * side + kx];
        if (weight === 0) continue;
        const [out, from] = [y * stride, kx * channels];
        for (let k = 0; k < stride; k++) data[out + k] += weight * line[from + k];
      }
    }
  }
  return { height, width, channels, data };
}
