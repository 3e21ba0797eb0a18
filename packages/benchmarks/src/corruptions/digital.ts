// Digital corruptions of ImageNet-C, and the two that turn a dial of the colours: contrast, elastic distortion, large
// pixels, JPEG, brightness and saturation.

import { type Rgb8, resample } from '@fovea/data';
import { PARAMETERS } from './constants.ts';
import { bytes, gaussianBlur, inside, numbers, unit } from './filters.ts';
import { throughJpeg } from './jpeg.ts';
import { type Draws, WORD } from './noise.ts';

export function contrast(picture: Rgb8, level: number): Rgb8 {
  const factor = PARAMETERS.contrast[level];
  const grid = unit(picture);
  const means = [0, 0, 0];
  for (let i = 0; i < grid.data.length; i++) means[i % 3] += grid.data[i];
  for (let c = 0; c < 3; c++) means[c] /= grid.data.length / 3;
  for (let i = 0; i < grid.data.length; i++) grid.data[i] = (grid.data[i] - means[i % 3]) * factor + means[i % 3];
  return bytes(grid);
}

export function brightness(picture: Rgb8, level: number): Rgb8 {
  const add = PARAMETERS.brightness[level];
  return throughHsv(picture, (hsv) => {
    hsv[2] = Math.min(1, hsv[2] + add);
  });
}

export function saturate(picture: Rgb8, level: number): Rgb8 {
  const { factor, add } = PARAMETERS.saturate[level];
  return throughHsv(picture, (hsv) => {
    hsv[1] = Math.min(1, hsv[1] * factor + add);
  });
}

function throughHsv(picture: Rgb8, change: (hsv: Float64Array) => void): Rgb8 {
  const grid = unit(picture);
  const hsv = new Float64Array(3);
  for (let at = 0; at < grid.data.length; at += 3) {
    toHsv(grid.data, at, hsv);
    change(hsv);
    fromHsv(hsv, grid.data, at);
  }
  return bytes(grid);
}

/** Hue in [0, 1), saturation and value in [0, 1] (Smith 1978). */
function toHsv(rgb: Float64Array, at: number, hsv: Float64Array): void {
  const [r, g, b] = [rgb[at], rgb[at + 1], rgb[at + 2]];
  const value = Math.max(r, g, b);
  const spread = value - Math.min(r, g, b);
  hsv[2] = value;
  hsv[1] = spread === 0 ? 0 : spread / value;
  if (spread === 0) hsv[0] = 0;
  else {
    let sixths = (g - b) / spread;
    if (b === value) sixths = 4 + (r - g) / spread;
    else if (g === value) sixths = 2 + (b - r) / spread;
    const turn = sixths / 6;
    hsv[0] = turn - Math.floor(turn);
  }
}

/** Which of value, p, q, t is red, green and blue, by sixth of the hue. */
const SIXTHS = [
  [0, 3, 1],
  [2, 0, 1],
  [1, 0, 3],
  [1, 2, 0],
  [3, 1, 0],
  [0, 1, 2],
];

function fromHsv(hsv: Float64Array, rgb: Float64Array, at: number): void {
  const [hue, saturation, value] = hsv;
  const sixth = Math.floor(hue * 6);
  const part = hue * 6 - sixth;
  const p = value * (1 - saturation);
  const q = value * (1 - part * saturation);
  const t = value * (1 - (1 - part) * saturation);
  const order = SIXTHS[sixth % 6];
  for (let c = 0; c < 3; c++) rgb[at + c] = order[c] === 0 ? value : order[c] === 1 ? p : order[c] === 2 ? q : t;
}

export function pixelate(picture: Rgb8, level: number): Rgb8 {
  const factor = PARAMETERS.pixelate[level];
  const { width, height } = picture;
  const small = resample(picture, Math.trunc(height * factor), Math.trunc(width * factor), 'box');
  return resample(small, height, width, 'nearest');
}

export function jpegCompression(picture: Rgb8, level: number): Rgb8 {
  return throughJpeg(picture, PARAMETERS.jpeg_compression[level]);
}

/** Pixels are taken from places moved by smoothed noise; both displacements go by the height, as published. */
export function elasticTransform(picture: Rgb8, level: number, draws: Draws): Rgb8 {
  const { width, height } = picture;
  const [down, along] = [0, 1].map((axis) =>
    displacement(width, height, PARAMETERS.elastic_transform[level], axis, draws),
  );
  const { data: from } = unit(picture);
  const out = new Float64Array(from.length);
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at++) {
      const top = Math.floor(y + down[at]);
      const left = Math.floor(x + along[at]);
      const v = y + down[at] - top;
      const u = x + along[at] - left;
      const upper = inside(top, height, 'reflect') * width;
      const lower = inside(top + 1, height, 'reflect') * width;
      const first = inside(left, width, 'reflect');
      const second = inside(left + 1, width, 'reflect');
      for (let c = 0; c < 3; c++) {
        const a = from[3 * (upper + first) + c] * (1 - u) + from[3 * (upper + second) + c] * u;
        const b = from[3 * (lower + first) + c] * (1 - u) + from[3 * (lower + second) + c] * u;
        out[3 * at + c] = a * (1 - v) + b * v;
      }
    }
  }
  return bytes({ width, height, channels: 3, data: out });
}

function displacement(width: number, height: number, strength: number, axis: number, draws: Draws): Float64Array {
  const most = height * 0.005;
  const words = draws.words(width * height, axis);
  const noise = numbers(words.length, (i) => ((2 * words[i]) / WORD - 1) * most);
  const { data } = gaussianBlur({ width, height, channels: 1, data: noise }, [height * 0.01, width * 0.01], {
    beyond: 'reflect',
    truncate: 3,
  });
  return data.map((value) => Math.fround(value * strength));
}
