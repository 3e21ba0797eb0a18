// How the emoji world paints: grounds, discs, and icons that are turned, mirrored, recoloured or filled with another
// icon's texture. Nothing is drawn by lot here; scene.ts and composition.ts decide what is painted.

import { GLYPH_VARIANTS, INK_VARIANTS } from './glyphs.ts';
import type { SpriteSheet } from './sprites.ts';

export type Rgb = [number, number, number];

/** Linear gradient between two colours along `angle` degrees, channels 0..1. */
export interface Ground {
  from: Rgb;
  to: Rgb;
  angle: number;
}

/** A filled disc behind or beside the icon: part of what makes a scene hard. Units are picture sides. */
export interface Blob {
  x: number;
  y: number;
  radius: number;
  colour: Rgb;
}

/** Where an icon comes to lie. */
export interface IconPose {
  /** Icon side as a share of the picture's. */
  scale: number;
  /** Icon centre, 0..1 from the left and top. */
  x: number;
  y: number;
  /** Clockwise degrees. */
  rotation: number;
}

/** What an icon looks like; without options as its set draws it. */
export interface IconLook {
  /** Index into the sheet's styles. */
  style: number;
  /** Index into the sheet's concepts. */
  concept: number;
  /** Pseudo-monochrome drawing: variant number and ink level 0..1. */
  ink?: { variant: number; level: number };
  /** Hue rotation in degrees and saturation factor. */
  hue?: { angle: number; saturation: number };
  /** Shades of one colour in place of its own; `solid` leaves the silhouette alone. */
  tint?: { colour: Rgb; solid?: boolean };
  /** Filled with another icon's middle, repeated; of its own drawing the outline and the shading remain. */
  texture?: { style: number; concept: number };
  /** Left for right. */
  mirrored?: boolean;
}

export function paintBackground({ from, to, angle }: Ground, size: number, out: Float32Array, offset: number): void {
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

export function paintBlob(blob: Blob, size: number, out: Float32Array, offset: number): void {
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

/** The icon's premultiplied RGBA [size, size, 4] in 0..255, as `look` says. */
export function layerOf(sheet: SpriteSheet, look: IconLook): Float32Array {
  const layer = spriteOf(sheet, look.style, look.concept);
  if (look.hue) turnHue(layer, look.hue.angle, look.hue.saturation);
  if (look.ink) applyInk(layer, sheet, look, look.ink);
  if (look.tint) applyTint(layer, look.tint.colour, look.tint.solid ?? false);
  if (look.texture) applyTexture(layer, spriteOf(sheet, look.texture.style, look.texture.concept), sheet.size);
  if (look.mirrored) mirror(layer, sheet.size);
  return layer;
}

function spriteOf(sheet: SpriteSheet, style: number, concept: number): Float32Array {
  const numbers = sheet.size ** 2 * 4;
  const first = (style * sheet.concepts.length + concept) * numbers;
  return Float32Array.from(sheet.colour.subarray(first, first + numbers));
}

function applyInk(
  layer: Float32Array,
  sheet: SpriteSheet,
  look: IconLook,
  { variant, level }: { variant: number; level: number },
): void {
  const row = sheet.glyphStyles.indexOf(sheet.styles[look.style]);
  if (row < 0) throw new Error(`the style ${sheet.styles[look.style]} has no pseudo-monochrome drawings in this sheet`);
  const pixels = sheet.size ** 2;
  const first = ((row * sheet.concepts.length + look.concept) * GLYPH_VARIANTS + variant) * pixels;
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

const luminance = (layer: Float32Array, i: number) => 0.299 * layer[i] + 0.587 * layer[i + 1] + 0.114 * layer[i + 2];

/** Share of a tinted pixel that no shade of the drawing takes away. */
const TINT_FLOOR = 0.35;

function applyTint(layer: Float32Array, colour: Rgb, solid: boolean): void {
  for (let i = 0; i < layer.length; i += 4) {
    const alpha = layer[i + 3];
    const light = solid ? alpha : TINT_FLOOR * alpha + (1 - TINT_FLOOR) * luminance(layer, i);
    for (let c = 0; c < 3; c++) layer[i + c] = colour[c] * light;
  }
}

/** How much of the drawing's own light and dark stays under a texture. */
const SHADING = 0.6;

/** The middle of `other`, half as wide and high as it, mirrored into a 2 × 2 tiling, its holes filled with its mean colour. */
function applyTexture(layer: Float32Array, other: Float32Array, size: number): void {
  const mean = meanColour(other);
  const light = meanColour(layer).reduce((sum, v, c) => sum + v * [0.299, 0.587, 0.114][c], 0);
  const fold = (t: number) => Math.floor(size / 4) + Math.min(t, size - 1 - t);
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      const [to, from] = [4 * (y * size + x), 4 * (fold(y) * size + fold(x))];
      const cover = layer[to + 3] / 255;
      const shade = SHADING * (luminance(layer, to) - light * cover);
      const hole = 1 - other[from + 3] / 255;
      for (let c = 0; c < 3; c++)
        layer[to + c] = Math.min(layer[to + 3], Math.max(0, (other[from + c] + hole * mean[c]) * cover + shade));
    }
  }
}

/** Of what is opaque, 0..255. */
function meanColour(layer: Float32Array): number[] {
  const sum = [0, 0, 0, 0];
  for (let i = 0; i < layer.length; i++) sum[i % 4] += layer[i];
  return [0, 1, 2].map((c) => (sum[3] === 0 ? 0 : (255 * sum[c]) / sum[3]));
}

function mirror(layer: Float32Array, size: number): void {
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size >> 1; x++) {
      const [a, b] = [4 * (y * size + x), 4 * (y * size + size - 1 - x)];
      for (let c = 0; c < 4; c++) [layer[a + c], layer[b + c]] = [layer[b + c], layer[a + c]];
    }
  }
}

/** Lays a layer [size, size, 4] over the picture, bilinear. */
export function paintIcon(
  layer: Float32Array,
  size: number,
  { scale, x: left, y: top, rotation }: IconPose,
  imageSize: number,
  out: Float32Array,
  offset: number,
): void {
  const radians = (rotation * Math.PI) / 180;
  const step = size / (scale * imageSize);
  const [cos, sin] = [Math.cos(radians) * step, Math.sin(radians) * step];
  const plane = imageSize * imageSize;
  // Half the diagonal, one sprite pixel wider: nothing of the icon lies beyond.
  const reach = ((size / 2 + 1.5) * Math.SQRT2) / step + 1;
  const [x0, x1] = rangeOf(left * imageSize, reach, imageSize);
  const [y0, y1] = rangeOf(top * imageSize, reach, imageSize);
  for (let y = y0; y < y1; y++) {
    const dy = y + 0.5 - top * imageSize;
    for (let x = x0; x < x1; x++) {
      const dx = x + 0.5 - left * imageSize;
      const u = cos * dx + sin * dy + size / 2 - 0.5;
      const v = -sin * dx + cos * dy + size / 2 - 0.5;
      if (u <= -1 || v <= -1 || u >= size || v >= size) continue;
      blend(layer, size, u, v, out, offset + y * imageSize + x, plane);
    }
  }
}

const rangeOf = (centre: number, reach: number, size: number): [number, number] => [
  Math.max(0, Math.floor(centre - reach)),
  Math.min(size, Math.ceil(centre + reach)),
];

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
