// Weather of ImageNet-C: snow, frost and fog. Splashes stand in spatter.ts, ice in ice.ts.

import type { Rgb8 } from '@fovea/data';
import { PARAMETERS } from './constants.ts';
import { bytes, type Grid, motionTrail, numbers, unit, zoomMiddle } from './filters.ts';
import { drawIce } from './ice.ts';
import { type Draws, WORD } from './noise.ts';
import { plasma } from './plasma.ts';

/** Brightness as the eye weighs it (ITU-R BT.601). */
const grey = (rgb: Float64Array, at: number) => 0.299 * rgb[at] + 0.587 * rgb[at + 1] + 0.114 * rgb[at + 2];

/** Flakes in two layers, the second turned by half a circle, over a picture that is paled towards grey. */
export function snow(picture: Rgb8, level: number, draws: Draws): Rgb8 {
  const { mean, std, zoom, threshold, radius, sigma, keep } = PARAMETERS.snow[level];
  const { width, height } = picture;
  const normals = draws.normals(width * height);
  const noise = numbers(normals.length, (i) => mean + std * normals[i]);
  const flakes: Grid = zoomMiddle({ width, height, channels: 1, data: noise }, zoom);
  for (let i = 0; i < flakes.data.length; i++) {
    flakes.data[i] = flakes.data[i] < threshold ? 0 : Math.min(1, flakes.data[i]);
  }
  const layer = motionTrail(flakes, { radius, sigma }, -135 + (draws.words(1, 1)[0] / WORD) * 90);
  const flake = (y: number, x: number) => Math.round(layer.data[y * layer.width + x] * 255) / 255;
  const grid = unit(picture);
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at += 3) {
      const pale = grey(grid.data, at) * 1.5 + 0.5;
      const fallen = flake(y, x) + flake(height - 1 - y, width - 1 - x);
      for (let c = at; c < at + 3; c++) {
        grid.data[c] = keep * grid.data[c] + (1 - keep) * Math.max(grid.data[c], pale) + fallen;
      }
    }
  }
  return bytes(grid);
}

export function fog(picture: Rgb8, level: number, draws: Draws): Rgb8 {
  const { thickness, decay } = PARAMETERS.fog[level];
  const { width, height } = picture;
  const grid = unit(picture);
  const brightest = grid.data.reduce((a, b) => Math.max(a, b), 0);
  let side = 1;
  while (side < Math.max(width, height)) side *= 2;
  const haze = plasma(side, decay, draws);
  const dim = brightest / (brightest + thickness);
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const lift = thickness * haze[y * side + x];
      for (let c = 0; c < 3; c++, at++) grid.data[at] = (grid.data[at] + lift) * dim;
    }
  }
  return bytes(grid);
}

/** Ice of our own drawing in place of the published photographs: alike in kind, not comparable with their numbers. */
export function frost(picture: Rgb8, level: number, draws: Draws): Rgb8 {
  const weights = PARAMETERS.frost[level];
  const ice = drawIce(picture.width, picture.height, draws);
  const data = new Uint8Array(picture.data.length);
  for (let i = 0; i < data.length; i++) {
    data[i] = Math.min(255, weights.picture * picture.data[i] + weights.ice * ice[i]);
  }
  return { ...picture, data };
}
