// Filters that corruptions are made of, over rows of interleaved numbers in double precision: Gaussian blur as SciPy
// sums it, linear zoom, a trail of motion, a small kernel. What a picture means is no matter here.

import type { Rgb8 } from '@fovea/data';

/** Numbers over a grid: [height, width, channels], interleaved. */
export interface Grid {
  height: number;
  width: number;
  channels: number;
  data: Float64Array;
}

/** 8 bits as numbers in [0, 1]. */
export function unit({ width, height, data }: Rgb8): Grid {
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

/** `count` numbers by position; many times quicker than Float64Array.from. */
export function numbers(count: number, at: (i: number) => number): Float64Array {
  const out = new Float64Array(count);
  for (let i = 0; i < count; i++) out[i] = at(i);
  return out;
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
): Grid {
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
  from: Float64Array,
  at: (j: number) => number,
): void {
  const middle = at(0);
  for (let k = 0; k < count; k++) out[start + k] = from[middle + k] * weights[0];
  let j = weights.length - 1;
  // Two at a time, which halves what goes through memory and keeps the order of the sum.
  for (; j > 1; j -= 2) {
    const [left, right, weight] = [at(-j), at(j), weights[j]];
    const [nearLeft, nearRight, next] = [at(1 - j), at(j - 1), weights[j - 1]];
    for (let k = 0; k < count; k++) {
      const sum = out[start + k] + (from[left + k] + from[right + k]) * weight;
      out[start + k] = sum + (from[nearLeft + k] + from[nearRight + k]) * next;
    }
  }
  if (j === 0) return;
  const [left, right] = [at(-1), at(1)];
  for (let k = 0; k < count; k++) out[start + k] += (from[left + k] + from[right + k]) * weights[1];
}

/**
 * The middle of `grid` enlarged by `factor` without the rest, linear between pixels; a little over `grid`'s size.
 * Values are rounded to single precision.
 */
export function zoomMiddle(grid: Grid, factor: number): Grid {
  const { channels } = grid;
  const rows = zoomTaps(grid.height, factor);
  const columns = zoomTaps(grid.width, factor);
  const [height, width] = [rows.at.length, columns.at.length];
  const data = new Float64Array(height * width * channels);
  const stride = grid.width * channels;
  // One pixel more than a row, so that the last one has a neighbour, of weight 0.
  const line = new Float64Array(stride + channels);
  const at = Int32Array.from(
    { length: width * channels },
    (_, k) => columns.at[Math.floor(k / channels)] * channels + (k % channels),
  );
  const part = numbers(width * channels, (k) => columns.part[Math.floor(k / channels)]);
  for (let y = 0; y < height; y++) {
    const top = rows.at[y] * stride;
    const v = rows.part[y];
    const bottom = v === 0 ? top : top + stride;
    for (let k = 0; k < stride; k++) line[k] = grid.data[top + k] * (1 - v) + grid.data[bottom + k] * v;
    for (let k = 0, out = y * width * channels; k < at.length; k++, out++) {
      data[out] = Math.fround(line[at[k]] * (1 - part[k]) + line[at[k] + channels] * part[k]);
    }
  }
  return { height, width, channels, data };
}

/** Python's rounding: a half goes to the even neighbour. */
function roundToEven(value: number): number {
  return value - Math.floor(value) === 0.5 ? 2 * Math.round(value / 2) : Math.round(value);
}

/** Source position and the part of the one after it, for each position of the enlarged middle. */
function zoomTaps(side: number, factor: number): { at: Int32Array; part: Float64Array } {
  const cut = Math.ceil(side / factor);
  const first = (side - cut) >> 1;
  const count = roundToEven(cut * factor);
  const taps = { at: new Int32Array(count), part: new Float64Array(count) };
  for (let i = 0; i < count; i++) {
    const place = Math.min(i * ((cut - 1) / (count - 1)), cut - 1);
    taps.at[i] = first + Math.floor(place);
    taps.part[i] = place - Math.floor(place);
  }
  return taps;
}

/** `grid` with `reach` more pixels on every side. */
function padded(grid: Grid, reach: number, beyond: Beyond): Grid {
  const { channels } = grid;
  const [height, width] = [grid.height + 2 * reach, grid.width + 2 * reach];
  const data = new Float64Array(height * width * channels);
  for (let y = 0, out = 0; y < height; y++) {
    const row = inside(y - reach, grid.height, beyond) * grid.width;
    for (let x = 0; x < width; x++) {
      const from = (row + inside(x - reach, grid.width, beyond)) * channels;
      for (let c = 0; c < channels; c++) data[out++] = grid.data[from + c];
    }
  }
  return { height, width, channels, data };
}

/** How far from a pixel, in pixels, and how much of what is there. */
interface Tap {
  dy: number;
  dx: number;
  weight: number;
}

/** Σ weight · the pixel (dy, dx) away, for each pixel. */
function gather(grid: Grid, taps: readonly Tap[], beyond: Beyond): Grid {
  const reach = taps.reduce((most, { dy, dx }) => Math.max(most, Math.abs(dy), Math.abs(dx)), 0);
  const { height, width, channels } = grid;
  const from = padded(grid, reach, beyond);
  const { data: source } = from;
  const stride = width * channels;
  const data = new Float64Array(height * stride);
  for (let y = 0; y < height; y++) {
    for (let i = 0; i < taps.length; i += 2) {
      const [one, two] = [taps[i], taps[i + 1] ?? { ...taps[i], weight: 0 }];
      const at = ((y + reach + one.dy) * from.width + reach + one.dx) * channels;
      const next = ((y + reach + two.dy) * from.width + reach + two.dx) * channels;
      const [weight, second] = [one.weight, two.weight];
      for (let k = 0, out = y * stride; k < stride; k++, out++) {
        data[out] = data[out] + weight * source[at + k] + second * source[next + k];
      }
    }
  }
  return { height, width, channels, data };
}

/** A trail of 2 · radius + 1 copies along `angle` (degrees), each fainter by half a Gaussian; edges are drawn out. */
export function motionTrail(grid: Grid, { radius, sigma }: { radius: number; sigma: number }, angle: number): Grid {
  const length = 2 * radius + 1;
  const weights = Array.from({ length }, (_, i) => Math.exp(-(i * i) / (2 * sigma * sigma)));
  const sum = weights.reduce((a, b) => a + b, 0);
  const [sin, cos] = [Math.sin((angle * Math.PI) / 180), Math.cos((angle * Math.PI) / 180)];
  const taps = weights.map((weight, i) => ({
    dy: Math.ceil(i * sin - 0.5),
    dx: Math.ceil(i * cos - 0.5),
    weight: weight / sum,
  }));
  const beyond = taps.findIndex(({ dy, dx }) => Math.abs(dy) >= grid.height || Math.abs(dx) >= grid.width);
  return gather(grid, beyond < 0 ? taps : taps.slice(0, beyond), 'clamp');
}

/** Σ kernel · neighbours of an odd square kernel [side, side], mirrored at the edges. */
export function correlate(grid: Grid, kernel: readonly number[], side: number): Grid {
  const reach = side >> 1;
  const taps = kernel.map((weight, i) => ({ dy: Math.floor(i / side) - reach, dx: (i % side) - reach, weight }));
  return gather(
    grid,
    taps.filter(({ weight }) => weight !== 0),
    'mirror',
  );
}

/**
 * {@link correlate} by a kernel that is the same in all four quarters, in a quarter of the time: `quarter` is
 * [reach + 1, reach + 1] from the middle on.
 */
export function correlateEven(grid: Grid, quarter: Float32Array, reach: number): Grid {
  const { height, width, channels } = grid;
  const from = padded(grid, reach, 'mirror');
  const [stride, long] = [width * channels, from.width * channels];
  const data = new Float64Array(height * stride);
  const line = new Float64Array(long);
  for (let y = 0; y < height; y++) {
    for (let dy = 0; dy <= reach; dy++) {
      const [up, down] = [(y + reach - dy) * long, (y + reach + dy) * long];
      for (let k = 0; k < long; k++) line[k] = dy === 0 ? from.data[up + k] : from.data[up + k] + from.data[down + k];
      const row = quarter.subarray(dy * (reach + 1), (dy + 1) * (reach + 1));
      addEven(data, y * stride, stride, line, channels, row);
    }
  }
  return { height, width, channels, data };
}

/** out[start + k] += Σ_dx row[|dx|] · line at dx, two columns at a time; `line` has `row.length` - 1 pixels more on both sides. */
function addEven(
  out: Float64Array,
  start: number,
  count: number,
  line: Float64Array,
  channels: number,
  row: Float32Array,
): void {
  const middle = (row.length - 1) * channels;
  const last = row.findLastIndex((weight) => weight !== 0);
  for (let k = 0; k < count; k++) out[start + k] += row[0] * line[middle + k];
  for (let dx = 1; dx <= last; dx += 2) {
    const [near, far] = [dx * channels, (dx + 1 < row.length ? dx + 1 : dx) * channels];
    const [weight, next] = [row[dx], row[dx + 1] ?? 0];
    for (let k = 0, at = middle; k < count; k++, at++) {
      const sum = out[start + k] + weight * (line[at - near] + line[at + near]);
      out[start + k] = sum + next * (line[at - far] + line[at + far]);
    }
  }
}
