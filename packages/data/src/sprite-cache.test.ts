// The sprite cache is never trusted and never needed: it is read back whole, made anew when damaged, shared by processes
// that open at once, and done without where it cannot be written.

import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { type EmojiWorld, openDataset } from '@fovea/data';
import type { EmojiWorldConfig } from '@fovea/recipe';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

/** Two small sets and three concepts: drawn in a fraction of a second. */
const config = (more: Partial<EmojiWorldConfig> = {}): EmojiWorldConfig => ({
  kind: 'emoji-world',
  imageSize: 16,
  concepts: 3,
  trainStyles: ['emojione'],
  redrawStyles: [],
  heldOutStyles: ['emojione-monotone'],
  monochrome: 0.5,
  hue: 0,
  monochromeRamp: 0,
  scale: [0.5, 1],
  rotation: 15,
  ...more,
});

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(path.join(os.tmpdir(), 'fovea-cache-'));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

const open = async (cacheDir = path.join(dir, 'cache'), more?: Partial<EmojiWorldConfig>) =>
  (await openDataset(config(more), { recipeDir: dir, cacheDir, seed: 0 })) as EmojiWorld;
const files = () => readdir(path.join(dir, 'cache'));
const onlyFile = async () => path.join(dir, 'cache', (await files())[0]);
const sameSprites = (a: EmojiWorld, b: EmojiWorld) => {
  expect(Buffer.from(a.sheet.colour)).toEqual(Buffer.from(b.sheet.colour));
};

describe('the sprite cache', () => {
  it('gives back what was drawn, and leaves no temporary file', async () => {
    const drawn = await open();
    expect(await files()).toHaveLength(1);
    const bytes = await readFile(await onlyFile());
    sameSprites(await open(), drawn);
    expect(await readFile(await onlyFile())).toEqual(bytes);
    expect(drawn.sheet.colour.some((value) => value > 0)).toBe(true);
    const inked = await drawn.inkedSheet();
    expect(await files()).toHaveLength(2);
    expect(inked.colour).toEqual(drawn.sheet.colour);
    expect(inked.glyphs.some((value) => value > 0)).toBe(true);
    expect((await (await open()).inkedSheet()).glyphs).toEqual(inked.glyphs);
  });

  it.each([
    ['one flipped bit', (file: string, bytes: Buffer) => writeFile(file, flipped(bytes, bytes.length >> 1))],
    [
      'one flipped bit in its last byte',
      (file: string, bytes: Buffer) => writeFile(file, flipped(bytes, bytes.length - 1)),
    ],
    ['a missing end', (file: string, bytes: Buffer) => truncate(file, bytes.length - 1)],
    ['nothing in it', (file: string) => truncate(file, 0)],
    ['bytes too many', (file: string, bytes: Buffer) => writeFile(file, Buffer.concat([bytes, Buffer.from('x')]))],
  ])('recovers from a file with %s', async (_what, damage) => {
    const drawn = await open();
    const file = await onlyFile();
    const bytes = await readFile(file);
    await damage(file, bytes);
    sameSprites(await open(), drawn);
    expect(await readFile(file)).toEqual(bytes);
  });

  it('keeps sizes, concepts, styles and drawings apart', async () => {
    const cache = path.join(dir, 'cache');
    await open();
    await open(cache, { imageSize: 8 });
    await open(cache, { concepts: 2 });
    await open(cache, { heldOutStyles: [] });
    await (await open(cache)).inkedSheet();
    expect(await files()).toHaveLength(5);
    await (await open(cache, { scale: [0.2, 0.4], rotation: 90, monochrome: 0.1 })).inkedSheet();
    expect(await files()).toHaveLength(5);
  });

  it('may be filled by several at once', async () => {
    const [a, b, c] = await Promise.all([open(), open(), open()]);
    sameSprites(a, b);
    sameSprites(a, c);
    expect(await files()).toHaveLength(1);
    sameSprites(await open(), a);
  });

  it('is done without where it cannot be', async () => {
    const drawn = await open();
    const blocked = path.join(dir, 'a-file');
    await writeFile(blocked, '');
    sameSprites(await open(blocked), drawn);
    sameSprites(await open(path.join(blocked, 'below')), drawn);
    expect(await readFile(blocked, 'utf8')).toBe('');
  });
});

function flipped(bytes: Buffer, at: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[at] ^= 1;
  return copy;
}
