// The emoji world through the package's front door: sprites of all nine sets, scenes that depend on nothing but their
// own number, and factors that say what the pixels show. Sprites are checked coarsely, since librsvg's versions differ.

import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import {
  CONCEPTS,
  drawScene,
  type EmojiWorld,
  emojiLicences,
  factorsOf,
  openDataset,
  type Scene,
  type SpriteSheet,
  STYLES,
} from '@fovea/data';
import type { EmojiWorldConfig } from '@fovea/recipe';
import { philox } from '@fovea/tensor/random';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const TRAIN = ['noto', 'twemoji', 'fluent-emoji-flat', 'emojione'];
const config = (more: Partial<EmojiWorldConfig> = {}): EmojiWorldConfig => ({
  kind: 'emoji-world',
  imageSize: 48,
  concepts: 6,
  trainStyles: TRAIN,
  redrawStyles: ['noto-v1', 'fxemoji'],
  heldOutStyles: ['openmoji', 'emojione-monotone', 'fluent-emoji-high-contrast'],
  monochrome: 0.4,
  hue: 0.3,
  monochromeRamp: 0,
  scale: [0.5, 1],
  rotation: 15,
  ...more,
});

/** What philox(7, 'golden') draws; plain arithmetic on 24-bit numbers, so exact everywhere. */
const GOLDEN_SCENE = {
  style: 1,
  concept: 10,
  scale: 0.6160668730735779,
  x: 0.3646711163053489,
  y: 0.35425841734416963,
  rotation: -1.743294596672058,
  background: {
    from: [0.3479153156280517, 0.7165746212005615, 0.7032339036464691],
    to: [0.3122037589550018, 0.9885906517505645, 0.3601300477981567],
    angle: 42.85092830657959,
  },
};

/** Means of 3 × 3 blocks, red, green, blue, row by row: noto's rice ball on a gradient (librsvg 2.63). */
const GOLDEN_BLOCKS = [
  [0.509, 0.708, 0.753, 0.685, 0.636, 0.868, 0.641, 0.603, 0.892],
  [0.829, 0.803, 0.667, 0.825, 0.636, 0.715, 0.721, 0.519, 0.595],
  [0.864, 0.849, 0.782, 0.844, 0.636, 0.806, 0.793, 0.594, 0.737],
].flat();

let cacheDir: string;
/** Six concepts, all styles, 48 pixels, with pseudo-monochrome drawings. */
let world: EmojiWorld;
/** Its sprites with those drawings. */
let inked: SpriteSheet;
/** All concepts, all styles, as thumbnails. */
let thumbnails: EmojiWorld;

const open = async (more?: Partial<EmojiWorldConfig>) =>
  (await openDataset(config(more), { recipeDir: '.', cacheDir, seed: 0 })) as EmojiWorld;

beforeAll(async () => {
  cacheDir = await mkdtemp(path.join(os.tmpdir(), 'fovea-emoji-'));
  world = await open();
  inked = await world.inkedSheet();
  thumbnails = await open({ imageSize: 16, concepts: 'all', monochrome: 0 });
}, 120_000);

afterAll(() => rm(cacheDir, { recursive: true, force: true }));

/** A plain scene in the middle, upright, on one colour. */
const scene = (more: Partial<Scene> = {}): Scene => ({
  style: 0,
  concept: 0,
  scale: 0.7,
  x: 0.5,
  y: 0.5,
  rotation: 0,
  background: { from: [1, 1, 1], to: [1, 1, 1], angle: 0 },
  ...more,
});

/** Icon coverage 0..1 of every pixel: what a white and a black ground do not share. */
function maskOf(shown: Scene): Float32Array {
  const on = (level: number): Scene => {
    const ground: [number, number, number] = [level, level, level];
    return { ...shown, background: { from: ground, to: ground, angle: 0 } };
  };
  const pixels = world.render([on(1), on(0)], inked);
  const plane = world.imageSize ** 2;
  return Float32Array.from({ length: plane }, (_, i) => 1 - (pixels[i] - pixels[3 * plane + i]));
}

/** Area in pixels, centre in pixels and mean squared distance from it. */
function moments(mask: ArrayLike<number>, side: number) {
  const sums = [0, 0, 0];
  for (let i = 0; i < side * side; i++) {
    sums[0] += mask[i];
    sums[1] += mask[i] * ((i % side) + 0.5);
    sums[2] += mask[i] * (Math.floor(i / side) + 0.5);
  }
  const [area, x, y] = [sums[0], sums[1] / sums[0], sums[2] / sums[0]];
  return { area, x, y };
}

function spriteMask(sheet: EmojiWorld['sheet'], style: number, concept: number): Float32Array {
  const pixels = sheet.size ** 2;
  const first = (style * sheet.concepts.length + concept) * pixels;
  return Float32Array.from({ length: pixels }, (_, i) => sheet.colour[4 * (first + i) + 3] / 255);
}

/** Compares bits; vitest's own comparison of long arrays takes seconds. */
const sameBits = (a: Float32Array, b: Float32Array) =>
  Buffer.from(a.buffer, a.byteOffset, a.byteLength).equals(Buffer.from(b.buffer, b.byteOffset, b.byteLength));

/** In 0..1 up to the rounding of bilinear weights. */
const isShade = (value: number) => value >= -1e-6 && value <= 1 + 1e-6;

const meanOf = (values: Float32Array) => values.reduce((sum, value) => sum + value, 0) / values.length;

describe('concepts and sets', () => {
  it('names every concept once, in lower case, from five groups of emojibase', () => {
    const { classes } = thumbnails;
    expect(classes.length).toBe(CONCEPTS.length);
    expect(classes.length).toBeGreaterThanOrEqual(100);
    expect(new Set(classes).size).toBe(classes.length);
    for (const name of classes) expect(name).toMatch(/^[a-z0-9][a-z0-9 -]*$/);
    const concepts = thumbnails.concepts();
    expect(new Set(concepts.map(({ hexcode }) => hexcode)).size).toBe(classes.length);
    for (const { hexcode } of concepts) expect(hexcode).toMatch(/^[0-9A-F]{4,5}(-[0-9A-F]{4,5})*$/);
    const groups = new Set(concepts.map(({ group }) => group));
    expect([...groups].sort()).toEqual(['activities', 'animals-nature', 'food-drink', 'objects', 'travel-places']);
  });

  it('mixes the groups in every prefix', () => {
    const groups = thumbnails.concepts().map(({ group }) => group);
    for (const size of [12, 24, 48, 96]) {
      const prefix = groups.slice(0, size);
      for (const group of new Set(groups)) {
        const whole = groups.filter((other) => other === group).length / groups.length;
        const share = prefix.filter((other) => other === group).length / size;
        expect(share, `${group} in the first ${size}`).toBeGreaterThan(whole / 3);
      }
    }
  });

  it('draws every concept in all nine sets, each differently', () => {
    const { sheet } = thumbnails;
    expect([...sheet.styles].sort()).toEqual([...STYLES].sort());
    const bytes = sheet.size ** 2 * 4;
    sheet.styles.forEach((style, s) => {
      const seen = new Map<string, string>();
      sheet.concepts.forEach((concept, c) => {
        const cover = meanOf(spriteMask(sheet, s, c));
        expect(cover, `${concept} in ${style}`).toBeGreaterThan(0.03);
        expect(cover, `${concept} in ${style}`).toBeLessThanOrEqual(1);
        const first = (s * sheet.concepts.length + c) * bytes;
        const key = Buffer.from(sheet.colour.subarray(first, first + bytes)).toString('base64');
        expect(seen.get(key), `${concept} in ${style}`).toBeUndefined();
        seen.set(key, concept);
      });
    });
  });

  it('keeps colours premultiplied: no channel above its alpha', () => {
    const { colour } = thumbnails.sheet;
    let above = 0;
    for (let i = 0; i < colour.length; i += 4) {
      if (Math.max(colour[i], colour[i + 1], colour[i + 2]) > colour[i + 3]) above++;
    }
    expect(above).toBe(0);
  });

  it('credits all nine sets', () => {
    const licences = emojiLicences();
    expect(licences.map(({ style }) => style).sort()).toEqual([...STYLES].sort());
    for (const { licence, author, version } of licences) {
      expect(['MIT', 'Apache-2.0', 'CC-BY-4.0', 'CC-BY-SA-4.0']).toContain(licence);
      expect(author.length).toBeGreaterThan(2);
      expect(version).toMatch(/^\d+\.\d+\.\d+/);
    }
    expect(licences.find(({ style }) => style === 'openmoji')?.licence).toBe('CC-BY-SA-4.0');
  });
});

describe('training batches', () => {
  it('gives the same bits again, also after reopening from the cache', async () => {
    const query = { seed: 3, stream: 'pretrain', first: 100, size: 16 };
    const a = await world.trainBatch(query);
    const b = await (await open()).trainBatch(query);
    expect(sameBits(b.pixels, a.pixels)).toBe(true);
    expect(b.labels).toEqual(a.labels);
    expect(b.samples).toEqual(a.samples);
  });

  it('does not depend on batch size or order of asking', async () => {
    const query = { seed: 3, stream: 'align', first: 40, size: 12 };
    const whole = await world.trainBatch(query);
    const size = 3 * world.imageSize ** 2;
    for (const i of [11, 0, 5]) {
      const one = await world.trainBatch({ ...query, first: 40 + i, size: 1 });
      expect(sameBits(one.pixels, whole.pixels.subarray(i * size, (i + 1) * size))).toBe(true);
      expect(one.labels[0]).toBe(whole.labels[i]);
      expect(one.samples[0]).toEqual(whole.samples[i]);
    }
  });

  it('differs between seeds, streams and samples', async () => {
    const query = { seed: 3, stream: 'align', first: 0, size: 1 };
    const base = (await world.trainBatch(query)).pixels;
    for (const other of [{ seed: 4 }, { stream: 'pretrain' }, { first: 1 }]) {
      expect(sameBits((await world.trainBatch({ ...query, ...other })).pixels, base)).toBe(false);
    }
  });

  it('shows training styles only, every one and every concept, in pixels within 0..1', async () => {
    const { pixels, samples, labels } = await world.trainBatch({ seed: 0, stream: 'pretrain', first: 0, size: 200 });
    expect([...new Set(samples.map(({ style }) => style))].sort()).toEqual([...TRAIN].sort());
    expect(new Set(labels).size).toBe(6);
    expect(samples.map(({ label }) => label)).toEqual([...labels]);
    expect(pixels.every(isShade)).toBe(true);
  });

  it('raises the share of other looks along the ramp of the pretrain stage', async () => {
    const ramped = await open({ monochromeRamp: 1000 });
    const same = async (stream: string, first: number) => {
      const query = { seed: 0, stream, first, size: 32 };
      const [a, b] = [await ramped.trainBatch(query), await world.trainBatch(query)];
      return sameBits(a.pixels, b.pixels);
    };
    expect(await same('pretrain', 0)).toBe(false);
    expect(await same('pretrain', 1000)).toBe(true);
    expect(await same('align', 0)).toBe(true);
  });
});

describe('factors', () => {
  it('give the mean background colour', () => {
    const rng = philox(1, 'backgrounds');
    const plane = world.imageSize ** 2;
    for (let i = 0; i < 20; i++) {
      const drawn = drawScene(rng, { styles: [0], concepts: 6, scale: [0.5, 1], rotation: 15 });
      // The icon is put outside the picture, so that only its ground is seen.
      const pixels = world.render([{ ...drawn, x: 5 }]);
      const { background, ...rest } = factorsOf(drawn);
      expect(rest).toEqual({ scale: drawn.scale, x: drawn.x, y: drawn.y, rotation: drawn.rotation });
      background.forEach((value, c) => {
        expect(meanOf(pixels.subarray(c * plane, (c + 1) * plane))).toBeCloseTo(value, 5);
      });
    }
  });

  it('give place, scale and turn: the mask is the sprite moved, shrunk and turned clockwise', () => {
    const rng = philox(2, 'places');
    const side = world.imageSize;
    for (let i = 0; i < 24; i++) {
      const shown = drawScene(rng, {
        styles: [0, 1, 2, 3, 4, 5, 6, 7, 8],
        concepts: 6,
        scale: [0.5, 0.7],
        rotation: 90,
      });
      shown.x = rng.between(0.45, 0.55);
      shown.y = rng.between(0.45, 0.55);
      const sprite = moments(spriteMask(world.sheet, shown.style, shown.concept), world.sheet.size);
      const mask = moments(maskOf(shown), side);
      const dx = (sprite.x / world.sheet.size - 0.5) * shown.scale;
      const dy = (sprite.y / world.sheet.size - 0.5) * shown.scale;
      const radians = (shown.rotation * Math.PI) / 180;
      const what = `${world.sheet.styles[shown.style]} ${world.classes[shown.concept]}`;
      // Half a pixel of 48; the area within 6 %, the price of bilinear sampling without filtering.
      expect(Math.abs(mask.x - side * (shown.x + dx * Math.cos(radians) - dy * Math.sin(radians))), what).toBeLessThan(
        0.5,
      );
      expect(Math.abs(mask.y - side * (shown.y + dx * Math.sin(radians) + dy * Math.cos(radians))), what).toBeLessThan(
        0.5,
      );
      const expected = sprite.area * shown.scale ** 2 * (side / world.sheet.size) ** 2;
      expect(Math.abs(mask.area / expected - 1), what).toBeLessThan(0.06);
    }
  });

  it('turn clockwise: a thin icon on its side stands up after 90 degrees', () => {
    const concept = world.classes.indexOf('american football');
    const spread = (rotation: number) => {
      const mask = maskOf(scene({ concept, rotation }));
      const { area, x, y } = moments(mask, 48);
      // Mixed second moment: above 0 for a shape from top left to bottom right.
      return mask.reduce((sum, m, i) => sum + m * ((i % 48) + 0.5 - x) * (Math.floor(i / 48) + 0.5 - y), 0) / area;
    };
    expect(Math.abs(spread(0))).toBeGreaterThan(2);
    expect(Math.sign(spread(90))).toBe(-Math.sign(spread(0)));
    expect(spread(180)).toBeCloseTo(spread(0), 2);
  });

  it('of a batch are those of its pixels', async () => {
    const { pixels, samples } = await world.trainBatch({ seed: 9, stream: 'align', first: 0, size: 8 });
    samples.forEach(({ factors }, i) => {
      expect(factors).not.toBeNull();
      // A corner far from the icon shows the gradient, whose colour stays near the mean that the factors give.
      const corner = pixels[i * 3 * 48 * 48 + (factors!.y > 0.5 ? 0 : 47 * 48) + (factors!.x > 0.5 ? 0 : 47)];
      expect(Math.abs(corner - factors!.background[0])).toBeLessThan(0.71);
      expect(factors!.x).toBeGreaterThanOrEqual(factors!.scale / 2);
      expect(factors!.x).toBeLessThanOrEqual(1 - factors!.scale / 2);
      expect(Math.abs(factors!.rotation)).toBeLessThanOrEqual(15);
    });
  });
});

describe('scenes', () => {
  it('are drawn as they always were: weights that ship depend on it', () => {
    const drawn = drawScene(philox(7, 'golden'), { styles: [0, 1], concepts: 100, scale: [0.5, 1], rotation: 15 });
    expect(JSON.parse(JSON.stringify(drawn))).toEqual(GOLDEN_SCENE);
  });

  it('look as they always did, within what rasterisers differ by', () => {
    const ground = { from: [0.4, 0.9, 0.9] as [number, number, number], to: [1, 0.5, 0.7] as [number, number, number] };
    const shown = scene({
      concept: world.classes.indexOf('rice ball'),
      background: { ...ground, angle: 30 },
      rotation: 10,
    });
    const pixels = world.render([shown]);
    const blocks = Array.from({ length: 27 }, (_, b) => {
      const [c, row, column] = [Math.floor(b / 9), Math.floor((b % 9) / 3), b % 3];
      let sum = 0;
      for (let y = 0; y < 16; y++) {
        for (let x = 0; x < 16; x++) sum += pixels[(c * 48 + row * 16 + y) * 48 + column * 16 + x];
      }
      return sum / 256;
    });
    blocks.forEach((value, b) => {
      expect(value, `block ${b}`).toBeGreaterThan(GOLDEN_BLOCKS[b] - 0.03);
      expect(value, `block ${b}`).toBeLessThan(GOLDEN_BLOCKS[b] + 0.03);
    });
  });

  it('that are hard are smaller, more turned and busier, and still show the icon', () => {
    const rng = philox(5, 'hard');
    const options = { styles: [0], concepts: 6, scale: [0.5, 1] as const, rotation: 15, hard: true };
    const drawn = Array.from({ length: 100 }, () => drawScene(rng, options));
    expect(Math.max(...drawn.map(({ scale }) => scale))).toBeLessThanOrEqual(0.65);
    const turns = drawn.map(({ rotation }) => Math.abs(rotation));
    expect(turns.filter((turn) => turn > 15).length).toBeGreaterThan(30);
    expect(Math.max(...turns)).toBeLessThanOrEqual(30);
    for (const hard of drawn) expect(hard.blobs?.length).toBeGreaterThan(1);
    const pixels = world.render(drawn);
    expect(pixels.every(isShade)).toBe(true);
    for (const hard of drawn.slice(0, 20)) {
      const { area } = moments(maskOf(hard), 48);
      expect(area).toBeGreaterThan(40);
    }
    const colours = (shown: Scene) =>
      new Set(Array.from(world.render([shown]).subarray(0, 2304), (v) => Math.round(v * 20)));
    const { blobs: _blobs, ...bare } = drawn[0];
    expect(colours(drawn[0]).size).toBeGreaterThanOrEqual(colours(bare).size);
    expect(sameBits(world.render([drawn[0]]), world.render([bare]))).toBe(false);
  });

  it('survive JSON, and paint over whatever the output held', () => {
    const drawn = drawScene(philox(6, 'json'), { styles: [0], concepts: 6, scale: [0.5, 1], rotation: 15, hard: true });
    expect(sameBits(world.render([JSON.parse(JSON.stringify(drawn))]), world.render([drawn]))).toBe(true);
  });
});

describe('pseudo-monochrome drawings', () => {
  const VARIANTS = 10;
  const INKS = 8;

  it('exist for training styles alone', () => {
    expect([...inked.glyphStyles].sort()).toEqual([...TRAIN].sort());
    for (const style of ['openmoji', 'emojione-monotone', 'fluent-emoji-high-contrast', 'noto-v1', 'fxemoji']) {
      const shown = scene({ style: world.styleIndex(style), ink: { variant: 0, level: 0.1 } });
      expect(() => world.render([shown], inked)).toThrow();
    }
  });

  it('are one grey, lie inside the silhouette and differ from each other', () => {
    for (const concept of [0, 1, 2, 3]) {
      const silhouette = maskOf(scene({ concept }));
      const inside = silhouette.reduce((sum, value) => sum + value, 0);
      const seen = new Set<string>();
      for (let variant = 0; variant < INKS; variant++) {
        const shown = scene({ concept, ink: { variant, level: 0.1 } });
        const pixels = world.render([shown], inked);
        const planes = [0, 1, 2].map((c) => pixels.subarray(c * 2304, (c + 1) * 2304));
        expect(sameBits(planes[1], planes[0])).toBe(true);
        expect(sameBits(planes[2], planes[0])).toBe(true);
        const ink = maskOf(shown);
        const area = ink.reduce((sum, value) => sum + value, 0);
        expect(area / inside, `variant ${variant} of ${world.classes[concept]}`).toBeGreaterThan(0.1);
        expect(area / inside).toBeLessThanOrEqual(1.02);
        expect(ink.every((value, i) => value <= silhouette[i] + 0.25)).toBe(true);
        expect(Math.min(...planes[0])).toBeGreaterThanOrEqual(0.1 - 1e-3);
        seen.add(Buffer.from(planes[0].map((v) => Math.round(v * 50))).toString('hex'));
      }
      expect(seen.size).toBeGreaterThanOrEqual(4);
    }
  });

  it('with lines over colours keep the silhouette and darken it', () => {
    for (let variant = INKS; variant < VARIANTS; variant++) {
      for (const concept of [0, 1, 2, 3]) {
        const plain = scene({ concept });
        const lined = scene({ concept, ink: { variant, level: 0 } });
        const [a, b] = [moments(maskOf(plain), 48).area, moments(maskOf(lined), 48).area];
        expect(Math.abs(b / a - 1)).toBeLessThan(0.05);
        expect(meanOf(world.render([lined], inked))).toBeLessThan(meanOf(world.render([plain], inked)));
      }
    }
  });

  it('and turned hues keep the mask', () => {
    const plain = scene({ concept: 3 });
    const turned = scene({ concept: 3, hue: { angle: 120, saturation: 1 } });
    const [a, b] = [maskOf(plain), maskOf(turned)];
    expect(a.every((value, i) => Math.abs(b[i] - value) < 1e-5)).toBe(true);
    expect(sameBits(world.render([turned]), world.render([plain]))).toBe(false);
    const none = scene({ concept: 3, hue: { angle: 0, saturation: 1 } });
    const [p, q] = [world.render([plain]), world.render([none])];
    expect(p.every((value, i) => Math.abs(q[i] - value) < 0.01)).toBe(true);
  });
});

describe('a recipe that asks for what does not exist', () => {
  const sentence = (more: Partial<EmojiWorldConfig>) => expect(open(more)).rejects;

  it('is refused with a sentence', async () => {
    await sentence({ trainStyles: ['noto', 'emojitwo'] }).toThrow(/"emojitwo".*styles are.*noto/);
    await sentence({ trainStyles: ['noto', 'openmoji'] }).toThrow(/"openmoji" twice/);
    await sentence({ concepts: 100_000 }).toThrow(/100000 concepts/);
    await sentence({ trainStyles: ['nope'] }).toHaveProperty('name', 'FoveaError');
  });
});
