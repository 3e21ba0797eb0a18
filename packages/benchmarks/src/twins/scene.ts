// The pictures of emoji twins as JSON, and back to pixels. What an items file says is checked before it is painted: it
// may have been written by anyone.

import { FoveaError } from '@fovea/artifacts';
import {
  type Composition,
  type EmojiWorld,
  LETTERS,
  MAX_ICONS,
  type Rgb8,
  renderComposition,
  renderScene,
  type Scene,
} from '@fovea/data';
import { z } from 'zod';
import type { PictureRef } from '../suite/item.ts';

const share = z.number().min(-1).max(2);
const degrees = z.number().min(-3600).max(3600);
const rgb = z.tuple([z.number().min(0).max(1), z.number().min(0).max(1), z.number().min(0).max(1)]);
const index = z.int().min(0);
const background = z.strictObject({ from: rgb, to: rgb, angle: degrees });
const hue = z.strictObject({ angle: degrees, saturation: z.number().min(0).max(10) });
const pose = { scale: z.number().positive().max(4), x: share, y: share, rotation: degrees };

const icon = z.strictObject({
  style: index,
  concept: index,
  ...pose,
  hue: hue.optional(),
  tint: z.strictObject({ colour: rgb, solid: z.boolean().optional() }).optional(),
  texture: z.strictObject({ style: index, concept: index }).optional(),
  mirrored: z.boolean().optional(),
});
const letter = z.strictObject({
  text: z.enum(LETTERS as [string, ...string[]]),
  x: share,
  y: share,
  height: z.number().positive().max(4),
  colour: rgb,
});
const blob = z.strictObject({ x: share, y: share, radius: z.number().positive().max(4), colour: rgb });

const composition = z.strictObject({
  background,
  icons: z.array(icon).min(1).max(MAX_ICONS),
  letter: letter.optional(),
});
const scene = z.strictObject({
  style: index,
  concept: index,
  ...pose,
  background,
  hue: hue.optional(),
  blobs: z.array(blob).max(100).optional(),
});

/** A picture of an item from a scene of one icon or of several. */
export const sceneRef = (drawn: Scene | Composition): PictureRef & { kind: 'scene' } => ({
  kind: 'scene',
  scene: drawn as unknown as (PictureRef & { kind: 'scene' })['scene'],
});

/** Paints a scene that an item holds, without its corruption. Throws a FoveaError where it is none of this world's. */
export function paintScene(world: EmojiWorld, json: unknown): Rgb8 {
  const { imageSize: side, sheet } = world;
  const pixels = new Float32Array(3 * side ** 2);
  const several = typeof json === 'object' && json !== null && 'icons' in json;
  const result = (several ? composition : scene).safeParse(json);
  if (!result.success) {
    const [{ path, message }] = result.error.issues;
    throw new FoveaError(`A scene of the emoji world cannot be painted: ${path.join('.') || 'it'} — ${message}.`);
  }
  const drawn = result.data as Scene | Composition;
  for (const { style, concept, texture } of looksOf(drawn)) {
    checkIndex('style', style, sheet.styles.length);
    checkIndex('concept', concept, sheet.concepts.length);
    if (texture) checkIndex('texture', texture.concept, sheet.concepts.length);
    if (texture) checkIndex('style', texture.style, sheet.styles.length);
  }
  if ('icons' in drawn) renderComposition(sheet, drawn, side, pixels);
  else renderScene(sheet, drawn, side, pixels);
  return toRgb8(pixels, side);
}

const looksOf = (drawn: Scene | Composition): Composition['icons'] => ('icons' in drawn ? drawn.icons : [drawn]);

function checkIndex(what: string, at: number, count: number): void {
  if (at < count) return;
  throw new FoveaError(
    `A scene of the emoji world asks for ${what} ${at}, but this world has ${count}; open the suite with the world it was made for.`,
  );
}

/** Channels first and 0..1 to interleaved bytes. */
function toRgb8(pixels: Float32Array, side: number): Rgb8 {
  const plane = side * side;
  const data = new Uint8Array(pixels.length);
  for (let i = 0; i < plane; i++)
    for (let c = 0; c < 3; c++) data[3 * i + c] = Math.round(255 * Math.min(1, Math.max(0, pixels[c * plane + i])));
  return { width: side, height: side, data };
}
