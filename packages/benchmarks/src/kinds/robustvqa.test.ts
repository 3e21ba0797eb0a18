import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { sha256Hex } from '@fovea/artifacts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Answer } from '../judging/answer.ts';
import type { Draft } from '../suite/draft.ts';
import type { Item } from '../suite/item.ts';
import { askRobustVqa } from './build-robustvqa.ts';
import { classIndex, readRobustVqa } from './read-robustvqa.ts';
import { robustVqa } from './robustvqa.ts';
import { emptyFolder, measured, opened, scores, text, writePictures } from './testing-kinds.ts';

const entry = (file_name: string, gt_caption: string, error_caption: string) => ({
  file_name: `datasets/robustvqa/${file_name}`,
  gt_caption,
  error_caption,
});

/** Three pictures a set, as published: WordNet ids for A and R, class indices for V2; one V2 pair of equal names. */
const FILE = {
  imagenet_a: [
    entry('imagenet-a/n01498041/a.jpg', 'stingray', 'great_white_shark'),
    entry('imagenet-a/n01498041/b.jpg', 'stingray', 'electric_ray'),
    entry('imagenet-a/n01531178/c.jpg', 'goldfinch', 'house_finch'),
  ],
  imagenet_r: [
    entry('imagenet-r/n01443537/art_0.jpg', 'goldfish', 'axolotl'),
    entry('imagenet-r/n01443537/art_1.jpg', 'goldfish', 'great_white_shark'),
    entry('imagenet-r/n01484850/cartoon_3.jpg', 'great_white_shark', 'hammerhead'),
  ],
  imagenet_v2: [
    entry('imagenetv2/2/x.jpeg', 'great_white_shark', 'tiger_shark'),
    entry('imagenetv2/10/y.jpeg', 'brambling', 'goldfinch'),
    entry('imagenetv2/134/z.jpeg', 'crane', 'crane'),
  ],
};
const PICTURES = Object.values(FILE)
  .flat()
  .map(({ file_name }) => file_name.replace('datasets/robustvqa/', ''));

let folder: string;
let draft: Draft;
const file = (name: string) => path.join(folder, name);
const reading = async (document: unknown, more = {}) => {
  await writeFile(file('other.json'), typeof document === 'string' ? document : JSON.stringify(document));
  return readRobustVqa({ file: file('other.json'), images: folder, ...more });
};

beforeAll(async () => {
  folder = await emptyFolder();
  await writePictures(folder, PICTURES);
  await writeFile(file('robustvqa.json'), JSON.stringify(FILE));
  draft = await readRobustVqa({ file: file('robustvqa.json'), images: folder });
});
afterAll(() => rm(folder, { recursive: true }));

describe('readRobustVqa', () => {
  it('asks two questions a picture of the user’s own folders, with spaces for underscores', async () => {
    const { items, manifest } = opened(draft);
    expect(manifest.splits).toEqual({ 'imagenet-a': 6, 'imagenet-r': 6, 'imagenet-v2': 4 });
    expect(manifest.prompt.template).toBe('{question} Please anwser yes or no');
    expect(items.slice(0, 2).map(({ ask }) => ask)).toEqual([
      {
        kind: 'yesno',
        question: 'Is stingray the main object in this image?',
        gold: 'yes',
        texts: ['stingray', 'great white shark'],
      },
      {
        kind: 'yesno',
        question: 'Is great white shark the main object in this image?',
        gold: 'no',
        texts: ['great white shark', 'stingray'],
      },
    ]);
    for (const { pictures } of items) {
      const [picture] = pictures;
      if (picture.kind !== 'file') throw new Error('no file');
      expect(PICTURES).toContain(picture.path);
      expect(picture.sha256).toBe(sha256Hex(await readFile(file(picture.path))));
    }
  });

  it('prints counts beside the published ones, and leaves out equal names', () => {
    expect(draft.notes).toEqual([
      expect.stringContaining('CLIP ViT-L/14 at 336 pixels chose these questions'),
      'imagenet-a: 3 pictures of the published 7500, 3 asked.',
      'imagenet-r: 3 pictures of the published 30000, 3 asked.',
      'imagenet-v2: 3 pictures of the published 10000, 2 asked.',
    ]);
    expect(draft.omitted).toEqual([{ what: 'imagenetv2/134/z.jpeg', reason: 'both names are "crane"' }]);
  });

  it('warns of a file whose names are not those of its pictures’ folders', async () => {
    const [first, second, third] = FILE.imagenet_a;
    const shifted = [
      { ...first, gt_caption: second.gt_caption },
      { ...second, gt_caption: third.gt_caption },
      { ...third, gt_caption: first.gt_caption },
    ];
    const { notes } = await reading({ ...FILE, imagenet_a: shifted });
    expect(notes[2]).toContain('WARNING: in 1 of 2 folders of imagenet-a');
  });

  it('goes on without a lost picture, and names it', async () => {
    const more = { ...FILE, imagenet_r: [...FILE.imagenet_r, entry('imagenet-r/n1/none.jpg', 'cat', 'dog')] };
    await mkdir(file('imagenet-r/n2'));
    await writeFile(file('imagenet-r/n2/broken.jpg'), Buffer.from('/9j/4AAQ', 'base64'));
    more.imagenet_r.push(entry('imagenet-r/n2/broken.jpg', 'cat', 'dog'));
    const { items, omitted } = await reading(more);
    expect(items).toHaveLength(draft.items.length);
    expect(omitted.map(({ what }) => what)).toEqual([
      'imagenet-r/n1/none.jpg',
      'imagenet-r/n2/broken.jpg',
      'imagenetv2/134/z.jpeg',
    ]);
  });

  it('takes folders of other names', async () => {
    const other = await emptyFolder();
    await writePictures(other, ['val/2/x.jpeg', 'val/10/y.jpeg']);
    const options = { images: other, folders: { imagenet_v2: 'val' } };
    const { items } = await reading({ imagenet_v2: FILE.imagenet_v2 }, options);
    expect(items.map(({ cluster }) => cluster)).toEqual([
      'val/2/x.jpeg',
      'val/2/x.jpeg',
      'val/10/y.jpeg',
      'val/10/y.jpeg',
    ]);
    await expect(reading({ imagenet_v2: FILE.imagenet_v2 }, { images: other })).rejects.toThrow(
      'The pictures of imagenet_v2 are not below',
    );
    await rm(other, { recursive: true });
  });

  const wrong = (file_name: string) => ({ imagenet_v2: [{ file_name, gt_caption: 'a', error_caption: 'b' }] });
  it.each([
    ['a path that climbs out', wrong('imagenetv2/../../etc/passwd'), 'is refused'],
    ['an absolute path', wrong('/imagenetv2/1/a.jpg'), 'is refused'],
    ['a path of one part', wrong('a.jpg'), 'names no class folder'],
    ['a V2 folder that is no class index', wrong('imagenetv2/n01/a.jpg'), 'no class index of ImageNet-V2'],
    ['a picture asked twice', { imagenet_a: [FILE.imagenet_a[0], FILE.imagenet_a[0]] }, 'asks of the picture'],
    ['an unknown list', { imagenet_c: [] }, 'Unrecognized key: "imagenet_c"'],
    ['an unknown field', { imagenet_a: [{ ...FILE.imagenet_a[0], extra: 1 }] }, 'at "imagenet_a.0": Unrecognized key'],
    ['a prototype', '{"__proto__": {}, "imagenet_a": []}', 'has the key "__proto__"'],
    ['no JSON', '{', 'is not JSON'],
    ['nothing to ask', { imagenet_a: [] }, 'leaves nothing to ask'],
  ])('refuses %s', async (_, document, why) => {
    await expect(reading(document)).rejects.toThrow(why);
  });

  it('reads class indices as numbers', () => {
    expect(['0', '2', '10', '999', '007'].map((folder) => classIndex(folder, 'v2'))).toEqual([0, 2, 10, 999, 7]);
  });
});

const goldOf = ({ ask }: Item): number => (ask.kind === 'yesno' ? Number(ask.gold === 'no') : 0);
const say = (at: number, of = 2): Answer => scores(...Array.from({ length: of }, (_, i) => Number(i === at)));

describe('RobustVQA', () => {
  it('gives one half by question and nothing by pair to whoever always says yes', () => {
    for (const yes of [say(0), text('Yes, it is.')]) {
      const results = measured(draft, robustVqa, () => yes);
      expect(results['imagenet-a accuracy']).toMatchObject({ value: 0.5, n: 6, chance: 0.5 });
      expect(results['imagenet-a balanced-accuracy'].value).toBe(0.5);
      expect(results['imagenet-a yes-ratio'].value).toBe(1);
      expect(results['imagenet-a pair-accuracy']).toMatchObject({ value: 0, n: 3, chance: 0.25 });
      expect(results['imagenet-a d-prime'].value).toBeCloseTo(0, 12);
    }
  });

  it('measures each split by itself, and never a mean over splits that share pictures', () => {
    const results = measured(draft, robustVqa, (item) =>
      say(item.split === 'imagenet-r' ? 1 - goldOf(item) : goldOf(item)),
    );
    expect(results['imagenet-a pair-accuracy'].value).toBe(1);
    expect(results['imagenet-r pair-accuracy'].value).toBe(0);
    expect(results['imagenet-v2 accuracy']).toMatchObject({ value: 1, n: 4 });
    expect(Object.keys(results).some((key) => key.endsWith('-macro'))).toBe(false);
  });

  it('lets an encoder be right by both questions of a picture or by none', () => {
    // Two-way scores of one picture: the two questions have the same texts in the other order.
    const likes = ({ ask, cluster }: Item) =>
      ask.kind === 'yesno' && ask.texts
        ? scores(...ask.texts.map((name) => Number.parseInt(sha256Hex(name + cluster), 16) / 2 ** 256))
        : say(0);
    const results = measured(draft, robustVqa, likes);
    for (const split of ['imagenet-a', 'imagenet-r', 'imagenet-v2'])
      expect(results[`${split} accuracy`].value).toBe(results[`${split} pair-accuracy`].value);
  });

  it('scores words by DEEM’s own rule on request', () => {
    const answer = ({ ask }: Item) => text(ask.kind === 'yesno' && ask.gold === 'yes' ? 'Yes it is' : 'no');
    expect(measured(draft, robustVqa, answer)['imagenet-a accuracy'].value).toBe(1);
    expect(measured(draft, robustVqa, answer, 'robustvqa-deem')['imagenet-a accuracy']).toMatchObject({
      value: 0.5,
      unknown: 3,
    });
  });

  it('measures what a base subject knew apart, where items say so', () => {
    const items = draft.items.map((item) => ({
      ...item,
      meta: { ...item.meta, 'clean-correct': item.cluster === PICTURES[0] },
    }));
    const results = measured({ ...draft, items }, robustVqa, (item) =>
      say(item.cluster === PICTURES[0] ? 1 - goldOf(item) : goldOf(item)),
    );
    expect(results['imagenet-a pair-accuracy']).toMatchObject({ value: 2 / 3, n: 3 });
    expect(results['imagenet-a/clean-correct pair-accuracy']).toMatchObject({ value: 0, n: 1 });
    expect(results['imagenet-r/clean-correct accuracy']).toBeUndefined();
  });

  it('takes all turns of a four-way question together', async () => {
    const pictures = PICTURES.map((name, i) => ({
      path: name,
      sha256: sha256Hex(name),
      width: 6,
      height: 4,
      label: i % 5,
      split: 'all',
    }));
    const classes = ['a', 'b', 'c', 'd', 'e'];
    const recipe = { distractor: 'random', format: 'mcq4', rotations: true } as const;
    const four = { ...draft, ...(await askRobustVqa(recipe, { pictures, classes })) };
    const gold = ({ ask }: Item) => (ask.kind === 'choice' ? ask.gold : -1);
    const always = measured(four, robustVqa, () => say(0, 4));
    expect(always['all-unfiltered accuracy']).toMatchObject({ value: 0.25, n: 36, chance: 0.25 });
    expect(always['all-unfiltered rotation-accuracy']).toMatchObject({ value: 0, n: 9, chance: 1 / 256 });
    const once = measured(four, robustVqa, (item) =>
      say(item.id.endsWith('#2') ? (gold(item) + 1) % 4 : gold(item), 4),
    );
    expect(once['all-unfiltered accuracy'].value).toBe(0.75);
    expect(once['all-unfiltered rotation-accuracy'].value).toBe(0);
    const words = measured(four, robustVqa, (item) => text(`The answer is ${'ABCD'[gold(item)]}.`));
    expect(words['all-unfiltered rotation-accuracy'].value).toBe(1);
  });
});
