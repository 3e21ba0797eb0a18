import { mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { wilson } from '../statistics.ts';
import type { Draft } from '../suite/draft.ts';
import { buildMmvpVlm, parseMmvpVlm } from './build-mmvp-vlm.ts';
import { mmvpVlm } from './mmvp-vlm.ts';
import { emptyFolder, judge, measured, opened, scores, writePictures } from './testing-kinds.ts';

const PATTERNS = [
  'Orientation and Direction',
  'Presence of Specific Features',
  'State and Condition',
  'Quantity and Count',
  'Positional and Relational Context',
  'Color and Appearance',
  'Structural Characteristics',
  'Texts',
  'Viewpoint and Perspective',
];

/** 9 patterns × 15 pairs as published; statement 1 is of the first picture. */
const published = (): string[] =>
  Array.from({ length: 270 }, (_, i) => `${i + 1},${PATTERNS[Math.floor(i / 30)]},"statement ${i + 1}, as it is"`);
const csv = (rows: readonly string[]): string => `Question ID,Type,Statement\n${rows.join('\n')}\n`;
const pictures = (folder: string, rows: readonly string[]): string[] =>
  rows.map((row) => {
    const [id, type] = row.split(',');
    return `${folder}/${type}/${id}.jpg`;
  });

let folder: string;
let draft: Draft;
beforeAll(async () => {
  folder = await emptyFolder();
  await writeFile(path.join(folder, 'Questions.csv'), csv(published()));
  await writePictures(folder, pictures('MLLM_VLM Images', published()));
  draft = await buildMmvpVlm({ folder });
});
afterAll(() => rm(folder, { recursive: true }));

/** Scores that get exactly these pairs right, of 135 by their numbers in order; the others prefer the first picture. */
function pairsRight(isRight: (pair: number) => boolean) {
  return ({ id }: { id: string }) => {
    const pair = Math.floor((Number(id) - 1) / 2);
    const own = (Number(id) - 1) % 2;
    return isRight(pair) && own === 1 ? scores(0.2, 0.3) : scores(0.3, 0.2);
  };
}

describe('parseMmvpVlm', () => {
  it('pairs by id and type, in whatever order the rows stand', () => {
    const rows = published();
    const shuffled = rows.map((_, i) => rows[(i * 7) % 270]);
    const pairs = parseMmvpVlm(csv(shuffled), 'q');
    expect(pairs).toHaveLength(135);
    for (const [first, second] of pairs) {
      expect(first.id % 2).toBe(1);
      expect(second).toMatchObject({ id: first.id + 1, type: first.type });
    }
    expect(new Set(pairs.map(([{ type }]) => type)).size).toBe(9);
  });

  it.each([
    ['ids that count from 0', ['0,T,a', '1,T,b'], 'Row 1 of "q" cannot be asked: its id is "0"'],
    ['an id that is there twice', ['1,T,a', '2,T,b', '2,T,c'], 'Row 3 of "q" cannot be asked: its id 2 is there twice'],
    ['a pair across types', ['1,T,a', '2,U,b'], 'its partner 2 is not there or of another type'],
    ['half a pair', ['1,T,a', '2,T,b', '4,T,d'], 'Row 3 of "q" cannot be asked: its partner 3'],
    ['an empty statement', ['1,T,a', '2,T, '], 'it lacks a type or a statement'],
  ])('refuses %s', (_, rows, why) => {
    expect(() => parseMmvpVlm(csv(rows), 'q')).toThrow(why);
  });
});

describe('MMVP-VLM', () => {
  it('asks each statement of both pictures of its pair, the odd id’s first', () => {
    const { items, manifest } = opened(draft);
    expect(items).toHaveLength(270);
    expect(manifest.textTemplate.replace('{}', 'a dog')).toBe('a photo of a dog');
    for (const { id, pair, pictures, ask } of items) {
      const odd = Number(id) - 1 + (Number(id) % 2);
      expect(pair).toBe(String(odd));
      const files = pictures.map((picture) => (picture.kind === 'file' ? path.basename(picture.path) : ''));
      expect(files).toEqual([`${odd}.jpg`, `${odd + 1}.jpg`]);
      expect(ask).toMatchObject({ kind: 'pick', text: `statement ${id}, as it is`, gold: (Number(id) - 1) % 2 });
    }
  });

  it.each(['MMVP_VLM_Images', 'MLLM_VLM_Images'])('finds the pictures in %s', async (name) => {
    const other = await emptyFolder();
    const rows = published().slice(28, 32);
    await writeFile(path.join(other, 'Questions.csv'), csv(rows));
    await mkdir(path.join(other, name));
    await expect(buildMmvpVlm({ folder: other })).rejects.toThrow('no pair');
    await writePictures(other, pictures(name, rows.slice(0, 3)));
    const { items, omitted } = await buildMmvpVlm({ folder: other });
    expect(items.map(({ id, meta }) => [id, meta?.pattern])).toEqual([
      ['29', 'orientation-and-direction'],
      ['30', 'orientation-and-direction'],
    ]);
    expect(omitted).toEqual([{ what: 'pair 31/32', reason: expect.stringContaining('32.jpg') }]);
    await rm(other, { recursive: true });
    await expect(buildMmvpVlm({ folder: other })).rejects.toThrow('cannot be read');
  });

  it('refuses a type that climbs out of its folder, and a picture that a link leads out to', async () => {
    const other = await emptyFolder();
    await writeFile(path.join(other, 'Questions.csv'), csv(['1,../../etc,a', '2,../../etc,b']));
    await mkdir(path.join(other, 'MLLM_VLM Images', 'T'), { recursive: true });
    await expect(buildMmvpVlm({ folder: other })).rejects.toThrow('it climbs out of the folder');
    await writeFile(path.join(other, 'Questions.csv'), csv(['1,T,a', '2,T,b']));
    for (const id of [1, 2])
      await symlink(path.join(folder, 'Questions.csv'), path.join(other, 'MLLM_VLM Images', 'T', `${id}.jpg`));
    await expect(buildMmvpVlm({ folder: other })).rejects.toThrow('leads out of its folder');
    await rm(other, { recursive: true });
  });

  it('takes a tie, also between the two pictures, for wrong', () => {
    const results = measured(draft, mmvpVlm, () => scores(0.25, 0.25));
    expect(results['all accuracy']).toMatchObject({ value: 0, unknown: 270 });
    for (const metric of ['pair-accuracy', 'text-score', 'image-score', 'group-score']) {
      expect(results[`all ${metric}`]).toMatchObject({ value: 0, n: 135 });
    }
    const [judged] = judge(draft, mmvpVlm, () => scores(0.25, 0.25));
    expect(judged.scored).toMatchObject({ rule: 'tie', label: 'unknown', margin: 0, detail: { scores: [0.25, 0.25] } });
  });

  it('gives one half by statement and nothing by pair to whoever always picks the first picture', () => {
    const results = measured(draft, mmvpVlm, () => scores(1, 0));
    expect(results['all accuracy'].value).toBe(0.5);
    expect(results['all pair-accuracy'].value).toBe(0);
    expect(results['all macro-pair-accuracy'].value).toBe(0);
  });

  // DIVA's table (arXiv 2407.20171): an average of nine patterns is a number of pairs of 135.
  it.each([
    ['OpenAI L 224', [2, 2, 3, 3, 2, 8, 3, 1, 2], 26, 19.3],
    ['OpenAI L 224 + DIVA', [2, 3, 6, 1, 3, 8, 7, 3, 2], 35, 25.9],
    ['OpenAI L 336', [0, 3, 6, 3, 1, 3, 5, 1, 5], 27, 20.0],
    ['OpenAI L 336 + DIVA', [4, 3, 5, 2, 2, 7, 4, 1, 6], 34, 25.2],
    ['MetaCLIP L', [2, 1, 10, 1, 5, 7, 3, 1, 2], 32, 23.7],
    ['MetaCLIP L + DIVA', [1, 1, 9, 0, 4, 10, 3, 3, 6], 37, 27.4],
    ['MetaCLIP H', [1, 2, 9, 2, 1, 8, 4, 2, 5], 34, 25.2],
    ['MetaCLIP H + DIVA', [2, 3, 8, 5, 2, 10, 5, 2, 6], 43, 31.9],
    ['SigLIP 224', [4, 3, 8, 6, 3, 10, 6, 3, 8], 51, 37.8],
    ['SigLIP 224 + DIVA', [2, 4, 9, 7, 2, 11, 8, 4, 8], 55, 40.7],
    ['SigLIP 384', [3, 4, 9, 5, 2, 10, 5, 4, 8], 50, 37.0],
    ['SigLIP 384 + DIVA', [4, 5, 8, 4, 2, 12, 6, 4, 7], 52, 38.5],
    ['DFN 224', [3, 4, 11, 4, 4, 10, 7, 2, 8], 53, 39.3],
    ['DFN 224 + DIVA', [3, 3, 12, 6, 7, 10, 7, 3, 8], 59, 43.7],
    ['DFN 378', [2, 3, 8, 5, 4, 10, 6, 3, 6], 47, 34.8],
    ['DFN 378 + DIVA', [4, 4, 8, 5, 4, 11, 4, 2, 9], 51, 37.8],
  ])('gives the published average of %s from its pairs by pattern', (_, right, pairs, percent) => {
    const results = measured(
      draft,
      mmvpVlm,
      pairsRight((pair) => pair % 15 < right[Math.floor(pair / 15)]),
    );
    expect(right.reduce((a, b) => a + b, 0)).toBe(pairs);
    expect(results['all pair-accuracy']).toMatchObject({ n: 135, value: pairs / 135 });
    expect(results['all macro-pair-accuracy'].value).toBeCloseTo(pairs / 135, 12);
    expect((100 * (results['all macro-pair-accuracy'].value ?? 0)).toFixed(1)).toBe(percent.toFixed(1));
    PATTERNS.forEach((type, i) => {
      const place = `pattern/${type.toLowerCase().replaceAll(' ', '-')} pair-accuracy`;
      expect(results[place]).toMatchObject({ n: 15, value: right[i] / 15 });
    });
  });

  it('puts Wilson’s intervals around 26 and 35 pairs, which overlap', () => {
    const intervalOf = (right: number) => {
      const { ci } = measured(
        draft,
        mmvpVlm,
        pairsRight((pair) => pair < right),
      )['all pair-accuracy'];
      expect(ci?.method).toBe('wilson');
      return [ci?.low ?? 0, ci?.high ?? 0].map((end) => Number((100 * end).toFixed(1)));
    };
    expect(intervalOf(26)).toEqual([13.5, 26.7]);
    expect(intervalOf(35)).toEqual([19.3, 33.9]);
    expect(wilson(26, 135)[1]).toBeGreaterThan(wilson(35, 135)[0]);
  });

  it('scores text, image and group over the same four numbers', () => {
    // Statement 1 outscores statement 2 on both pictures: each picks its own, yet picture 2 would get the wrong text.
    const results = measured(draft, mmvpVlm, ({ id }) => (Number(id) % 2 === 1 ? scores(0.9, 0.8) : scores(0.1, 0.2)));
    expect(results['all image-score'].value).toBe(1);
    expect(results['all text-score'].value).toBe(0);
    expect(results['all group-score']).toMatchObject({ value: 0, chance: 1 / 6 });
    const turned = measured(draft, mmvpVlm, ({ id }) => (Number(id) % 2 === 1 ? scores(0.9, 0.1) : scores(0.8, 0.2)));
    expect(turned['all image-score'].value).toBe(0);
    expect(turned['all text-score'].value).toBe(1);
    const right = measured(draft, mmvpVlm, ({ id }) => (Number(id) % 2 === 1 ? scores(0.9, 0.1) : scores(0.1, 0.2)));
    expect(right['all group-score'].value).toBe(1);
  });

  it('counts a pair with a lost picture as wrong in every score', () => {
    const results = measured(draft, mmvpVlm, (item) =>
      item.id === '2' ? { kind: 'error', message: 'gone', attempts: 1 } : pairsRight(() => true)(item),
    );
    expect(results['all pair-accuracy']).toMatchObject({ n: 135, errors: 1, value: 134 / 135 });
    expect(results['all image-score']).toMatchObject({ n: 135, errors: 1, value: 134 / 135 });
  });
});
