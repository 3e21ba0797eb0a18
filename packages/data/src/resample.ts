// Resizing as Pillow does it, to the last bit: published encoders were trained on its pixels. A separable filter widened
// by the factor of reduction (so that nothing aliases), weights in fixed point, rows first, and 8 bits between the two
// passes. (Recent Pillow may take columns first where that is cheaper, which ends a few levels away.)

/** A decoded picture: [height, width, 3], interleaved. */
export interface Rgb8 {
  width: number;
  height: number;
  data: Uint8Array;
}

export type ResampleFilter = 'nearest' | 'bilinear' | 'bicubic' | 'lanczos';

const sinc = (x: number): number => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));

/** Keys' cubic with a = −1/2. */
function cubic(x: number): number {
  const d = Math.abs(x);
  if (d < 1) return (1.5 * d - 2.5) * d * d + 1;
  return d < 2 ? ((-0.5 * d + 2.5) * d - 4) * d + 2 : 0;
}

const FILTERS = {
  bilinear: { reach: 1, weigh: (x: number) => Math.max(0, 1 - Math.abs(x)) },
  bicubic: { reach: 2, weigh: cubic },
  lanczos: { reach: 3, weigh: (x: number) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0) },
};

const BITS = 22;
const ONE = 2 ** BITS;

/** For each target position: the first source position, and the weights from there on. */
interface Taps {
  first: Int32Array;
  count: Int32Array;
  weights: Int32Array;
  /** Weights are this far apart from one position to the next. */
  step: number;
}

function tapsOf(from: number, to: number, filter: Exclude<ResampleFilter, 'nearest'>): Taps {
  const { reach, weigh } = FILTERS[filter];
  const scale = from / to;
  const stretch = Math.max(scale, 1);
  const support = reach * stretch;
  const step = 2 * Math.ceil(support) + 1;
  const taps = { first: new Int32Array(to), count: new Int32Array(to), weights: new Int32Array(to * step), step };
  const raw = new Float64Array(step);
  for (let i = 0; i < to; i++) {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const count = Math.min(from, Math.trunc(centre + support + 0.5)) - first;
    let sum = 0;
    for (let j = 0; j < count; j++) {
      raw[j] = weigh((j + first - centre + 0.5) * (1 / stretch));
      sum += raw[j];
    }
    for (let j = 0; j < count; j++) {
      const weight = (sum === 0 ? raw[j] : raw[j] / sum) * ONE;
      taps.weights[i * step + j] = Math.trunc(weight + (weight < 0 ? -0.5 : 0.5));
    }
    taps.first[i] = first;
    taps.count[i] = count;
  }
  return taps;
}

/** A pass along one axis: `lines` lines of pixels that lie `along` bytes apart, the lines `across` bytes apart. */
function pass(source: Uint8Array, target: Uint8Array, taps: Taps, lines: number, isRow: boolean, stride: number): void {
  const { first, count: counts, weights, step } = taps;
  const to = first.length;
  const [along, across] = isRow ? [3, stride] : [stride, 3];
  const [alongOut, acrossOut] = isRow ? [3, 3 * to] : [stride, 3];
  const [height, width] = isRow ? [lines, to] : [to, lines];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const [line, i] = isRow ? [y, x] : [x, y];
      const start = line * across + first[i] * along;
      const base = i * step;
      const count = counts[i];
      let r = ONE / 2;
      let g = r;
      let b = r;
      for (let j = 0, at = start; j < count; j++, at += along) {
        const weight = weights[base + j];
        r = (r + source[at] * weight) | 0;
        g = (g + source[at + 1] * weight) | 0;
        b = (b + source[at + 2] * weight) | 0;
      }
      const out = line * acrossOut + i * alongOut;
      target[out] = clip(r);
      target[out + 1] = clip(g);
      target[out + 2] = clip(b);
    }
  }
}

const clip = (sum: number): number => Math.min(255, Math.max(0, sum >> BITS));

/** `picture` at another size, as PIL.Image.resize of an 8-bit picture gives it. */
export function resample(picture: Rgb8, height: number, width: number, filter: ResampleFilter): Rgb8 {
  if (filter === 'nearest') return nearest(picture, height, width);
  let { data } = picture;
  if (width !== picture.width) {
    const wide = new Uint8Array(picture.height * width * 3);
    pass(data, wide, tapsOf(picture.width, width, filter), picture.height, true, 3 * picture.width);
    data = wide;
  }
  if (height !== picture.height) {
    const tall = new Uint8Array(height * width * 3);
    pass(data, tall, tapsOf(picture.height, height, filter), width, false, 3 * width);
    data = tall;
  }
  return { width, height, data };
}

/** The nearest pixel, by Pillow's running sums, whose rounding decides where two are equally near. */
function nearest(picture: Rgb8, height: number, width: number): Rgb8 {
  const positions = (from: number, to: number) => {
    const out = new Int32Array(to);
    for (let i = 0, at = from / to / 2; i < to; i++, at += from / to) out[i] = Math.min(from - 1, Math.floor(at));
    return out;
  };
  const [rows, columns] = [positions(picture.height, height), positions(picture.width, width)];
  const data = new Uint8Array(height * width * 3);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const at = 3 * (rows[y] * picture.width + columns[x]);
      data.set(picture.data.subarray(at, at + 3), 3 * (y * width + x));
    }
  }
  return { width, height, data };
}
