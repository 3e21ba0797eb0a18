// Splashes of ImageNet-C: drops of water that catch light along their rims (severity 1 to 3), and mud (4 and 5).

import type { Rgb8 } from '@fovea/data';
import { PARAMETERS } from './constants.ts';
import { distanceToEdges, findEdges } from './edges.ts';
import { bytes, correlate, type Grid, gaussianBlur, numbers, unit } from './filters.ts';
import type { Draws } from './noise.ts';

const WATER = [175 / 255, 238 / 255, 238 / 255];
const MUD = [63 / 255, 42 / 255, 20 / 255];
/** Lights a rim from one side. */
const RELIEF = [-2, -1, 0, -1, 1, 1, 0, 1, 2];
const SUM = new Array<number>(9).fill(1);

export function spatter(picture: Rgb8, level: number, draws: Draws): Rgb8 {
  const { mean, std, sigma, threshold, strength, mud } = PARAMETERS.spatter[level];
  const { width, height } = picture;
  const normals = draws.normals(width * height);
  const noise = numbers(normals.length, (i) => mean + std * normals[i]);
  const liquid = gaussianBlur({ width, height, channels: 1, data: noise }, sigma);
  for (let i = 0; i < liquid.data.length; i++) if (liquid.data[i] < threshold) liquid.data[i] = 0;
  const grid = unit(picture);
  const cover = mud ? mudCover(liquid, threshold, strength) : waterLight(liquid, strength);
  for (let i = 0; i < cover.length; i++) {
    for (let c = 0; c < 3; c++) {
      const under = grid.data[3 * i + c];
      grid.data[3 * i + c] = mud ? under * (1 - cover[i]) + cover[i] * MUD[c] : under + cover[i] * WATER[c];
    }
  }
  return bytes(grid);
}

/** How much mud hides, in [0, 1]: only where it lies thick. */
function mudCover(liquid: Grid, threshold: number, sigma: number): Float64Array {
  const wet = liquid.data.map((value) => (value > threshold ? 1 : 0));
  return gaussianBlur({ ...liquid, data: wet }, sigma).data.map((value) => (value < 0.8 ? 0 : value));
}

/** Light that water adds: by depth, and by a relief of how far its rim is. */
function waterLight(liquid: Grid, strength: number): Float64Array {
  const depth = bytes(liquid).data;
  const near = distanceToEdges(findEdges(depth, liquid.width, liquid.height, 50, 150), liquid.width, liquid.height);
  const plane = (data: Float64Array): Grid => ({ ...liquid, data });
  const capped = correlate(plane(near.map((value) => Math.min(20, value))), SUM, 3).data.map((sum) =>
    Math.trunc(sum / 9),
  );
  const lit = correlate(plane(equalise(capped)), RELIEF, 3).data.map((value) => Math.min(255, Math.max(0, value)));
  const soft = correlate(plane(lit), SUM, 3).data.map((sum) => Math.round(sum / 9));
  const light = soft.map((value, i) => value * depth[i]);
  const most = light.reduce((a, b) => Math.max(a, b), 0);
  return light.map((value) => (most === 0 ? 0 : (value / most) * strength));
}

/** Levels 0 to 255 spread so that each is as frequent as the others; the lowest becomes 0. */
function equalise(values: Float64Array): Float64Array {
  const counts = new Float64Array(256);
  for (const value of values) counts[value]++;
  const lowest = counts.findIndex((count) => count > 0);
  const rest = values.length - counts[lowest];
  if (rest === 0) return values;
  const levels = new Float64Array(256);
  for (let level = lowest + 1, sum = 0; level < 256; level++) {
    sum += counts[level];
    levels[level] = Math.min(255, Math.round((sum * 255) / rest));
  }
  return values.map((value) => levels[value]);
}
