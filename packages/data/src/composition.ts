// A composition: one to six icons on one ground, each with its place, size, turn and colours known. What is shown is the
// caller's choice; where it lies is drawn by lot. A JSON value, so a benchmark's items can hold it.

import type { Rng } from '@fovea/tensor/random';
import { letterRows } from './letters.ts';
import {
  type Ground,
  type IconLook,
  type IconPose,
  layerOf,
  paintBackground,
  paintIcon,
  type Rgb,
} from './painting.ts';
import type { SpriteSheet } from './sprites.ts';

export { LETTERS } from './letters.ts';

export interface PlacedIcon extends IconLook, IconPose {}

/** A capital in a 5 × 7 grid of squares. Units are picture sides. */
export interface Letter {
  /** One of `LETTERS`. */
  text: string;
  /** Centre, 0..1 from the left and top. */
  x: number;
  y: number;
  height: number;
  colour: Rgb;
}

export interface Composition {
  background: Ground;
  /** One to six, the hindmost first. */
  icons: PlacedIcon[];
  letter?: Letter;
}

export const MAX_ICONS = 6;

export interface PlaceOptions {
  /** Side of an icon as a share of the picture's, drawn uniformly. @default what six, five, … one leave room for */
  scale?: readonly [number, number];
  /** Largest rotation either way, degrees. @default 0 */
  rotation?: number;
  /** Largest share of the smaller of two icons' squares that the other may cover, 0..1. @default 0 */
  overlap?: number;
}

/** Ranges of the sides of 1 … 6 icons. */
const SCALES: readonly (readonly [number, number])[] = [
  [0.6, 0.9],
  [0.42, 0.5],
  [0.4, 0.48],
  [0.36, 0.44],
  [0.32, 0.38],
  [0.28, 0.34],
];
/** Places that are tried before all icons that are still to come shrink by a tenth. */
const TRIES = 40;
/** Grounds stay lighter than this, as those of scenes. */
const LIGHTEST_INK_GROUND = 0.3;

const colour = (rng: Rng): Rgb => [0, 1, 2].map(() => rng.between(LIGHTEST_INK_GROUND, 1)) as Rgb;

export const drawGround = (rng: Rng): Ground => ({ from: colour(rng), to: colour(rng), angle: rng.between(0, 360) });

/**
 * Lays icons on a ground, in the order given, inside the picture and no closer than `overlap` allows: an icon that finds
 * no place shrinks until it does.
 */
export function drawComposition(rng: Rng, looks: readonly IconLook[], options: PlaceOptions = {}): Composition {
  if (looks.length < 1 || looks.length > MAX_ICONS)
    throw new RangeError(`A composition has 1 to ${MAX_ICONS} icons, not ${looks.length}.`);
  const { scale = SCALES[looks.length - 1], rotation = 0, overlap = 0 } = options;
  const background = drawGround(rng);
  const icons: PlacedIcon[] = [];
  let shrink = 1;
  for (const look of looks) {
    const side = rng.between(...scale);
    const turn = rng.between(-rotation, rotation);
    for (let tries = 1; ; tries++) {
      const [low, high] = [(side * shrink) / 2, 1 - (side * shrink) / 2];
      const pose = { scale: side * shrink, x: rng.between(low, high), y: rng.between(low, high), rotation: turn };
      if (icons.every((other) => covered(pose, other) <= overlap)) {
        icons.push({ ...look, ...pose });
        break;
      }
      if (tries % TRIES === 0) shrink *= 0.9;
    }
  }
  return { background, icons };
}

/** Share of the smaller of two upright squares that the other one covers. */
export function covered(a: IconPose, b: IconPose): number {
  const along = (p: number, q: number) =>
    Math.max(0, Math.min(a.scale, b.scale, (a.scale + b.scale) / 2 - Math.abs(p - q)));
  return (along(a.x, b.x) * along(a.y, b.y)) / Math.min(a.scale, b.scale) ** 2;
}

/** Paints a composition into out[offset .. offset + 3·S·S): channels first, RGB in [0, 1]. */
export function renderComposition(
  sheet: SpriteSheet,
  { background, icons, letter }: Composition,
  imageSize: number,
  out: Float32Array,
  offset = 0,
): void {
  paintBackground(background, imageSize, out, offset);
  for (const icon of icons) paintIcon(layerOf(sheet, icon), sheet.size, icon, imageSize, out, offset);
  if (letter) paintLetter(letter, imageSize, out, offset);
}

/** Each pixel by how much of it the letter's squares cover, counted at 4 × 4 points. */
function paintLetter({ text, x, y, height, colour }: Letter, size: number, out: Float32Array, offset: number): void {
  const rows = letterRows(text);
  const cell = height / rows.length;
  const [left, top] = [x - 2.5 * cell, y - height / 2];
  for (let py = 0; py < size; py++) {
    for (let px = 0; px < size; px++) {
      let hits = 0;
      for (let k = 0; k < 16; k++) {
        const column = Math.floor(((px + ((k % 4) + 0.5) / 4) / size - left) / cell);
        const row = Math.floor(((py + (Math.floor(k / 4) + 0.5) / 4) / size - top) / cell);
        if (column >= 0 && column < 5 && ((rows[row] ?? 0) >> (4 - column)) & 1) hits++;
      }
      if (hits === 0) continue;
      for (let c = 0; c < 3; c++) {
        const at = offset + c * size * size + py * size + px;
        out[at] += (hits / 16) * (colour[c] - out[at]);
      }
    }
  }
}
