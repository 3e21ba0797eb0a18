// Picture folders through the package's front door: what is listed, split, ordered and decoded, and what bad input gets.
// Real files, made by sharp or byte by byte.

import { mkdir, mkdtemp, readFile, rename, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { crc32 } from 'node:zlib';
import { decodePicture, frame, type ImageFolder, openDataset, readPreprocessing } from '@fovea/data';
import type { ImageFolderConfig } from '@fovea/recipe';
import { philox } from '@fovea/tensor/random';
import sharp, { type Color, type Sharp } from 'sharp';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const RED = { r: 255, g: 0, b: 0 };
const GREEN = { r: 0, g: 255, b: 0 };
const BLUE = { r: 0, g: 0, b: 255 };

let dir: string;
let pictures: string;
beforeEach(async () => {
  dir = await mkdtemp(path.join(os.tmpdir(), 'fovea-folder-'));
  pictures = path.join(dir, 'pictures');
  await mkdir(pictures);
});
afterEach(() => rm(dir, { recursive: true, force: true }));

const plain = (background: Color, width = 20, height = 20, channels: 3 | 4 = 3) =>
  sharp({ create: { width, height, channels, background } });

/** Writes a file below the pictures' folder, and the folders above it. */
async function put(name: string, content: Sharp | Uint8Array | string): Promise<string> {
  const file = path.join(pictures, name);
  await mkdir(path.dirname(file), { recursive: true });
  if (typeof content === 'object' && 'toFile' in content) {
    const format = /\.jpe?g$/i.test(name) ? 'jpeg' : /\.webp$/i.test(name) ? 'webp' : 'png';
    await writeFile(file, await content.toFormat(format).toBuffer());
  } else await writeFile(file, content);
  return file;
}

/** No two pixels alike, no two pictures either. */
function photo(width: number, height: number): Sharp {
  const rng = philox(width, 'photo', height);
  const raw = Uint8Array.from({ length: 3 * width * height }, () => rng.int(256));
  return sharp(raw, { raw: { width, height, channels: 3 } });
}

/** Two classes of two pictures, red and blue. */
async function putTwoClasses(): Promise<void> {
  for (const i of [1, 2]) {
    await put(`red/${i}.png`, plain(RED));
    await put(`blue/${i}.png`, plain(BLUE));
  }
}

const open = async (more: Partial<ImageFolderConfig> = {}, seed = 0) =>
  (await openDataset(
    { kind: 'image-folder', path: 'pictures', imageSize: 8, holdOut: 0, maxPixels: 1_000_000, augment: null, ...more },
    { recipeDir: dir, cacheDir: dir, seed },
  )) as ImageFolder;

const all = (folder: ImageFolder) => folder.trainBatch({ seed: 0, stream: 'all', first: 0, size: folder.trainSize });

/** Mean colour of each picture of a batch. */
function colours({ pixels, labels }: { pixels: Float32Array; labels: Int32Array }, side = 8): number[][] {
  const plane = side * side;
  const mean = (at: number) => pixels.subarray(at, at + plane).reduce((sum, value) => sum + value, 0) / plane;
  return Array.from(labels, (_, i) => [0, 1, 2].map((c) => mean((3 * i + c) * plane)));
}

/** Everything that opening the folder and reading every picture once can complain about. */
const faultOf = async (more?: Partial<ImageFolderConfig>): Promise<Error> => {
  try {
    const folder = await open(more);
    await all(folder);
    await folder.read(folder.heldOut);
  } catch (error) {
    return error as Error;
  }
  throw new Error('Nothing was refused.');
};

async function expectSentence(pattern: RegExp, more?: Partial<ImageFolderConfig>): Promise<void> {
  const error = await faultOf(more);
  expect(error.name, error.stack).toBe('FoveaError');
  expect(error.message).toMatch(pattern);
  expect(error.message).not.toContain('\n');
  // Where the data lies on this machine is nobody's business: sentences end up in reports.
  expect(error.message).not.toContain(dir);
}

describe('listing', () => {
  it('takes jpg, jpeg, png and webp at any depth and in any case, and nothing else', async () => {
    await put('red/1.jpg', plain(RED));
    await put('red/deeper/and/deeper/2.JPEG', plain(RED));
    await put('red/notes.txt', 'not a picture');
    await put('blue/1.PNG', plain(BLUE));
    await put('blue/2.webp', plain(BLUE));
    await put('readme.md', 'beside the classes');
    await put('.cache/1.png', plain(GREEN));
    const folder = await open();
    expect(folder.classes).toEqual(['blue', 'red']);
    expect(folder.train.map(({ name }) => name).sort()).toEqual([
      'blue/1.PNG',
      'blue/2.webp',
      'red/1.jpg',
      'red/deeper/and/deeper/2.JPEG',
    ]);
    const batch = await all(folder);
    expect(batch.pixels.length).toBe(4 * 3 * 64);
    colours(batch).forEach(([r, g, b], i) => {
      const red = folder.classes[batch.labels[i]] === 'red';
      expect(r).toBeCloseTo(red ? 1 : 0, 1);
      expect(g).toBeCloseTo(0, 1);
      expect(b).toBeCloseTo(red ? 0 : 1, 1);
    });
    for (const { style, factors } of batch.samples) {
      expect(style).toMatch(/^(red|blue)\//);
      expect(factors).toBeNull();
    }
  });

  it('reads folder names as prompts', async () => {
    await put('golden_retriever/1.png', plain(RED));
    await put('great-dane/1.png', plain(BLUE));
    expect((await open()).classes).toEqual(['golden retriever', 'great dane']);
  });

  it('takes an absolute path too, and a link to the folder itself', async () => {
    await putTwoClasses();
    await symlink(pictures, path.join(dir, 'link'));
    expect((await open({ path: pictures })).trainSize).toBe(4);
    expect((await open({ path: 'link' })).trainSize).toBe(4);
  });
});

describe('hold-out and order', () => {
  beforeEach(async () => {
    for (let i = 0; i < 10; i++) {
      await put(`a/${i}.png`, plain({ r: 25 * i, g: 0, b: 0 }, 2, 2));
      await put(`b/${i}.png`, plain({ r: 25 * i, g: 255, b: 0 }, 2, 2));
    }
  });

  const names = (list: readonly { name: string }[]) => list.map(({ name }) => name).sort();

  it('holds out the same share of each class, chosen by the seed', async () => {
    const folder = await open({ holdOut: 0.3 });
    for (const letter of ['a', 'b']) {
      expect(folder.heldOut.filter(({ name }) => name.startsWith(letter))).toHaveLength(3);
    }
    expect(names([...folder.train, ...folder.heldOut])).toEqual(names((await open()).train));
    expect(names((await open({ holdOut: 0.3 })).heldOut)).toEqual(names(folder.heldOut));
    const others = await Promise.all(
      [1, 2, 3].map(async (seed) => names((await open({ holdOut: 0.3 }, seed)).heldOut)),
    );
    expect(others.some((other) => other.join() !== names(folder.heldOut).join())).toBe(true);
  });

  it('always leaves a picture of each class to train on', async () => {
    const folder = await open({ holdOut: 1 });
    expect(folder.train.map(({ label }) => label).sort()).toEqual([0, 1]);
  });

  it('shows every picture once an epoch, in another order each time', async () => {
    const folder = await open({ holdOut: 0.3 });
    const epoch = async (e: number, seed = 0, stream = 'align') => {
      const batch = await folder.trainBatch({ seed, stream, first: e * 14, size: 14 });
      return batch.samples.map(({ style }) => style);
    };
    const [first, second] = [await epoch(0), await epoch(1)];
    expect([...first].sort()).toEqual(names(folder.train));
    expect([...second].sort()).toEqual(names(folder.train));
    expect(second).not.toEqual(first);
    expect(await epoch(0)).toEqual(first);
    expect(await epoch(0, 1)).not.toEqual(first);
    expect(await epoch(0, 0, 'projector')).not.toEqual(first);
  });

  it('gives the same samples whatever the batch size, across epochs too', async () => {
    const folder = await open({ holdOut: 0.3 });
    const query = { seed: 5, stream: 'align', first: 9, size: 12 };
    const whole = await folder.trainBatch(query);
    for (const i of [11, 0, 4, 5]) {
      const one = await folder.trainBatch({ ...query, first: 9 + i, size: 1 });
      expect(one.pixels).toEqual(whole.pixels.subarray(i * 192, (i + 1) * 192));
      expect(one.samples[0]).toEqual(whole.samples[i]);
    }
    expect((await (await open({ holdOut: 0.3 })).trainBatch(query)).pixels).toEqual(whole.pixels);
  });

  it('reads held-out pictures in the order asked for', async () => {
    const folder = await open({ holdOut: 0.3 });
    const { samples, labels } = await folder.read(folder.heldOut);
    expect(samples.map(({ style }) => style)).toEqual(folder.heldOut.map(({ name }) => name));
    expect([...labels]).toEqual(folder.heldOut.map(({ label }) => label));
  });
});

describe('decoding', () => {
  /** Opens a folder whose class `a` is this one picture and gives its pixels. */
  async function decoded(name: string, picture: Sharp | Uint8Array, side = 8): Promise<Float32Array> {
    await rm(path.join(pictures, 'a'), { recursive: true, force: true });
    await put(`a/${name}`, picture);
    await put('b/other.png', plain(GREEN));
    const folder = await open({ imageSize: side });
    return (await folder.read(folder.train.filter(({ label }) => label === 0))).pixels;
  }

  const at = (pixels: Float32Array, x: number, y: number, side = 8) =>
    [0, 1, 2].map((c) => pixels[(c * side + y) * side + x]);

  it('turns pictures upright by their EXIF', async () => {
    const halves = plain(RED, 40, 40).composite([
      { input: await plain(BLUE, 40, 20).png().toBuffer(), top: 20, left: 0 },
    ]);
    // Orientation 6: the stored picture is shown turned by a quarter, clockwise, so what is below comes to the left.
    const stored = await sharp(await halves.png().toBuffer())
      .withMetadata({ orientation: 6 })
      .jpeg({ quality: 95 })
      .toBuffer();
    const pixels = await decoded('1.jpg', stored);
    const [left, right] = [at(pixels, 1, 4), at(pixels, 6, 4)];
    expect(left[2]).toBeGreaterThan(0.9);
    expect(left[0]).toBeLessThan(0.1);
    expect(right[0]).toBeGreaterThan(0.9);
    expect(right[2]).toBeLessThan(0.1);
  });

  it('fills the square and cuts the longer side at the centre', async () => {
    const stripes = plain(GREEN, 80, 20).composite([
      { input: await plain(RED, 30, 20).png().toBuffer(), top: 0, left: 0 },
      { input: await plain(BLUE, 30, 20).png().toBuffer(), top: 0, left: 50 },
    ]);
    const pixels = await decoded('1.png', sharp(await stripes.png().toBuffer()), 16);
    expect(at(pixels, 8, 8, 16)[1]).toBeGreaterThan(0.95);
    for (const y of [0, 15]) for (const x of [6, 9]) expect(at(pixels, x, y, 16)[1]).toBeGreaterThan(0.9);
    expect(at(pixels, 0, 8, 16)[2]).toBeLessThan(0.1);
    expect(at(pixels, 15, 8, 16)[0]).toBeLessThan(0.1);
  });

  it('reads grey, 16-bit and CMYK pictures as RGB', async () => {
    const grey = await plain({ r: 128, g: 128, b: 128 }).toColourspace('b-w').png().toBuffer();
    for (const value of at(await decoded('1.png', grey), 4, 4)) expect(value).toBeCloseTo(128 / 255, 2);
    const deep = await sharp(
      Uint16Array.from({ length: 3 * 400 }, () => 0x8000),
      {
        raw: { width: 20, height: 20, channels: 3 },
      },
    )
      .toColourspace('rgb16')
      .png()
      .toBuffer();
    for (const value of at(await decoded('1.png', deep), 4, 4)) expect(value).toBeCloseTo(0.5, 1);
    const print = await plain({ r: 255, g: 255, b: 255 }).toColourspace('cmyk').jpeg().toBuffer();
    for (const value of at(await decoded('1.jpg', print), 4, 4)) expect(value).toBeGreaterThan(0.9);
  });

  it('puts transparent pictures on white', async () => {
    const pixels = await decoded('1.png', plain({ r: 0, g: 0, b: 0, alpha: 0 }, 20, 20, 4));
    expect(pixels.every((value) => value > 0.99)).toBe(true);
  });

  it('enlarges pictures that are too small', async () => {
    const pixels = await decoded('1.png', plain(RED, 1, 1));
    expect(at(pixels, 0, 0)).toEqual([1, 0, 0]);
    expect(at(pixels, 7, 7)).toEqual([1, 0, 0]);
  });
});

describe('framing', () => {
  const SIDE = 24;
  const rules = {
    CLIP: { image_processor_type: 'CLIPImageProcessor', size: { shortest_edge: SIDE }, crop_size: SIDE },
    SigLIP: { image_processor_type: 'SiglipImageProcessor', size: { height: SIDE, width: SIDE }, resample: 2 },
    DINOv2: { image_processor_type: 'BitImageProcessor', size: { shortest_edge: 30 }, crop_size: SIDE },
  };
  const openFramed = async (framing: ReturnType<typeof readPreprocessing> | null, imageSize = SIDE) =>
    (await openDataset(
      { kind: 'image-folder', path: 'pictures', imageSize, holdOut: 0.5, maxPixels: 1e6, augment: null },
      { recipeDir: dir, cacheDir: dir, seed: 0, framing },
    )) as ImageFolder;
  beforeEach(async () => {
    for (const [i, name] of ['a/1.png', 'a/2.jpg', 'b/1.webp', 'b/2.png'].entries())
      await put(name, photo(70 + 9 * i, 41 + 31 * i));
  });

  it.each(Object.entries(rules))('gives, at the side of %s, the pixels of its own processor', async (_name, json) => {
    const rule = readPreprocessing(json, 'p.json');
    const folder = await openFramed(rule);
    for (const part of [folder.train, folder.heldOut]) {
      const { pixels } = await folder.read(part);
      for (const [i, { name }] of part.entries()) {
        const picture = await decodePicture(await readFile(path.join(pictures, name)), { where: name });
        expect(pixels.subarray(i * 3 * SIDE ** 2, (i + 1) * 3 * SIDE ** 2)).toEqual(frame(picture, rule));
      }
    }
  });

  it('is another one, another key and other pixels, where the encoder asks for it', async () => {
    const folders = [
      await openFramed(null),
      ...(await Promise.all(Object.values(rules).map((json) => openFramed(readPreprocessing(json, 'p.json'))))),
    ];
    const [own, clip, ...others] = await Promise.all(
      folders.map(async (folder) => ({
        key: await folder.pictures.key(),
        pixels: await folder.pictures.read(0, 2),
      })),
    );
    // What an exported encoder of this project says is CLIP's rule.
    expect(own).toEqual(clip);
    for (const other of others) {
      expect(other.key).not.toBe(clip.key);
      expect(other.pixels).not.toEqual(clip.pixels);
    }
    expect((await openFramed(null, 12)).framing.resize).toEqual({ shortestEdge: 12 });
  });
});

describe('augmentation', () => {
  const SIDE = 16;
  const crop = { scale: [0.3, 0.9], ratio: [0.75, 4 / 3] } as { scale: [number, number]; ratio: [number, number] };
  const augment = { crop, flip: 0.5 };
  const size = 3 * SIDE ** 2;
  const row = (pixels: Float32Array, i: number) => pixels.subarray(i * size, (i + 1) * size);
  beforeEach(async () => {
    for (let i = 0; i < 5; i++) for (const name of ['a', 'b']) await put(`${name}/${i}.png`, photo(60 + i, 40 - i));
  });
  const query = { seed: 5, stream: 'align', first: 3, size: 24 };

  it('is of a sample alone: batch size, what was read before and restarts change no bit', async () => {
    const folder = await open({ imageSize: SIDE, augment, holdOut: 0.2 });
    const whole = await folder.trainBatch(query);
    for (const i of [23, 0, 7, 8, 16]) {
      const one = await folder.trainBatch({ ...query, first: query.first + i, size: 1 });
      expect(one.pixels).toEqual(row(whole.pixels, i));
    }
    const again = await open({ imageSize: SIDE, augment, holdOut: 0.2 });
    const halves = [12, 0].map((at) => again.trainBatch({ ...query, first: query.first + at, size: 12 }));
    const [second, first] = await Promise.all(halves);
    expect(Float32Array.of(...first.pixels, ...second.pixels)).toEqual(whole.pixels);
    expect((await folder.trainBatch({ ...query, seed: 6 })).pixels).not.toEqual(whole.pixels);
  });

  it('differs from one epoch to the next and between stages, picture by picture', async () => {
    const folder = await open({ imageSize: SIDE, augment });
    const seen = new Map<string, Set<string>>();
    for (const stream of ['pretrain', 'projector', 'align']) {
      const { pixels, samples } = await folder.trainBatch({ seed: 0, stream, first: 0, size: 30 });
      for (const [i, { style }] of samples.entries()) {
        const looks = seen.get(style) ?? new Set();
        seen.set(style, looks.add(row(pixels, i).join()));
      }
    }
    expect(seen.size).toBe(10);
    for (const looks of seen.values()) expect(looks.size).toBe(9);
  });

  it('leaves probes, reports, latents and held-out pictures whole', async () => {
    const [folder, plainly] = [
      await open({ imageSize: SIDE, augment, holdOut: 0.4 }),
      await open({ imageSize: SIDE, holdOut: 0.4 }),
    ];
    for (const stream of ['align/probe', 'pretrain/probe', 'report'])
      expect(await folder.trainBatch({ ...query, stream })).toEqual(await plainly.trainBatch({ ...query, stream }));
    expect(await folder.read(folder.heldOut)).toEqual(await plainly.read(plainly.heldOut));
    expect(await folder.pictures.read(0, 4)).toEqual(await plainly.pictures.read(0, 4));
    expect((await folder.trainBatch(query)).pixels).not.toEqual((await plainly.trainBatch(query)).pixels);
  });

  it('mirrors the encoder’s own frame where there is no crop', async () => {
    const [always, plainly] = [
      await open({ imageSize: SIDE, augment: { crop: null, flip: 1 } }),
      await open({ imageSize: SIDE }),
    ];
    const [a, b] = [(await always.trainBatch(query)).pixels, (await plainly.trainBatch(query)).pixels];
    for (let at = 0; at < a.length; at += SIDE)
      expect(a.subarray(at, at + SIDE).toReversed()).toEqual(b.subarray(at, at + SIDE));
  });
});

describe('bad input gets a sentence', () => {
  it('no such folder, a file in its place, an empty folder, one class', async () => {
    await expectSentence(/"nowhere"/, { path: 'nowhere' });
    await writeFile(path.join(dir, 'file'), '');
    await expectSentence(/"file"/, { path: 'file' });
    await expectSentence(/"pictures".*at least 2/);
    await put('red/1.png', plain(RED));
    await expectSentence(/"pictures".*at least 2/);
    await put('loose.png', plain(RED));
    await expectSentence(/"pictures".*at least 2/);
  });

  it('two class folders that read the same', async () => {
    await put('red_fox/1.png', plain(RED));
    await put('red-fox/1.png', plain(RED));
    await expectSentence(/"red fox"/);
  });

  it.each([
    ['text', 'just some words'],
    ['nothing', ''],
    ['a PNG signature alone', Buffer.from('\x89PNG\r\n\x1a\n', 'latin1')],
  ])('a picture that holds %s', async (_what, content) => {
    await putTwoClasses();
    await put('red/bad.png', content);
    await expectSentence(/"red\/bad\.png" cannot be read/);
  });

  it('a picture cut short', async () => {
    await putTwoClasses();
    const noise = Uint8Array.from({ length: 3 * 4096 }, (_, i) => (i * 7919) % 251);
    const whole = await sharp(noise, { raw: { width: 64, height: 64, channels: 3 } })
      .jpeg()
      .toBuffer();
    await truncate(await put('red/bad.jpg', whole), whole.length >> 1);
    await expectSentence(/"red\/bad\.jpg" cannot be read/);
    await rm(path.join(pictures, 'red/bad.jpg'));
    const png = await sharp(noise, { raw: { width: 64, height: 64, channels: 3 } })
      .png()
      .toBuffer();
    await truncate(await put('red/bad.png', png), png.length >> 1);
    await expectSentence(/"red\/bad\.png" cannot be read/);
  });

  it('an SVG or a GIF under another name', async () => {
    await putTwoClasses();
    const svg = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>';
    const bad = await put('red/bad.png', svg);
    await expectSentence(/"red\/bad\.png".*svg/i);
    await rm(bad);
    await put('red/bad.jpg', await plain(RED).gif().toBuffer());
    await expectSentence(/"red\/bad\.jpg".*gif/i);
  });

  it('a picture with more pixels than allowed, without decoding it', async () => {
    await putTwoClasses();
    await put('red/big.png', plain(RED, 300, 300));
    await expectSentence(/"red\/big\.png".*(pixel|300)/, { maxPixels: 80_000 });
    expect((await all(await open({ maxPixels: 90_000 }))).labels).toHaveLength(5);
    // 60 000 × 60 000 pixels in 67 bytes.
    await put('red/big.png', pngHeader(60_000, 60_000));
    const started = performance.now();
    await expectSentence(/"red\/big\.png".*(pixel|60000)/);
    expect(performance.now() - started).toBeLessThan(5000);
  });

  it('a picture too long to be brought to the square', async () => {
    await putTwoClasses();
    await put('red/long.png', plain(RED, 20_000, 1));
    await expectSentence(/^The picture "red\/long\.png" of 20000 × 1 pixels is too long/, { imageSize: 64 });
  });

  it('a file larger than its pixels can make it, without reading it', async () => {
    await putTwoClasses();
    await truncate(await put('red/big.png', plain(RED)), 2 ** 34);
    await expectSentence(/"red\/big\.png" cannot be read: it has 17179869184 bytes, more than 1000000 pixels/);
  });

  it('a picture that is gone, or has become a link out of the folder, since the folder was opened', async () => {
    await putTwoClasses();
    const outside = path.join(dir, 'outside.png');
    await plain(GREEN).png().toFile(outside);
    const folder = await open();
    await rm(path.join(pictures, 'red/1.png'));
    await expect(all(folder)).rejects.toThrow(/"red\/1\.png" cannot be read/);
    await symlink(outside, path.join(pictures, 'red/1.png'));
    await expect(all(folder)).rejects.toThrow(/"red\/1\.png" cannot be read/);
    await rm(path.join(pictures, 'red/1.png'));
    await rename(outside, path.join(pictures, 'red/1.png'));
    expect((await all(folder)).labels).toHaveLength(4);
  });
});

describe('links', () => {
  it('that lead out of the folder are never read', async () => {
    await putTwoClasses();
    const outside = path.join(dir, 'outside');
    await mkdir(path.join(outside, 'secret'), { recursive: true });
    await plain(GREEN)
      .png()
      .toFile(path.join(outside, 'secret', '1.png'));
    await symlink(path.join(outside, 'secret', '1.png'), path.join(pictures, 'red', 'link.png'));
    await symlink(path.join(outside, 'secret'), path.join(pictures, 'red', 'linked'));
    await symlink(path.join(outside, 'secret'), path.join(pictures, 'green'));
    await symlink(path.join(outside, 'nothing'), path.join(pictures, 'red', 'dangling.png'));
    await symlink('..', path.join(pictures, 'red', 'loop'));
    // Whether they are passed over or refused by name, no green picture may get in and the listing must end.
    const outcome = await open().then(all, (error: Error) => error);
    if (outcome instanceof Error) expect(outcome.name).toBe('FoveaError');
    else for (const [, green] of colours(outcome)) expect(green).toBeLessThan(0.1);
  });
});

/** A PNG that claims a size and holds one empty data chunk. */
function pngHeader(width: number, height: number): Buffer {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 2, 0, 0, 0], 8);
  const empty = Buffer.from('789c030000000001', 'hex');
  const parts = [chunk('IHDR', header), chunk('IDAT', empty), chunk('IEND', Buffer.alloc(0))];
  return Buffer.concat([Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'), ...parts]);
}

function chunk(type: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(data.length);
  const sum = Buffer.alloc(4);
  sum.writeUInt32BE(crc32(body));
  return Buffer.concat([length, body, sum]);
}
