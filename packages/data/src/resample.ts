// Resizing as Pillow does it, to the last bit: published encoders were trained on its pixels. A separable filter widened
// by the factor of reduction (so that nothing aliases), weights in fixed point, rows first, and 8 bits between the two
// passes. (Recent Pillow may take columns first where that is cheaper, which ends a few levels away.)

/** A decoded picture: [height, width, 3], interleaved. */
export interface Rgb8 {
  width: number;
  height: number;
  data: Uint8Array;
}

export type ResampleFilter = 'nearest' | 'box' | 'bilinear' | 'bicubic' | 'lanczos';

const sinc = (x: number): number => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));

/** Keys' cubic with a = −1/2. */
function cubic(x: number): number {
  const d = Math.abs(x);
  if (d < 1) return (1.5 * d - 2.5) * d * d + 1;
  return d < 2 ? ((-0.5 * d + 2.5) * d - 4) * d + 2 : 0;
}

const FILTERS = {
  box: { reach: 0.5, weigh: (x: number) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
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

/** Along each row: [height, from, 3] -> [height, to, 3]. */
function alongRows(
  source: Uint8Array,
  height: number,
  from: number,
  { first, count, weights, step }: Taps,
): Uint8Array {
  const to = first.length;
  const target = new Uint8ClampedArray(3 * height * to);
  let out = 0;
  for (let y = 0; y < height; y++) {
    for (let i = 0; i < to; i++, out += 3) {
      let at = 3 * (y * from + first[i]);
      let r = ONE / 2;
      let g = r;
      let b = r;
      for (let w = i * step, end = w + count[i]; w < end; w++, at += 3) {
        const weight = weights[w];
        r = (r + Math.imul(source[at], weight)) | 0;
        g = (g + Math.imul(source[at + 1], weight)) | 0;
        b = (b + Math.imul(source[at + 2], weight)) | 0;
      }
      target[out] = r >> BITS;
      target[out + 1] = g >> BITS;
      target[out + 2] = b >> BITS;
    }
  }
  return new Uint8Array(target.buffer);
}

/** Down each column: [from, stride] -> [to, stride], each row a weighted sum of rows. */
function downColumns(source: Uint8Array, stride: number, { first, count, weights, step }: Taps): Uint8Array {
  const to = first.length;
  const target = new Uint8ClampedArray(to * stride);
  const sums = new Int32Array(stride);
  for (let i = 0; i < to; i++) {
    sums.fill(ONE / 2);
    for (let j = 0; j < count[i]; j++) {
      const weight = weights[i * step + j];
      const at = (first[i] + j) * stride;
      for (let k = 0; k < stride; k++) sums[k] += Math.imul(source[at + k], weight);
    }
    for (let k = 0, out = i * stride; k < stride; k++) target[out + k] = sums[k] >> BITS;
  }
  return new Uint8Array(target.buffer);
}

/** `picture` at another size, as PIL.Image.resize of an 8-bit picture gives it. */
export function resample(picture: Rgb8, height: number, width: number, filter: ResampleFilter): Rgb8 {
  if (filter === 'nearest') return nearest(picture, height, width);
  let { data } = picture;
  if (width !== picture.width)
    data = alongRows(data, picture.height, picture.width, tapsOf(picture.width, width, filter));
  if (height !== picture.height) data = downColumns(data, 3 * width, tapsOf(picture.height, height, filter));
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
