// Blurs of ImageNet-C: out of focus, through frosted glass, in motion, while zooming, and by a Gaussian.

import type { Rgb8 } from '@fovea/data';
import { PARAMETERS } from './constants.ts';
import {
  bytes,
  correlate,
  correlateEven,
  gaussianBlur as filterGaussian,
  motionTrail,
  numbers,
  unit,
  zoomMiddle,
} from './filters.ts';
import { type Draws, WORD } from './noise.ts';

export function gaussianBlur(picture: Rgb8, level: number): Rgb8 {
  return bytes(filterGaussian(unit(picture), PARAMETERS.gaussian_blur[level]));
}

export function defocusBlur(picture: Rgb8, level: number): Rgb8 {
  const { radius, soften } = PARAMETERS.defocus_blur[level];
  const reach = Math.max(8, radius);
  return bytes(correlateEven(unit(picture), quarterDisk(radius, soften, reach), reach));
}

/** A quarter of a disk with a rim softened over 3 or 5 pixels; weights in single precision, as published. */
function quarterDisk(radius: number, soften: number, reach: number): Float32Array {
  const side = reach + 1;
  const hard = numbers(side * side, (i) => (Math.floor(i / side) ** 2 + (i % side) ** 2 <= radius * radius ? 1 : 0));
  const axis = hard.subarray(0, side).reduce((a, b) => a + b, 0);
  const area = 4 * hard.reduce((a, b) => a + b, 0) - 4 * axis + 1;
  const rim = radius <= 8 ? 1 : 2;
  const weights = Array.from({ length: 2 * rim + 1 }, (_, i) => Math.exp(-((i - rim) ** 2) / (2 * soften * soften)));
  const sum = weights.reduce((a, b) => a + b, 0);
  const soft = weights.flatMap((v) => weights.map((u) => (u * v) / (sum * sum)));
  const grid = { height: side, width: side, channels: 1, data: hard.map((on) => Math.fround(on / area)) };
  return Float32Array.from(correlate(grid, soft, 2 * rim + 1).data);
}

/**
 * Every pixel takes the colour of a near one, from the lower right corner on. The published script means to swap the
 * two, but its arrays are views, so the near pixel stays; so it is here.
 */
export function glassBlur(picture: Rgb8, level: number, draws: Draws): Rgb8 {
  const { sigma, reach, rounds } = PARAMETERS.glass_blur[level];
  const { width, height } = picture;
  const { data } = bytes(filterGaussian(unit(picture), sigma));
  const words = draws.words(rounds * width * height);
  const choices = 2 * reach;
  for (let round = 0, at = 0; round < rounds; round++) {
    for (let y = height - reach; y > reach; y--) {
      for (let x = width - reach; x > reach; x--) {
        const word = words[at++];
        const dx = (((word >>> 16) * choices) >>> 16) - reach;
        const dy = (((word & 0xffff) * choices) >>> 16) - reach;
        data.copyWithin(3 * (y * width + x), 3 * ((y + dy) * width + x + dx), 3 * ((y + dy) * width + x + dx + 1));
      }
    }
  }
  return bytes(filterGaussian(unit({ width, height, data }), sigma));
}

export function motionBlur(picture: Rgb8, level: number, draws: Draws): Rgb8 {
  const angle = (draws.words(1)[0] / WORD) * 90 - 45;
  return bytes(motionTrail(unit(picture), PARAMETERS.motion_blur[level], angle));
}

/** The mean of the picture and of its zooms, the first of which is the picture again. Single precision, as published. */
export function zoomBlur(picture: Rgb8, level: number): Rgb8 {
  const { step, count } = PARAMETERS.zoom_blur[level];
  const { width, height } = picture;
  const grid = unit(picture);
  for (let i = 0; i < grid.data.length; i++) grid.data[i] = Math.fround(grid.data[i]);
  const sum = new Float32Array(grid.data.length);
  for (let i = 0; i < count; i++) {
    const zoomed = zoomMiddle(grid, 1 + i * (1 + step - 1));
    for (let y = 0; y < height; y++) {
      const [out, from] = [y * width * 3, y * zoomed.width * 3];
      for (let k = 0; k < width * 3; k++) sum[out + k] += zoomed.data[from + k];
    }
  }
  const data = new Uint8Array(sum.length);
  for (let i = 0; i < data.length; i++) {
    const mean = Math.fround(Math.fround(grid.data[i] + sum[i]) / (count + 1));
    data[i] = Math.fround(Math.min(1, mean) * 255);
  }
  return { width, height, data };
}
