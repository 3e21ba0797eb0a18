// A scene: one icon somewhere on a background, with everything about it known. Drawing lots and painting are apart, so
// that a benchmark can keep scenes as items and paint them when they are asked for.

import type { Rng } from '@fovea/tensor/random';
import { GLYPH_VARIANTS, INK_VARIANTS } from './glyphs.ts';
import type { SpriteSheet } from './sprites.ts';

export type Rgb = [number, number, number];

/** A filled disc behind or beside the icon: part of what makes a scene hard. Units are picture sides. */
export interface Blob {
  x: number;
  y: number;
  radius: number;
  colour: Rgb;
}

export interface Scene {
  /** Index into the sheet's styles. */
  style: number;
  /** Index into the sheet's concepts. */
  concept: number;
  /** Icon side as a share of the picture's. */
  scale: number;
  /** Icon centre, 0..1 from the left and top. */
  x: number;
  y: number;
  /** Clockwise degrees. */
  rotation: number;
  /** Linear gradient between two colours along `angle` degrees, channels 0..1. */
  background: { from: Rgb; to: Rgb; angle: number };
  /** Pseudo-monochrome drawing: variant number and ink level 0..1. */
  ink?: { variant: number; level: number };
  /** Hue rotation in degrees and saturation factor. */
  hue?: { angle: number; saturation: number };
  blobs?: Blob[];
}

/** What a scene's pixels mean besides the name: the targets of the linear probes. */
export interface Factors {
  /** Mean background colour, channels 0..1, before the icon covers it. */
  background: Rgb;
  scale: number;
  x: number;
  y: number;
  /** Degrees. */
  rotation: number;
}

export interface SceneOptions {
  /** Indices of the styles to draw from. */
  styles: readonly number[];
  /** Number of concepts to draw from; or one concept by its index. */
  concepts: number | { only: number };
  scale: readonly [number, number];
  /** Largest rotation either way, degrees. */
  rotation: number;
  /** Share of pseudo-monochrome drawings; needs styles that have glyphs. @default 0 */
  monochrome?: number;
  /** Share of hue-rotated icons. @default 0 */
  hue?: number;
  /** Small, turned, off-centre icons on busy grounds. @default false */
  hard?: boolean;
}

/** Background channels stay above this, since the monochrome sets are drawn dark. */
const LIGHTEST_INK_GROUND = 0.3;
const HARD_SCALE: [number, number] = [0.45, 0.65];
const HARD_ROTATION = 30;

const colour = (rng: Rng): Rgb => [0, 1, 2].map(() => rng.between(LIGHTEST_INK_GROUND, 1)) as Rgb;

/** Draws lots for one scene; every scene uses the same number of draws for what all scenes have. */
export function drawScene(rng: Rng, options: SceneOptions): Scene {
  const { hard = false } = options;
  const style = options.styles[rng.int(options.styles.length)];
  const concept = typeof options.concepts === 'number' ? rng.int(options.concepts) : options.concepts.only;
  const scale = rng.between(...(hard ? HARD_SCALE : options.scale));
  const turn = hard ? HARD_ROTATION : options.rotation;
  const rotation = rng.between(-turn, turn);
  const place = () => rng.between(scale / 2, 1 - scale / 2);
  const scene: Scene = {
    style,
    concept,
    scale,
    x: place(),
    y: place(),
    rotation,
    background: { from: colour(rng), to: colour(rng), angle: rng.between(0, 360) },
  };
  const lot = rng.uniform();
  const monochrome = options.monochrome ?? 0;
  if (lot < monochrome) scene.ink = drawInk(rng, lot < monochrome * LINE_SHARE);
  else if (rng.uniform() < (options.hue ?? 0))
    scene.hue = { angle: rng.between(0, 360), saturation: rng.between(0.2, 1.2) };
  if (hard)
    scene.blobs = Array.from({ length: 3 }, () => ({
      x: rng.uniform(),
      y: rng.uniform(),
      radius: rng.between(0.06, 0.2),
      colour: colour(rng),
    }));
  return scene;
}

/** Share of the monochrome drawings that keep the icon's colours under drawn lines. */
const LINE_SHARE = 0.27;

function drawInk(rng: Rng, line: boolean): { variant: number; level: number } {
  if (line) return { variant: INK_VARIANTS + rng.int(GLYPH_VARIANTS - INK_VARIANTS), level: rng.between(0, 0.15) };
  return { variant: rng.int(INK_VARIANTS), level: rng.between(0.05, 0.25) };
}

export function factorsOf({ background: { from, to }, scale, x, y, rotation }: Scene): Factors {
  return { background: from.map((c, i) => (c + to[i]) / 2) as Rgb, scale, x, y, rotation };
}

/** Paints a scene into out[offset .. offset + 3·S·S): channels first, RGB in [0, 1]. Bilinear, premultiplied. */
export function renderScene(sheet: SpriteSheet, scene: Scene, imageSize: number, out: Float32Array, offset = 0): void {
  paintBackground(scene, imageSize, out, offset);
  for (const blob of scene.blobs ?? []) paintBlob(blob, imageSize, out, offset);
  paintIcon(layerOf(sheet, scene), sheet.size, scene, imageSize, out, offset);
}

function paintBackground(
  { background: { from, to, angle } }: Scene,
  size: number,
  out: Float32Array,
  offset: number,
): void {
  const radians = (angle * Math.PI) / 180;
  const [cos, sin] = [Math.cos(radians), Math.sin(radians)];
  const plane = size * size;
  for (let y = 0; y < size; y++) {
    const v = (2 * (y + 0.5)) / size - 1;
    for (let x = 0; x < size; x++) {
      const u = (2 * (x + 0.5)) / size - 1;
      const t = ((cos * u + sin * v) / Math.SQRT2 + 1) / 2;
      const at = offset + y * size + x;
      for (let c = 0; c < 3; c++) out[at + c * plane] = from[c] * (1 - t) + to[c] * t;
    }
  }
}

function paintBlob(blob: Blob, size: number, out: Float32Array, offset: number): void {
  const plane = size * size;
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      const far = Math.hypot((x + 0.5) / size - blob.x, (y + 0.5) / size - blob.y);
      const cover = Math.min(1, Math.max(0, (blob.radius - far) * size + 0.5));
      if (cover === 0) continue;
      const at = offset + y * size + x;
      for (let c = 0; c < 3; c++) out[at + c * plane] += cover * (blob.colour[c] - out[at + c * plane]);
    }
  }
}

/** The icon's premultiplied RGBA [size, size, 4] in 0..255, with ink or a hue turn applied. */
function layerOf(sheet: SpriteSheet, scene: Scene): Float32Array {
  const pixels = sheet.size ** 2;
  const layer = new Float32Array(pixels * 4);
  layer.set(
    sheet.colour.subarray((scene.style * sheet.concepts.length + scene.concept) * pixels * 4).subarray(0, pixels * 4),
  );
  if (scene.hue) turnHue(layer, scene.hue.angle, scene.hue.saturation);
  if (scene.ink) applyInk(layer, sheet, scene, scene.ink);
  return layer;
}

function applyInk(
  layer: Float32Array,
  sheet: SpriteSheet,
  scene: Scene,
  { variant, level }: { variant: number; level: number },
): void {
  const row = sheet.glyphStyles.indexOf(sheet.styles[scene.style]);
  if (row < 0)
    throw new Error(`the style ${sheet.styles[scene.style]} has no pseudo-monochrome drawings in this sheet`);
  const pixels = sheet.size ** 2;
  const first = ((row * sheet.concepts.length + scene.concept) * GLYPH_VARIANTS + variant) * pixels;
  const replaces = variant < INK_VARIANTS;
  for (let i = 0; i < pixels; i++) {
    const cover = sheet.glyphs[first + i] / 255;
    for (let c = 0; c < 3; c++)
      layer[4 * i + c] = (replaces ? 0 : layer[4 * i + c] * (1 - cover)) + 255 * level * cover;
    layer[4 * i + 3] = (replaces ? 0 : layer[4 * i + 3] * (1 - cover)) + 255 * cover;
  }
}

/** Rotates hue and scales saturation in YIQ; linear, so premultiplied colours stay consistent. */
function turnHue(layer: Float32Array, degrees: number, saturation: number): void {
  const radians = (degrees * Math.PI) / 180;
  const [cos, sin] = [Math.cos(radians) * saturation, Math.sin(radians) * saturation];
  for (let i = 0; i < layer.length; i += 4) {
    const [r, g, b, alpha] = [layer[i], layer[i + 1], layer[i + 2], layer[i + 3]];
    const y = 0.299 * r + 0.587 * g + 0.114 * b;
    const inPhase = 0.596 * r - 0.274 * g - 0.322 * b;
    const quadrature = 0.211 * r - 0.523 * g + 0.312 * b;
    const p = cos * inPhase - sin * quadrature;
    const q = sin * inPhase + cos * quadrature;
    layer[i] = Math.min(alpha, Math.max(0, y + 0.956 * p + 0.621 * q));
    layer[i + 1] = Math.min(alpha, Math.max(0, y - 0.272 * p - 0.647 * q));
    layer[i + 2] = Math.min(alpha, Math.max(0, y - 1.106 * p + 1.703 * q));
  }
}

function paintIcon(
  layer: Float32Array,
  size: number,
  scene: Scene,
  imageSize: number,
  out: Float32Array,
  offset: number,
): void {
  const radians = (scene.rotation * Math.PI) / 180;
  const step = size / (scene.scale * imageSize);
  const [cos, sin] = [Math.cos(radians) * step, Math.sin(radians) * step];
  const plane = imageSize * imageSize;
  for (let y = 0; y < imageSize; y++) {
    const dy = y + 0.5 - scene.y * imageSize;
    for (let x = 0; x < imageSize; x++) {
      const dx = x + 0.5 - scene.x * imageSize;
      const u = cos * dx + sin * dy + size / 2 - 0.5;
      const v = -sin * dx + cos * dy + size / 2 - 0.5;
      if (u <= -1 || v <= -1 || u >= size || v >= size) continue;
      blend(layer, size, u, v, out, offset + y * imageSize + x, plane);
    }
  }
}

function blend(
  layer: Float32Array,
  size: number,
  u: number,
  v: number,
  out: Float32Array,
  at: number,
  plane: number,
): void {
  const [u0, v0] = [Math.floor(u), Math.floor(v)];
  const [fu, fv] = [u - u0, v - v0];
  let r = 0;
  let g = 0;
  let b = 0;
  let alpha = 0;
  for (let j = 0; j < 2; j++) {
    const row = v0 + j;
    if (row < 0 || row >= size) continue;
    const wv = j === 0 ? 1 - fv : fv;
    for (let i = 0; i < 2; i++) {
      const column = u0 + i;
      if (column < 0 || column >= size) continue;
      const w = (wv * (i === 0 ? 1 - fu : fu)) / 255;
      const p = 4 * (row * size + column);
      r += w * layer[p];
      g += w * layer[p + 1];
      b += w * layer[p + 2];
      alpha += w * layer[p + 3];
    }
  }
  out[at] = r + out[at] * (1 - alpha);
  out[at + plane] = g + out[at + plane] * (1 - alpha);
  out[at + 2 * plane] = b + out[at + 2 * plane] * (1 - alpha);
}
