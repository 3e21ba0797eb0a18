import { rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Answer } from '../judging/answer.ts';
import type { Draft } from '../suite/draft.ts';
import type { Item } from '../suite/item.ts';
import { buildMmvp, parseMmvp } from './build-mmvp.ts';
import { mmvp } from './mmvp.ts';
import { emptyFolder, measured, opened, scores, text, writePictures } from './testing-kinds.ts';

const TUSKS = 'Does the elephant have long or short tusks?';
const PERSON = 'Is the elderly person standing or sitting in the picture?';

/** 300 rows as published, with the published answers to 99/100 and 279/280, or the mended ones. */
function csv(mended: readonly number[] = []): string {
  const rows = Array.from({ length: 300 }, (_, i) => {
    const index = i + 1;
    const isFirst = index % 2 === 1;
    const answer = isFirst !== mended.includes(index) ? '(a)' : '(b)';
    if (index === 99 || index === 100) return `${index},${TUSKS},(a) Long (b) Short,${answer}`;
    if (index === 279 || index === 280) return `${index},${PERSON},(a) Standing (b) Sitting,${answer}`;
    return `${index},"Question ${Math.ceil(index / 2)}, is it so?",(a) Open (b) Closed,${answer}`;
  });
  return `Index,Question,Options,Correct Answer\n${rows.join('\n')}\n`;
}

let folder: string;
let draft: Draft;
beforeAll(async () => {
  folder = await emptyFolder();
  await writeFile(path.join(folder, 'Questions.csv'), csv());
  await writePictures(
    folder,
    Array.from({ length: 300 }, (_, i) => `MMVP Images/${i + 1}.jpg`),
  );
  draft = await buildMmvp({ folder });
});
afterAll(() => rm(folder, { recursive: true }));

const goldOf = ({ ask }: Item): number => (ask.kind === 'choice' ? ask.gold : -1);
const say = (option: number): Answer => scores(option === 0 ? 1 : 0, option === 1 ? 1 : 0);

describe('parseMmvp', () => {
  it('sets the four swapped answers right once: a mended file stays as it is', () => {
    const published = parseMmvp(csv(), 'q');
    const mended = parseMmvp(csv([99, 100, 279, 280]), 'q');
    const half = parseMmvp(csv([279, 280]), 'q');
    const truths = (rows: typeof mended) => rows.map(({ original, corrected }) => [original, corrected]);
    expect(truths(mended)).toEqual(truths(published));
    expect(truths(half)).toEqual(truths(published));
    const differing = published.filter(({ original, corrected }) => original !== corrected);
    expect(differing.map(({ index, corrected }) => [index, 'ab'[corrected]])).toEqual([
      [99, 'b'],
      [100, 'a'],
      [279, 'b'],
      [280, 'a'],
    ]);
  });

  it('knows an erratum by its words: other questions at these places stay as given', () => {
    const other = csv()
      .replaceAll(TUSKS, 'Is the door open?')
      .replaceAll('(a) Standing (b) Sitting', '(a) Up (b) Down');
    expect(parseMmvp(other, 'q').every(({ original, corrected }) => original === corrected)).toBe(true);
    const turned = csv().replaceAll('(a) Long (b) Short', '(a) Short (b) Long');
    expect(parseMmvp(turned, 'q')[98]).toMatchObject({ corrected: 0, original: 1 });
  });

  it.each([
    ['0-based indices', csv().replace(/^\d+/gm, (index) => String(Number(index) - 1)), 'Row 1 of "q"'],
    ['a missing row', csv().replace(/^7,.*\n/m, ''), 'Row 7 of "q" cannot be asked: its index is "8"'],
    ['another answer', csv().replace('(a) Open (b) Closed,(b)', '(a) Open (b) Closed,(c)'), 'answer is "(c)"'],
    ['other options', csv().replace('(a) Open (b) Closed', '"Open, closed"'), 'its options are "Open, closed"'],
    ['a torn pair', csv().replace('2,"Question 1,', '2,"Question 2,'), 'The pair of row 1 of "q" is no pair'],
    ['an odd end', csv().replace(/^300,.*\n/m, ''), 'it has no second row'],
  ])('refuses %s', (_, rows, why) => {
    expect(() => parseMmvp(rows, 'q')).toThrow(why);
  });
});

describe('MMVP', () => {
  it('asks row 1 of 1.jpg and row 300 of 300.jpg', () => {
    const { items, notes } = draft;
    expect(items).toHaveLength(300);
    for (const { id, pictures, pair } of items) {
      expect(pictures[0]).toMatchObject({ path: `MMVP Images/${id}.jpg`, width: 6, height: 4 });
      expect(pair).toBe(String(Math.ceil(Number(id) / 2)));
    }
    expect(notes).toContain("the file's answers to rows 99, 100, 279, 280 are: original");
  });

  it('reports both truths: 2 of 150 pairs, 1.33 points, lie between them', async () => {
    const results = measured(draft, mmvp, (item) => say(goldOf(item)));
    expect(results['all pair-accuracy']).toMatchObject({ value: 1, n: 150, chance: 0.25 });
    expect(results['gt/corrected-2026-01 pair-accuracy'].value).toBe(1);
    expect(results['gt/original pair-accuracy'].value).toBeCloseTo(1 - 2 / 150, 12);
    expect(results['gt/original accuracy'].value).toBeCloseTo(1 - 4 / 300, 12);
    const original = await buildMmvp({ folder, gtRevision: 'original' });
    expect(opened(original).manifest.gtRevision).toBe('original');
    const under = measured(original, mmvp, (item) => say(goldOf(item)));
    expect(under['gt/original pair-accuracy'].value).toBe(1);
    expect(under['gt/corrected-2026-01 pair-accuracy'].value).toBeCloseTo(1 - 2 / 150, 12);
  });

  it('gives one half by question and nothing by pair to whoever always says (a)', () => {
    const results = measured(draft, mmvp, () => say(0));
    expect(results['all accuracy'].value).toBe(0.5);
    expect(results['all pair-accuracy'].value).toBe(0);
  });

  it('counts ties, errors and lost answers as wrong', () => {
    const results = measured(draft, mmvp, (item) => {
      if (item.id === '1') return scores(0.5, 0.5);
      if (item.id === '3') return { kind: 'error', message: 'gone', attempts: 1 };
      if (item.id === '5') return text('Both are visible.');
      if (item.id === '7') return text(`(${'ab'[goldOf(item)]})`);
      return say(goldOf(item));
    });
    expect(results['all accuracy']).toMatchObject({ value: 297 / 300, n: 300, unknown: 2, errors: 1 });
    expect(results['all pair-accuracy']).toMatchObject({ value: 147 / 150, n: 150, unknown: 2, errors: 1 });
    expect(results['all pair-accuracy'].ci?.method).toBe('wilson');
    expect(() => measured(draft, mmvp, () => scores(1))).toThrow('not a number for each of 2 options');
  });

  it('asks in both orders on request, and tells a preferred place from an answer', async () => {
    const both = await buildMmvp({ folder, swap: true });
    expect(both.items).toHaveLength(600);
    const right = measured(both, mmvp, (item) => say(goldOf(item)));
    expect(right['both-orders consistency']).toMatchObject({ value: 1, n: 300 });
    expect(right['both-orders pair-accuracy']).toMatchObject({ value: 1, n: 150 });
    expect(right['all pair-accuracy'].n).toBe(150);
    const first = measured(both, mmvp, () => say(0));
    expect(first['both-orders consistency'].value).toBe(0);
    expect(first['swapped accuracy'].value).toBe(0.5);
    const stubborn = measured(both, mmvp, ({ ask }) => say(ask.kind === 'choice' ? ask.options.indexOf('Open') : 0));
    expect(stubborn['both-orders consistency'].value).toBeGreaterThan(0.9);
    expect(stubborn['all accuracy'].value).toBeCloseTo(0.5, 1);
  });

  it('leaves out pairs that lack a picture, by name', async () => {
    const some = await emptyFolder();
    await writeFile(path.join(some, 'Questions.csv'), csv());
    await writePictures(some, ['MMVP Images/1.jpg', 'MMVP Images/2.jpg', 'MMVP Images/3.jpg']);
    await writeFile(path.join(some, 'MMVP Images', '4.jpg'), 'no picture');
    const { items, omitted } = await buildMmvp({ folder: some });
    expect(items.map(({ id }) => id)).toEqual(['1', '2']);
    expect(omitted).toHaveLength(298);
    expect(omitted.slice(0, 3)).toEqual([
      { what: 'question 3', reason: 'the other picture of its pair is lost' },
      { what: 'question 4', reason: expect.stringContaining('4.jpg" cannot be read') },
      { what: 'question 5', reason: expect.stringContaining('there is no such file') },
    ]);
    await rm(path.join(some, 'MMVP Images', '1.jpg'));
    await expect(buildMmvp({ folder: some })).rejects.toThrow('No pair of');
    await rm(some, { recursive: true });
  });
});
