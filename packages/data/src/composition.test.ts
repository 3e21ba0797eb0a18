// Compositions: drawn from their own numbers, apart as far as was asked, and painted so that every factor shows; a scene
// of one icon is the composition of that icon to the last bit.

import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { philox } from '@fovea/tensor/random';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Composition, covered, drawComposition, LETTERS, renderComposition } from './composition.ts';
import { type EmojiWorld, openEmojiWorld } from './emoji-world.ts';
import type { IconLook } from './painting.ts';
import { drawScene } from './scene.ts';

let cacheDir: string;
let world: EmojiWorld;
beforeAll(async () => {
  cacheDir = await mkdtemp(path.join(os.tmpdir(), 'fovea-composition-'));
  world = await openEmojiWorld(
    {
      kind: 'emoji-world',
      imageSize: 48,
      concepts: 6,
      trainStyles: ['noto', 'twemoji'],
      redrawStyles: [],
      heldOutStyles: [],
      monochrome: 0,
      hue: 0,
      monochromeRamp: 0,
      scale: [0.5, 1],
      rotation: 15,
    },
    cacheDir,
  );
});
afterAll(() => rm(cacheDir, { recursive: true, force: true }));

const paint = (composition: Composition): Float32Array => {
  const out = new Float32Array(3 * 48 ** 2);
  renderComposition(world.sheet, composition, 48, out);
  return out;
};
const looks = (number: number): IconLook[] =>
  Array.from({ length: number }, (_, i) => ({ style: i % 2, concept: i % 6 }));
const meanDifference = (a: Float32Array, b: Float32Array) =>
  a.reduce((sum, v, i) => sum + Math.abs(v - b[i]), 0) / a.length;

describe('drawComposition', () => {
  it.each([1, 2, 3, 4, 5, 6])('lays %i icons inside the picture and apart', (number) => {
    for (let i = 0; i < 40; i++) {
      const { icons } = drawComposition(philox(1, 'apart', number, i), looks(number));
      expect(icons).toHaveLength(number);
      icons.forEach((icon, k) => {
        expect(Math.min(icon.x, icon.y, 1 - icon.x, 1 - icon.y)).toBeGreaterThanOrEqual(icon.scale / 2 - 1e-9);
        for (const other of icons.slice(0, k)) expect(covered(icon, other)).toBe(0);
      });
    }
  });

  it('bounds the overlap that it allows', () => {
    const drawn = Array.from({ length: 60 }, (_, i) =>
      drawComposition(philox(1, 'overlap', 0, i), looks(4), { overlap: 0.2 }),
    );
    const shares = drawn.flatMap(({ icons }) => icons.flatMap((a, k) => icons.slice(0, k).map((b) => covered(a, b))));
    expect(Math.max(...shares)).toBeLessThanOrEqual(0.2);
    expect(Math.max(...shares)).toBeGreaterThan(0.05);
  });

  it('depends on its own numbers alone and survives JSON', () => {
    const draw = () => drawComposition(philox(7, 'json', 0, 3), looks(3), { rotation: 30 });
    const again = JSON.parse(JSON.stringify(draw()));
    expect(again).toEqual(draw());
    expect(paint(again)).toEqual(paint(draw()));
  });

  it('refuses no icon and more than six', () => {
    expect(() => drawComposition(philox(1, 'none'), [])).toThrow(RangeError);
    expect(() => drawComposition(philox(1, 'many'), looks(7))).toThrow(/1 to 6 icons, not 7/);
  });
});

describe('renderComposition', () => {
  it('paints one icon as a scene does', () => {
    for (let i = 0; i < 20; i++) {
      const scene = drawScene(philox(2, 'scene', 0, i), world.sceneOptions(['noto', 'twemoji']));
      const { background, ...icon } = scene;
      expect(paint({ background, icons: [icon] })).toEqual(world.render([scene]));
    }
  });

  const plain: Composition = {
    background: { from: [0.5, 0.5, 0.5], to: [0.5, 0.5, 0.5], angle: 0 },
    icons: [{ style: 0, concept: 1, scale: 0.8, x: 0.5, y: 0.5, rotation: 0 }],
  };
  const changed = (look: Partial<IconLook>): Composition => ({ ...plain, icons: [{ ...plain.icons[0], ...look }] });

  it('mirrors left for right and nothing else', () => {
    const [there, back] = [paint(plain), paint(changed({ mirrored: true }))];
    const flipped = there.map((_, i) => there[i - (i % 48) + 47 - (i % 48)]);
    expect(meanDifference(back, flipped)).toBeLessThan(1e-6);
    expect(meanDifference(there, back)).toBeGreaterThan(0.005);
  });

  it('tints in shades, or flat where only the silhouette is to stay', () => {
    const colour: [number, number, number] = [0.9, 0.1, 0.2];
    const solid = paint(changed({ tint: { colour, solid: true } }));
    const middle = 24 * 48 + 24;
    [0, 1, 2].forEach((c) => expect(solid[c * 48 ** 2 + middle]).toBeCloseTo(colour[c], 2));
    const shades = paint(changed({ tint: { colour } }));
    expect(meanDifference(shades, solid)).toBeGreaterThan(0.01);
    for (let i = 0; i < 48 ** 2; i++) expect(shades[i]).toBeLessThanOrEqual(Math.max(0.5, colour[0]) + 1e-6);
  });

  it('fills a shape with another texture and leaves the ground alone', () => {
    const textured = paint(changed({ texture: { style: 0, concept: 4 } }));
    const itself = paint(plain);
    expect(meanDifference(textured, itself)).toBeGreaterThan(0.02);
    for (const corner of [0, 47, 47 * 48, 48 ** 2 - 1]) expect(textured[corner]).toBe(itself[corner]);
  });

  it('writes every letter, each unlike the others', () => {
    const written = LETTERS.map((text) =>
      paint({ ...plain, letter: { text, x: 0.5, y: 0.5, height: 0.6, colour: [0, 0, 0] } }),
    );
    written.forEach((one, i) => {
      for (const other of written.slice(0, i)) expect(meanDifference(one, other)).toBeGreaterThan(0.005);
    });
    const unknown = { text: 'Q', x: 0.5, y: 0.5, height: 0.6, colour: [0, 0, 0] as [number, number, number] };
    expect(() => paint({ ...plain, letter: unknown })).toThrow(RangeError);
  });
});
