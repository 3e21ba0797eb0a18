// A scene: one icon somewhere on a background, with everything about it known. Drawing lots and painting are apart, so
// that a benchmark can keep scenes as items and paint them when they are asked for.

import type { Rng } from '@fovea/tensor/random';
import { GLYPH_VARIANTS, INK_VARIANTS } from './glyphs.ts';
import {
  type Blob,
  type Ground,
  type IconLook,
  type IconPose,
  layerOf,
  paintBackground,
  paintBlob,
  paintIcon,
  type Rgb,
} from './painting.ts';
import type { SpriteSheet } from './sprites.ts';

export type { Blob, Rgb } from './painting.ts';

export interface Scene extends Pick<IconLook, 'style' | 'concept' | 'ink' | 'hue'>, IconPose {
  background: Ground;
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
  paintBackground(scene.background, imageSize, out, offset);
  for (const blob of scene.blobs ?? []) paintBlob(blob, imageSize, out, offset);
  paintIcon(layerOf(sheet, scene), sheet.size, scene, imageSize, out, offset);
}
