// Pseudo-monochrome versions of a colour icon, made from its own pixels: the colour regions are found by clustering,
// then drawn as line art, as filled dark regions, as a filled silhouette with light seams, and so on. Trained on these,
// an encoder meets drawn outlines and solid ink without ever seeing a held-out set. After an exploration in PyTorch
// whose numbers are in the package's README.

import { philox, type Rng } from '@fovea/tensor/random';

/** Variants per icon: 8 inks that replace the icon, then 2 line overlays that are drawn over its colours. */
export const INK_VARIANTS = 8;
export const LINE_VARIANTS = 2;
export const GLYPH_VARIANTS = INK_VARIANTS + LINE_VARIANTS;

const CLUSTERS = 5;
/** Two cluster centres start at least this far apart (RGB, 0..255). */
const MIN_FAR = 45;

interface Regions {
  /** 0 outside the icon; regions are numbered from 1, lightest first. */
  labels: Uint8Array;
  /** Mean luminance of each region, lightest first. */
  luminance: number[];
  /** Pixels of each region. */
  area: number[];
}

const squaredDistance = (p: Float32Array, i: number, c: readonly number[]) =>
  (p[3 * i] - c[0]) ** 2 + (p[3 * i + 1] - c[1]) ** 2 + (p[3 * i + 2] - c[2]) ** 2;

function nearest(p: Float32Array, i: number, centres: readonly number[][]): number {
  let best = 0;
  let distance = Number.POSITIVE_INFINITY;
  for (let k = 0; k < centres.length; k++) {
    const d = squaredDistance(p, i, centres[k]);
    if (d < distance) {
      distance = d;
      best = k;
    }
  }
  return best;
}

function mean(p: Float32Array, members: readonly number[]): number[] {
  const sum = [0, 0, 0];
  for (const i of members) for (let c = 0; c < 3; c++) sum[c] += p[3 * i + c];
  return sum.map((s) => s / members.length);
}

/** k-means on colours with farthest-point starts (the 98.5 % farthest, so that stray pixels do not start a cluster). */
function kMeans(p: Float32Array, inside: readonly number[]): number[][] {
  const points = inside.filter((_, i) => i % 7 === 0);
  const centres = [mean(p, inside)];
  while (centres.length < CLUSTERS) {
    const far = points
      .map((i) => [Math.min(...centres.map((c) => squaredDistance(p, i, c))), i])
      .sort((a, b) => a[0] - b[0]);
    const [distance, i] = far[Math.floor(far.length * 0.985)];
    if (Math.sqrt(distance) < MIN_FAR) break;
    centres.push([p[3 * i], p[3 * i + 1], p[3 * i + 2]]);
  }
  for (let round = 0; round < 6; round++) {
    const members: number[][] = centres.map(() => []);
    for (const i of points) members[nearest(p, i, centres)].push(i);
    members.forEach((list, k) => {
      if (list.length > 0) centres[k] = mean(p, list);
    });
  }
  return centres;
}

/** Counts of set pixels in a (2r + 1)² window around every pixel, by running sums. */
function windowCounts(mask: Uint8Array, side: number, r: number): Int32Array {
  const rows = new Int32Array(mask.length);
  const out = new Int32Array(mask.length);
  for (let y = 0; y < side; y++) {
    let sum = 0;
    for (let x = -r; x < side; x++) {
      if (x + r < side) sum += mask[y * side + x + r];
      if (x - r - 1 >= 0) sum -= mask[y * side + x - r - 1];
      if (x >= 0) rows[y * side + x] = sum;
    }
  }
  for (let x = 0; x < side; x++) {
    let sum = 0;
    for (let y = -r; y < side; y++) {
      if (y + r < side) sum += rows[(y + r) * side + x];
      if (y - r - 1 >= 0) sum -= rows[(y - r - 1) * side + x];
      if (y >= 0) out[y * side + x] = sum;
    }
  }
  return out;
}

const maskOf = (labels: Uint8Array, k: number) => labels.map((label) => (label === k ? 1 : 0));

/** Colour regions of a premultiplied RGBA raster, smoothed by a mode filter of about 5 % of the side. */
function regionsOf(rgba: Uint8Array, side: number): Regions {
  const n = side * side;
  const colours = new Float32Array(3 * n);
  const inside: number[] = [];
  for (let i = 0; i < n; i++) {
    const alpha = rgba[4 * i + 3];
    if (alpha < 128) continue;
    inside.push(i);
    for (let c = 0; c < 3; c++) colours[3 * i + c] = (rgba[4 * i + c] * 255) / alpha;
  }
  if (inside.length === 0) return { labels: new Uint8Array(n), luminance: [], area: [] };
  const light = (c: readonly number[]) => 0.299 * c[0] + 0.587 * c[1] + 0.114 * c[2];
  const centres = kMeans(colours, inside).sort((a, b) => light(b) - light(a));
  const raw = new Uint8Array(n);
  for (const i of inside) raw[i] = nearest(colours, i, centres) + 1;
  const votes = centres.map((_, k) => windowCounts(maskOf(raw, k + 1), side, Math.max(1, Math.round(side / 48))));
  const labels = new Uint8Array(n);
  const area = centres.map(() => 0);
  for (const i of inside) {
    let best = 0;
    for (let k = 1; k < votes.length; k++) if (votes[k][i] > votes[best][i]) best = k;
    labels[i] = best + 1;
    area[best]++;
  }
  return { labels, luminance: centres.map(light), area };
}

/** Otsu's threshold over regions weighted by area: how many of the lightest stay light. */
function otsuCut({ luminance, area }: Regions): number {
  let best = -1;
  let cut = 0;
  const weigh = (from: number, to: number) => {
    let weight = 1e-6;
    let sum = 0;
    for (let k = from; k < to; k++) {
      weight += area[k];
      sum += area[k] * luminance[k];
    }
    return [weight, sum / weight];
  };
  for (let at = 1; at < luminance.length; at++) {
    const [w0, m0] = weigh(0, at);
    const [w1, m1] = weigh(at, luminance.length);
    const between = w0 * w1 * (m0 - m1) ** 2;
    if (between > best) [best, cut] = [between, at];
  }
  return cut;
}

/** Seams of width r between regions (and around the icon), drawn dark between light regions and light between dark ones. */
function drawInk({ labels, luminance }: Regions, side: number, filled: readonly boolean[], r: number): Uint8Array {
  const near = [0, ...luminance.map((_, k) => k + 1)].map((k) => windowCounts(maskOf(labels, k), side, r));
  const fill = [false, ...filled];
  const out = new Uint8Array(labels.length);
  for (let i = 0; i < labels.length; i++) {
    const label = labels[i];
    if (label === 0) continue;
    let seam = false;
    for (let k = 0; k < label && !seam; k++) seam = fill[k] === fill[label] && near[k][i] > 0;
    out[i] = fill[label] !== seam ? 255 : 0;
  }
  return out;
}

/** A band of width r inside the silhouette. */
function drawOutline({ labels }: Regions, side: number, r: number): Uint8Array {
  const outside = windowCounts(maskOf(labels, 0), side, r);
  return labels.map((label, i) => (label > 0 && outside[i] > 0 ? 255 : 0));
}

function randomFill({ luminance }: Regions, rng: Rng): boolean[] {
  return luminance.map((light) => rng.uniform() < Math.min(0.85, Math.max(0.15, 0.5 + ((128 - light) / 255) * 0.8)));
}

/** Mean over factor × factor blocks. */
function shrink(mask: Uint8Array, side: number, factor: number): Uint8Array {
  const small = side / factor;
  const out = new Uint8Array(small * small);
  for (let y = 0; y < small; y++) {
    for (let x = 0; x < small; x++) {
      let sum = 0;
      for (let dy = 0; dy < factor; dy++)
        for (let dx = 0; dx < factor; dx++) sum += mask[(y * factor + dy) * side + x * factor + dx];
      out[y * small + x] = Math.round(sum / (factor * factor));
    }
  }
  return out;
}

/**
 * All variants of one icon as ink coverage 0..255: [GLYPH_VARIANTS, S, S] with S = side / factor, from its premultiplied
 * RGBA raster [side, side, 4]. `index` names the icon for the variants that draw lots.
 */
export function glyphVariants(rgba: Uint8Array, side: number, factor: number, index: number): Uint8Array {
  const regions = regionsOf(rgba, side);
  const count = regions.luminance.length;
  const rng = philox(0, 'glyphs', 0, index);
  const width = (share: number) => Math.max(1, Math.round(side * share));
  const none = Array(count).fill(false);
  const cut = otsuCut(regions);
  const dark = count > 1 ? none.map((_, k) => k >= cut) : [true];
  const inks: [boolean[], number][] = [
    [none, width(0.031)],
    [none, width(0.047)],
    [dark, width(0.031)],
    [dark, width(0.042)],
    [none.map(() => true), width(0.031)],
    ...[0, 1, 2].map((): [boolean[], number] => [randomFill(regions, rng), width(rng.between(0.026, 0.05))]),
  ];
  const masks = inks.map(([filled, r]) => drawInk(regions, side, filled, r));
  masks.push(drawInk(regions, side, none, width(0.021)), drawOutline(regions, side, width(0.031)));
  const small = (side / factor) ** 2;
  const out = new Uint8Array(GLYPH_VARIANTS * small);
  masks.forEach((mask, v) => {
    out.set(shrink(mask, side, factor), v * small);
  });
  return out;
}
