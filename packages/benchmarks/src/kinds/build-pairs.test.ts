import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ImageTextEncoder } from '../image-text-encoder.ts';
import { encoderSubject } from '../subjects/encoder.ts';
import { pictureReader } from '../suite/pictures.ts';
import { suiteOf } from '../suite/suite-of.ts';
import { buildPairs } from './build-pairs.ts';
import { foilRefusal } from './build-robustvqa.ts';
import { mmvpVlm } from './mmvp-vlm.ts';
import { emptyFolder } from './testing-kinds.ts';

const SIDE = 4;
const COLOURS = { red: [1, 0, 0], green: [0, 1, 0], blue: [0, 0, 1] } as const;
type Colour = keyof typeof COLOURS;

/** Sees means of colour: `grey` of it the brightness beside a constant, otherwise all three. A name is its colour. */
class MeanEncoder implements ImageTextEncoder {
  readonly dim = 3;
  readonly #grey: boolean;

  constructor(grey: boolean) {
    this.#grey = grey;
  }

  async imageFeatures(pixels: Float32Array, n: number): Promise<Float32Array> {
    const plane = SIDE ** 2;
    const out = new Float32Array(3 * n);
    for (let i = 0; i < n; i++) {
      const means = [0, 1, 2].map(
        (c) => pixels.subarray((3 * i + c) * plane, (3 * i + c + 1) * plane).reduce((a, b) => a + b, 0) / plane,
      );
      const row = this.#grey ? [1, (means[0] + means[1] + means[2]) / 3, 0] : means;
      const length = Math.hypot(...row) || 1;
      out.set(
        row.map((x) => x / length),
        3 * i,
      );
    }
    return out;
  }

  async textFeatures(names: string[]): Promise<Float32Array> {
    const one = (name: string) => COLOURS[name.split(' ').at(-1) as Colour] ?? [0, 0, 0];
    return Float32Array.from(names.flatMap((name) => [...one(name)]));
  }
}

const model = (grey: boolean) => ({
  judged: { encoder: new MeanEncoder(grey), identity: { grey }, imageSize: SIDE },
  id: grey ? 'grey' : 'colour',
});

let folder: string;
beforeAll(async () => {
  folder = await emptyFolder();
  for (const [name, rgb] of Object.entries(COLOURS)) {
    await mkdir(path.join(folder, name));
    for (let i = 0; i < 4; i++) {
      const [r, g, b] = rgb.map((x) => x * (200 + 10 * i));
      await sharp({ create: { width: 8, height: 6, channels: 3, background: { r, g, b } } }).toFile(
        path.join(folder, name, `${i}.png`),
      );
    }
  }
});
afterAll(() => rm(folder, { recursive: true }));

describe('buildPairs', () => {
  it('finds pictures that only colour tells apart, asks about them, and a subject that sees colour is right', async () => {
    const from = { kind: 'image-folder' as const, images: folder };
    const draft = await buildPairs({ from }, { confused: model(true), apart: model(false) });
    // Four of two colours each; what is left over is of one colour.
    expect(draft.items).toHaveLength(8);
    expect(foilRefusal(draft.source, ['grey'])).not.toBeNull();
    const suite = suiteOf(draft, await pictureReader({ folder }));
    for (const { ask, pictures } of suite.items) {
      if (ask.kind !== 'pick') throw new Error('no pick');
      const shown = pictures[ask.gold];
      expect(shown.kind === 'file' && path.dirname(shown.path)).toBe(ask.text);
    }
    const right = async (grey: boolean) => {
      const subject = encoderSubject(model(grey).judged);
      expect(subject.refuses(suite)).toBeNull();
      await subject.prepare(suite, {});
      const judged = [];
      for (const item of suite.items) {
        const pictures = await Promise.all(
          item.pictures.map(async (picture) => ({ key: JSON.stringify(picture), pixels: await suite.read(picture) })),
        );
        const [answer] = await subject.answer([{ item, pictures }], {});
        if (answer.kind === 'error') throw new Error(answer.message);
        judged.push({ item, scored: mmvpVlm.scorers[0].score(item, answer, suite) });
      }
      const results = mmvpVlm.measure(suite, judged, { count: 100, seed: 1 });
      return Object.fromEntries(results.map(({ metric, value }) => [metric, value]));
    };
    expect(await right(false)).toMatchObject({ 'pair-accuracy': 1, 'group-score': 1, accuracy: 1 });
    expect(await right(true)).toMatchObject({ 'group-score': 0 });
  });

  it('says so where there is none', async () => {
    const from = { kind: 'image-folder' as const, images: folder };
    await expect(buildPairs({ from }, { confused: model(false), apart: model(false) })).rejects.toThrow(
      'No two pictures',
    );
  });
});
