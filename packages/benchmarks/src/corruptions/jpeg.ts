// What JPEG does to a picture, without writing one: baseline, 4:2:0, the standard's tables, by libjpeg's integer
// arithmetic. Entropy coding loses nothing and is left out, so this needs no library, no thread, and gives the same
// pixels everywhere: those of libjpeg's default (accurate) transform and its smooth chroma.

import type { Rgb8 } from '@fovea/data';

/** Quantisation of the standard, annex K, row by row: brightness, then colour. */
const LUMA = [
  16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
  87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
  72, 92, 95, 98, 112, 100, 103, 99,
];
const CHROMA = [
  17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99,
  99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
  99, 99, 99, 99, 99, 99,
];

function scaled(table: readonly number[], quality: number): number[] {
  const percent = quality < 50 ? Math.floor(5000 / quality) : 200 - 2 * quality;
  return table.map((q) => Math.min(255, Math.max(1, Math.floor((q * percent + 50) / 100))));
}

/**
 * √8 · the DCT's matrix in 13 bits, rows are frequencies, as libjpeg's sums of rounded factors come out (some are one off
 * the cosine). The second half of a row is the first one backwards, negated in odd rows.
 */
const BITS = 13;
const HALF_ROWS = [
  [8192, 8192, 8192, 8192],
  [11363, 9633, 6437, 2260],
  [10703, 4433, -4433, -10703],
  [9633, -2259, -11362, -6436],
  [8192, -8192, -8192, 8192],
  [6437, -11362, 2261, 9633],
  [4433, -10704, 10704, -4433],
  [2260, -6436, 9633, -11363],
];
const DCT = Int32Array.from(
  HALF_ROWS.flatMap((row, frequency) => [...row, ...row.toReversed().map((w) => (frequency % 2 === 0 ? w : -w))]),
);
/** Bits that are kept more between the two passes. */
const EXTRA = 2;

/** `picture` after JPEG of `quality` (libjpeg's scale, 1 to 100). */
export function throughJpeg(picture: Rgb8, quality: number): Rgb8 {
  const { width, height } = picture;
  const [y, cb, cr] = toPlanes(picture);
  const [luma, chroma] = [scaled(LUMA, quality), scaled(CHROMA, quality)];
  requantise(y, luma);
  const full = [cb, cr].map((plane) => {
    const small = halve(plane, height);
    requantise(small, chroma);
    return double(small, width, height);
  });
  return toRgb(y, full[0], full[1], width, height);
}

/** Numbers of 8 bits over whole blocks. */
interface Plane {
  /** Multiples of 8. */
  width: number;
  height: number;
  data: Uint8Array;
}

const whole = (side: number, block: number) => Math.ceil(side / block) * block;

/** YCbCr (JFIF) in 16 bits of fixed point; the last row and column are repeated up to whole blocks of 16. */
function toPlanes({ width, height, data }: Rgb8): [Plane, Plane, Plane] {
  const [w, h] = [whole(width, 16), whole(height, 16)];
  const planes = Array.from({ length: 3 }, () => ({ width: w, height: h, data: new Uint8Array(w * h) }));
  const [luma, blue, red] = planes.map((plane) => plane.data);
  for (let y = 0, out = 0; y < h; y++) {
    for (let x = 0; x < w; x++, out++) {
      const at = 3 * (Math.min(y, height - 1) * width + Math.min(x, width - 1));
      const [r, g, b] = [data[at], data[at + 1], data[at + 2]];
      luma[out] = (19595 * r + 38470 * g + 7471 * b + 32768) >> 16;
      blue[out] = (-11059 * r - 21709 * g + 32768 * b + (128 << 16) + 32767) >> 16;
      red[out] = (32768 * r - 27439 * g - 5329 * b + (128 << 16) + 32767) >> 16;
    }
  }
  return planes as [Plane, Plane, Plane];
}

/** Means of 2 × 2, rounded up and down in turn; rows below the picture repeat the last mean, not the last row. */
function halve({ width: w, data }: Plane, height: number): Plane {
  const [rows, half] = [Math.ceil(height / 2), w / 2];
  const small = { width: half, height: whole(rows, 8), data: new Uint8Array(half * whole(rows, 8)) };
  for (let y = 0; y < small.height; y++) {
    for (let x = 0, from = 2 * Math.min(y, rows - 1) * w; x < half; x++, from += 2) {
      const sum = data[from] + data[from + 1] + data[from + w] + data[from + w + 1];
      small.data[y * half + x] = (sum + 1 + (x & 1)) >> 2;
    }
  }
  return small;
}

/** Doubles the sides: ¾ of the nearer and ¼ of the farther row, then the same of columns. */
function double({ width: w, data }: Plane, width: number, height: number): Plane {
  const [columns, rows] = [Math.ceil(width / 2), Math.ceil(height / 2)];
  const out = new Uint8Array(4 * columns * rows);
  const line = new Int32Array(columns);
  for (let y = 0; y < 2 * rows; y++) {
    const near = y >> 1;
    const far = Math.min(rows - 1, Math.max(0, near + (y & 1 ? 1 : -1)));
    for (let x = 0; x < columns; x++) line[x] = 3 * data[near * w + x] + data[far * w + x];
    for (let x = 0, at = y * 2 * columns; x < columns; x++, at += 2) {
      out[at] = (3 * line[x] + line[Math.max(0, x - 1)] + 8) >> 4;
      out[at + 1] = (3 * line[x] + line[Math.min(columns - 1, x + 1)] + 7) >> 4;
    }
  }
  return { width: 2 * columns, height: 2 * rows, data: out };
}

function toRgb(luma: Plane, blue: Plane, red: Plane, width: number, height: number): Rgb8 {
  const data = new Uint8ClampedArray(width * height * 3);
  for (let y = 0, out = 0; y < height; y++) {
    for (let x = 0; x < width; x++, out += 3) {
      const light = luma.data[y * luma.width + x];
      const cb = blue.data[y * blue.width + x] - 128;
      const cr = red.data[y * red.width + x] - 128;
      data[out] = light + ((91881 * cr + 32768) >> 16);
      data[out + 1] = light + ((-22554 * cb - 46802 * cr + 32768) >> 16);
      data[out + 2] = light + ((116130 * cb + 32768) >> 16);
    }
  }
  return { width, height, data: new Uint8Array(data.buffer) };
}

/** Every 8 × 8 block into frequencies, to whole multiples of `table`, and back, in place. */
function requantise({ width, height, data }: Plane, table: readonly number[]): void {
  const block = new Int32Array(64);
  const turned = new Int32Array(64);
  for (let top = 0; top < height; top += 8) {
    for (let left = 0; left < width; left += 8) {
      for (let i = 0; i < 64; i++) block[i] = data[(top + (i >> 3)) * width + left + (i & 7)] - 128;
      forward(block, turned, BITS - EXTRA);
      forward(turned, block, BITS + EXTRA);
      for (let i = 0; i < 64; i++) {
        const step = table[i] * 8;
        const size = Math.floor((Math.abs(block[i]) + (step >> 1)) / step) * table[i];
        block[i] = block[i] < 0 ? -size : size;
      }
      backward(block, turned, BITS - EXTRA);
      backward(turned, block, BITS + EXTRA + 3);
      for (let i = 0; i < 64; i++) {
        data[(top + (i >> 3)) * width + left + (i & 7)] = Math.min(255, Math.max(0, block[i] + 128));
      }
    }
  }
}

/** Rows of `from` into frequencies, written as columns of `to`, so that doing it twice transforms both ways. */
function forward(from: Int32Array, to: Int32Array, shift: number): void {
  for (let row = 0; row < 8; row++) {
    for (let k = 0; k < 8; k++) {
      let sum = 1 << (shift - 1);
      for (let j = 0; j < 8; j++) sum += DCT[8 * k + j] * from[8 * row + j];
      to[8 * k + row] = sum >> shift;
    }
  }
}

/** Columns of `from` out of frequencies, written as rows of `to`. */
function backward(from: Int32Array, to: Int32Array, shift: number): void {
  for (let column = 0; column < 8; column++) {
    for (let j = 0; j < 8; j++) {
      let sum = 1 << (shift - 1);
      for (let k = 0; k < 8; k++) sum += DCT[8 * k + j] * from[8 * k + column];
      to[8 * column + j] = sum >> shift;
    }
  }
}
