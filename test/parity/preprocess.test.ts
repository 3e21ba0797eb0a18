// Pictures as encoders see them, against transformers over Pillow, open_clip and timm (preprocess.py writes the fixture).

import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { decodeSafetensors } from '@fovea/artifacts';
import { decodePicture, frame, framedSize, preprocess, type Rgb8, readPreprocessing } from '@fovea/data';
import { describe, expect, it } from 'vitest';

const at = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const { tensors, metadata } = decodeSafetensors(
  readFileSync(at('fixtures/pictures/preprocess.safetensors')),
  'preprocess',
);
const { configs, every } = JSON.parse(metadata.about);
const PHOTOS = at('../../../shared/data/coco_tiny/images');

/** Differences in 8-bit levels. */
class Gap {
  sum = 0;
  n = 0;
  max = 0;
  add(pixels: Float32Array, wanted: ArrayLike<number>, step = 1) {
    expect(Math.ceil(pixels.length / step)).toBe(wanted.length);
    for (let i = 0; i < wanted.length; i++) {
      const gap = Math.abs(Math.round(pixels[i * step] * 255) - wanted[i]);
      this.sum += gap;
      this.n++;
      this.max = Math.max(this.max, gap);
    }
  }
  toString() {
    return `mean ${(this.sum / this.n).toFixed(5)}, max ${this.max} levels over ${this.n} values`;
  }
}

const decode = (file: string) => decodePicture(readFileSync(file), { where: path.basename(file), upright: false });

function look(picture: Rgb8, name: string): Float32Array {
  const p = readPreprocessing(configs[name], `${name}.json`);
  const pixels = frame(picture, p);
  const { height, width } = framedSize(p, picture);
  expect(pixels.length).toBe(3 * height * width);
  return pixels;
}

describe('preprocessing', () => {
  const names = [...tensors.keys()].filter((name) => /^(?!photo\/|normalised\/)/.test(name));

  it('gives the pixels of transformers over Pillow for every kind of picture and filter', async () => {
    const gaps: Record<string, Gap> = {};
    for (const name of names) {
      const [file, processor] = name.split('/');
      gaps[file] ??= new Gap();
      const picture = await decode(at(`fixtures/pictures/${file}`));
      gaps[file].add(look(picture, processor), tensors.get(name)!.data as Uint8Array);
    }
    console.log(
      Object.entries(gaps)
        .map(([file, gap]) => `${file}: ${gap}`)
        .join('\n'),
    );
    for (const [file, { max }] of Object.entries(gaps)) expect(max, file).toBe(0);
  });

  it('normalises, and crops as open_clip and timm do', async () => {
    for (const name of [...tensors.keys()].filter((key) => key.startsWith('normalised/'))) {
      const p = readPreprocessing(configs[name.split('/')[1]], 'c.json');
      const got = await preprocess(readFileSync(at('fixtures/pictures/tall.png')), p, { where: 'tall.png' });
      const wanted = tensors.get(name)!.data as Float32Array;
      expect(got.length).toBe(wanted.length);
      for (let i = 0; i < got.length; i++) expect(Math.abs(got[i] - wanted[i]), `${name}[${i}]`).toBeLessThan(2e-6);
    }
  });

  it('turns a picture upright unless told not to', async () => {
    const bytes = readFileSync(at('fixtures/pictures/turned.jpg'));
    const upright = await decodePicture(bytes, { where: 'turned.jpg' });
    const stored = await decodePicture(bytes, { where: 'turned.jpg', upright: false });
    expect([upright.height, upright.width]).toEqual([60, 36]);
    expect([stored.height, stored.width]).toEqual([36, 60]);
    const topRight = 3 * 35;
    expect([...upright.data.subarray(topRight, topRight + 3)]).toEqual([...stored.data.subarray(0, 3)]);
  });

  it.skipIf(!existsSync(PHOTOS))(
    'gives the pixels of transformers for photographs (skipped where ../shared/data/coco_tiny is absent)',
    async () => {
      const gaps: Record<string, Gap> = {};
      let opened: { id?: string; picture?: Rgb8 } = {};
      for (const name of [...tensors.keys()].filter((key) => key.startsWith('photo/'))) {
        const [, id, processor] = name.split('/');
        if (opened.id !== id) opened = { id, picture: await decode(path.join(PHOTOS, `${id}.jpg`)) };
        gaps[processor] ??= new Gap();
        gaps[processor].add(look(opened.picture!, processor), tensors.get(name)!.data as Uint8Array, every);
      }
      console.log(
        Object.entries(gaps)
          .map(([processor, gap]) => `${processor}: ${gap}`)
          .join('\n'),
      );
      expect(Object.keys(gaps).length).toBe(3);
      for (const { sum, n, max } of Object.values(gaps)) {
        expect(sum / n).toBeLessThanOrEqual(0.5);
        expect(max).toBeLessThanOrEqual(3);
      }
    },
    300_000,
  );
});
