// Noise of ImageNet-C: normal, Poisson, salt and pepper, and normal by brightness. Each value of each channel draws for
// itself, from a stream that the caller names.

import type { Rgb8 } from '@fovea/data';
import { fillNormal, fillUint32 } from '@fovea/tensor/random';
import { PARAMETERS } from './constants.ts';
import { bytes, unit } from './filters.ts';

/** Whose draws: `index` tells several of one corruption apart. */
export interface Draws {
  normals(count: number, index?: number): Float32Array;
  words(count: number, index?: number): Uint32Array;
}

/** The draws of one corruption at one severity of the picture that `seed` belongs to. */
export function drawsOf(seed: number, name: string, severity: number): Draws {
  const stream = `corruption/${name}`;
  return {
    normals(count, index = 0) {
      const out = new Float32Array(count);
      fillNormal(out, 0, count, seed, stream, severity, index);
      return out;
    },
    words(count, index = 0) {
      const out = new Uint32Array(count);
      fillUint32(out, seed, stream, severity, index);
      return out;
    },
  };
}

export const WORD = 2 ** 32;

export function gaussianNoise(picture: Rgb8, level: number, draws: Draws): Rgb8 {
  const std = PARAMETERS.gaussian_noise[level];
  const grid = unit(picture);
  const noise = draws.normals(grid.data.length);
  for (let i = 0; i < noise.length; i++) grid.data[i] += std * noise[i];
  return bytes(grid);
}

export function speckleNoise(picture: Rgb8, level: number, draws: Draws): Rgb8 {
  const std = PARAMETERS.speckle_noise[level];
  const grid = unit(picture);
  const noise = draws.normals(grid.data.length);
  for (let i = 0; i < noise.length; i++) grid.data[i] += grid.data[i] * std * noise[i];
  return bytes(grid);
}

export function impulseNoise(picture: Rgb8, level: number, draws: Draws): Rgb8 {
  const share = Math.round(PARAMETERS.impulse_noise[level] * (WORD / 2));
  const words = draws.words(picture.data.length);
  const data = Uint8Array.from(picture.data);
  for (let i = 0; i < data.length; i++) if (words[i] >>> 1 < share) data[i] = words[i] & 1 ? 255 : 0;
  return { ...picture, data };
}

/** Photons are counted: Poisson by inversion, one table for each of the 256 levels. */
export function shotNoise(picture: Rgb8, level: number, draws: Draws): Rgb8 {
  const photons = PARAMETERS.shot_noise[level];
  const tables: (Float64Array | undefined)[] = [];
  const words = draws.words(picture.data.length);
  const data = new Uint8Array(picture.data.length);
  for (let i = 0; i < data.length; i++) {
    const value = picture.data[i];
    tables[value] ??= poissonTable((value / 255) * photons);
    data[i] = Math.min(1, countUpTo(tables[value], words[i]) / photons) * 255;
  }
  return { ...picture, data };
}

/** P(count ≤ k) · 2³² for k = 0, 1, … until nothing is left. */
function poissonTable(mean: number): Float64Array {
  const table: number[] = [];
  let term = Math.exp(-mean);
  let sum = term;
  for (let k = 1; k <= mean || term * WORD > 1e-3; k++) {
    table.push(sum * WORD);
    term *= mean / k;
    sum += term;
  }
  return Float64Array.from([...table, WORD]);
}

/** The first k whose entry is over `word`. */
function countUpTo(table: Float64Array, word: number): number {
  let [low, high] = [0, table.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (word < table[middle]) high = middle;
    else low = middle + 1;
  }
  return low;
}
