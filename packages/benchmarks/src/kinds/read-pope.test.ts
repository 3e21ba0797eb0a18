import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { parsePopeFile, readPope } from './read-pope.ts';
import { emptyFolder, opened, writePictures } from './testing-kinds.ts';

type Line = { question_id: number; image: string; text: string; label: string };
const line = (question_id: number, image: string, object: string, label: string): Line => ({
  question_id,
  image,
  text: `Is there a ${object} in the image?`,
  label,
});
const jsonLines = (lines: readonly unknown[]) => lines.map((one) => `${JSON.stringify(one)}\n`).join('');

const QUESTIONS = [
  line(1, 'a.jpg', 'dog', 'yes'),
  line(2, 'a.jpg', 'cat', 'no'),
  line(3, 'a.jpg', 'car', 'yes'),
  line(4, 'a.jpg', 'bus', 'no'),
  line(5, 'sub/b.png', 'sofa', 'yes'),
  line(6, 'sub/b.png', 'tv', 'no'),
];

describe('parsePopeFile', () => {
  const parse = (lines: readonly unknown[], base = 'coco_pope_random.json') => parsePopeFile(base, jsonLines(lines));
  const refused = (lines: readonly unknown[]) => {
    try {
      parse(lines);
    } catch (error) {
      expect((error as Error).name).toBe('FoveaError');
      return (error as Error).message;
    }
    return 'nothing was wrong';
  };

  it('knows splits by the names of GQA’s, A-OKVQA’s and RePOPE’s files too', () => {
    const split = (base: string) => parse(QUESTIONS, base).split;
    expect(split('gqa_pope_seem_adversarial.json')).toBe('adversarial');
    expect(split('aokvqa_pope_popular.jsonl')).toBe('popular');
    expect(split('coco_repope_random.json')).toBe('random');
    expect(split('mine.jsonl')).toBe('mine');
  });

  it('pairs a yes with the no right after it on the same picture', () => {
    expect(parse(QUESTIONS).questions.map(({ pair }) => pair)).toEqual([1, 1, 3, 3, 5, 5]);
    expect(parse(QUESTIONS).notes).toEqual([]);
  });

  it('says what differs from the published halves: dropped and flipped rows, repeats, "imange"', () => {
    const repope = [{ ...QUESTIONS[0], label: 'no' }, QUESTIONS[1], QUESTIONS[2], QUESTIONS[5]];
    const { questions, notes } = parse(repope);
    expect(questions.map(({ pair }) => pair)).toEqual([null, null, null, null]);
    expect(notes).toEqual([
      'random: of 4 questions 1 are answered by yes and 3 by no: F1 is not that of even halves.',
      'random: of 4 questions 4 have no partner and are not in pair-accuracy.',
    ]);
    const odd = [
      ...QUESTIONS,
      { ...QUESTIONS[0], question_id: 7, label: 'yes' },
      { ...QUESTIONS[0], question_id: 8, label: 'no' },
      { question_id: 9, image: 'a.jpg', text: 'Is there an apple in the imange?', label: 'yes' },
      { question_id: 10, image: 'a.jpg', text: 'Do you see snow?', label: 'no' },
    ];
    expect(parse(odd).notes).toEqual([
      'random: of 10 questions 1 said "imange" and were mended.',
      'random: of 10 questions 1 are not in the words of POPE, so encoders cannot answer.',
      'random: of 10 questions 1 are asked again.',
      'random: of 10 questions 1 are asked again with the other answer.',
    ]);
    expect(parse(odd).questions[8]).toMatchObject({ object: 'apple', text: 'Is there an apple in the image?' });
  });

  it('refuses a file with a fault, in one sentence', () => {
    const [first, ...rest] = QUESTIONS;
    expect(refused([first, { ...first, text: 'again' }])).toMatch(/line 2, has the question_id 1 of an earlier one/);
    expect(refused([{ ...first, label: 'maybe' }, ...rest])).toMatch(/line 1, is not as it should be at "label"/);
    expect(refused([{ ...first, hint: 1 }])).toMatch(/hint/);
    expect(refused([{ ...first, question_id: '1' }])).toMatch(/question_id/);
    expect(refused([{ ...first, image: '../secret.jpg' }])).toMatch(/climbs out/);
    expect(refused([{ ...first, image: '/etc/passwd' }])).toMatch(/absolute/);
    expect(refused([[]])).toMatch(/line 1/);
    expect(refused([])).toMatch(/has no questions/);
    const text = (bad: string) => () => parsePopeFile('x.json', bad);
    expect(text('{"question_id": 1,')).toThrow(/line 1, is not JSON/);
    expect(text(`{"__proto__": {"x": 1}, ${JSON.stringify(first).slice(1)}`)).toThrow(/__proto__/);
    expect(text('['.repeat(100_000))).toThrow(/line 1/);
  });
});

describe('readPope', () => {
  let folder: string;
  const put = async (name: string, lines: readonly unknown[]) => {
    const file = path.join(folder, name);
    await writeFile(file, jsonLines(lines));
    return file;
  };
  beforeAll(async () => {
    folder = await emptyFolder();
    await writePictures(folder, ['a.jpg', 'sub/b.png']);
  });

  it('makes one suite of the files, and leaves out questions on pictures that are missing or damaged', async () => {
    await writeFile(path.join(folder, 'broken.jpg'), 'no picture');
    const more = [...QUESTIONS, line(7, 'gone.jpg', 'fox', 'yes'), line(8, 'broken.jpg', 'fox', 'no')];
    const files = [await put('t_pope_random.json', QUESTIONS), await put('t_pope_popular.json', more)];
    const draft = await readPope({ files, images: folder, prompt: 'vcd', gtRevision: 'repope' });
    const { manifest, items } = opened(draft);
    expect(manifest).toMatchObject({ splits: { random: 6, popular: 6 }, gtRevision: 'repope' });
    expect(manifest.prompt).toEqual({
      id: 'vcd',
      template: '{question} Please answer this question with one word.',
    });
    expect(manifest.omitted.map(({ what }) => what)).toEqual(['gone.jpg', 'broken.jpg']);
    for (const { reason } of manifest.omitted) expect(reason).toMatch(/^The picture .*\.$/);
    expect(manifest.notes.at(-1)).toBe('2 pictures are missing: these are not the published questions.');
    expect(JSON.stringify(manifest.source)).not.toContain(folder);
    expect(items[5]).toMatchObject({
      id: 'random/6',
      cluster: 'sub/b.png',
      pair: 'random/5',
      pictures: [{ path: 'sub/b.png', width: 6, height: 4 }],
      ask: { gold: 'no', texts: ['a tv', 'a sofa'] },
      meta: { object: 'tv' },
    });
  });

  it('lets a question without a partner be compared with the nearest opposite one, or with "something"', async () => {
    const files = [
      await put('n_pope_random.json', [QUESTIONS[0], QUESTIONS[2], QUESTIONS[3], QUESTIONS[4]]),
      await put('n_pope_popular.json', [line(1, 'a.jpg', 'egg', 'no')]),
    ];
    const draft = await readPope({ files, images: folder });
    const texts = draft.items.map(({ ask }) => (ask.kind === 'yesno' ? ask.texts : null));
    expect(texts).toEqual([
      ['a dog', 'a bus'],
      ['a car', 'a bus'],
      ['a bus', 'a car'],
      ['a sofa', 'something'],
      ['an egg', 'a dog'],
    ]);
    expect(draft.notes).toContain(
      '1 questions have no opposite on their picture; encoders compare them with "something".',
    );
  });

  it('refuses two files of one split, no file, no folder and no picture', async () => {
    const file = await put('r_pope_random.json', QUESTIONS);
    const other = await put('s_pope_random.json', QUESTIONS);
    await expect(readPope({ files: [file, other], images: folder })).rejects.toThrow(
      'Two files are of the split "random"',
    );
    await expect(readPope({ files: ['/none.json'], images: folder })).rejects.toThrow(/"none.json" cannot be read/);
    await expect(readPope({ files: [file], images: `${folder}/none` })).rejects.toThrow(/no such folder/);
    const gone = await put('g_pope_random.json', [line(1, 'gone.jpg', 'fox', 'yes')]);
    await expect(readPope({ files: [gone], images: folder })).rejects.toThrow(/None of the pictures asked about/);
  });
});
