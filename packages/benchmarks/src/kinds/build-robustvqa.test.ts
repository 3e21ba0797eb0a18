import { mkdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { sha256Hex } from '@fovea/artifacts';
import type { Rgb8 } from '@fovea/data';
import { permutation } from '@fovea/tensor/random';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import type { ImageTextEncoder } from '../image-text-encoder.ts';
import { CHUNK } from '../subjects/features.ts';
import type { Draft } from '../suite/draft.ts';
import {
  askRobustVqa,
  buildRobustVqa,
  foilRefusal,
  type LabelledPicture,
  type RobustVqaRecipe,
  type RobustVqaSource,
} from './build-robustvqa.ts';
import { emptyFolder, opened } from './testing-kinds.ts';

const CLASSES = 27;
const SIDE = 3;
const classes = Array.from({ length: CLASSES }, (_, i) => `kind_of_${i}`);
const nameOf = (label: number) => `kind of ${label}`;

/** A picture whose 27 numbers are how much it looks like each class. */
interface Planted extends LabelledPicture {
  pixels: Rgb8;
  /** Classes by falling likeness. */
  order: Int32Array;
}

function planted(n: number, split = 'all'): Planted[] {
  return Array.from({ length: n }, (_, i) => {
    const order = permutation(CLASSES, 5, `planted/${split}`, i);
    // Every third picture is of its best class, the others of their second, third, … best.
    const label = order[i % 3 === 0 ? 0 : i % 7];
    const path = `${split}/${label}/${i}.png`;
    return { path, sha256: sha256Hex(path), width: SIDE, height: SIDE, label, split, pixels: pixelsOf(order), order };
  });
}

/** 3 × 3 pixels whose planes, one after the other, hold a number per class. */
function pixelsOf(order: Int32Array): Rgb8 {
  const data = new Uint8Array(CLASSES);
  order.forEach((label, rank) => {
    data[3 * (label % 9) + Math.floor(label / 9)] = 250 - 9 * rank;
  });
  return { width: SIDE, height: SIDE, data };
}

/** Reads pictures by what they look like; names are the axes. Its weights are the identity. */
class AxisEncoder implements ImageTextEncoder {
  readonly dim = CLASSES;

  async imageFeatures(pixels: Float32Array, n: number): Promise<Float32Array> {
    const out = pixels.slice(0, n * CLASSES);
    for (let i = 0; i < n; i++) {
      const row = out.subarray(i * CLASSES, (i + 1) * CLASSES);
      const length = Math.hypot(...row);
      row.forEach((x, k) => {
        row[k] = x / length;
      });
    }
    return out;
  }

  async textFeatures(names: string[]): Promise<Float32Array> {
    const out = new Float32Array(names.length * CLASSES);
    names.forEach((name, i) => {
      out[i * CLASSES + Number(name.split(' ').at(-1))] = 1;
    });
    return out;
  }
}

const filter = {
  judged: { encoder: new AxisEncoder(), identity: {}, imageSize: SIDE },
  id: 'f'.repeat(64),
  read: async (picture: unknown) => (picture as Planted).pixels,
};

/** The questions alone, as a draft. */
async function ask(
  pictures: readonly LabelledPicture[],
  options: RobustVqaRecipe,
  more: Partial<RobustVqaSource> = {},
): Promise<Draft> {
  const { items, notes } = await askRobustVqa(options, { pictures, classes, filter, ...more });
  const prompt = { id: 'bare', template: '{question}' };
  const facts = { name: 'planted', kind: 'robustvqa', title: 'Planted', source: {}, prompt } as const;
  return { ...facts, omitted: [], notes, items, probes: [] };
}

interface Asked {
  right: string;
  wrong: string;
  golds: string[];
}

/** What is asked of each picture of one split, by path; every item is looked at. */
function askedIn(draft: Draft, split: string, hashOf: (path: string) => unknown = sha256Hex): Map<string, Asked> {
  const asked = new Map<string, Asked>();
  for (const { ask, pictures, split: own, pair, cluster } of opened(draft).items) {
    if (own !== split || ask.kind !== 'yesno' || pictures[0].kind !== 'file' || !ask.texts) continue;
    const { path, sha256 } = pictures[0];
    expect([pair, cluster, sha256]).toEqual([`${split}/${path}`, path, hashOf(path)]);
    expect(ask.question).toBe(`Is ${ask.texts[0]} the main object in this image?`);
    const [right, wrong] = ask.gold === 'yes' ? ask.texts : [ask.texts[1], ask.texts[0]];
    const known = asked.get(path);
    if (known) expect([known.right, known.wrong]).toEqual([right, wrong]);
    asked.set(path, { right, wrong, golds: [...(known?.golds ?? []), ask.gold] });
  }
  return asked;
}

describe('a planted batch', () => {
  const pictures = planted(300);

  it('is more than is encoded at once', () => expect(pictures.length).toBeGreaterThan(2 * CHUNK));

  it('keeps picture, name and wrong name together for all pictures', async () => {
    const asked = askedIn(await ask(pictures, { rule: 'all' }), 'all');
    expect([...asked.keys()]).toEqual(pictures.map(({ path }) => path));
    for (const { path, label, order } of pictures) {
      // Top-1 where it is wrong, else top-2.
      const wrong = order[0] === label ? order[1] : order[0];
      expect(asked.get(path)).toEqual({ right: nameOf(label), wrong: nameOf(wrong), golds: ['yes', 'no'] });
    }
  });

  it('keeps them together for those that the filter model gets wrong', async () => {
    const asked = askedIn(await ask(pictures, { rule: 'errors-only' }), 'all');
    const wrong = pictures.filter(({ label, order }) => order[0] !== label);
    expect(wrong.length).toBeGreaterThan(100);
    expect(wrong.length).toBeLessThan(200);
    expect([...asked.keys()]).toEqual(wrong.map(({ path }) => path));
    for (const { path, label, order } of wrong) {
      expect(asked.get(path)).toEqual({ right: nameOf(label), wrong: nameOf(order[0]), golds: ['yes', 'no'] });
    }
  });

  it('has an unfiltered slice with uniform wrong names beside every rule', async () => {
    const recipes = [{}, { rule: 'errors-only' }, { distractor: 'random', rule: 'errors-only' }] as const;
    const slices = await Promise.all(
      recipes.map(async (options) => askedIn(await ask(pictures, options), 'all-unfiltered')),
    );
    for (const slice of slices) expect(slice).toEqual(slices[0]);
    expect([...slices[0].keys()]).toEqual(pictures.map(({ path }) => path));
    const all = [...slices[0].values()];
    expect(all.every(({ right, wrong }) => right !== wrong)).toBe(true);
    expect(new Set(all.map(({ wrong }) => wrong)).size).toBe(CLASSES);
    const alone = await ask(pictures, { distractor: 'random' }, { filter: undefined });
    expect(opened(alone).manifest.splits).toEqual({ 'all-unfiltered': 600 });
    const other = await ask(pictures, { distractor: 'random', seed: 1 }, { filter: undefined });
    expect(askedIn(other, 'all-unfiltered')).not.toEqual(slices[0]);
  });

  it('asks the same of a picture whatever other pictures there are', async () => {
    const some = pictures.filter((_, i) => i % 5 !== 1);
    for (const options of [{ mask: 'all' }, { mask: 'all', distractor: 'random' }] as const) {
      const [all, few] = [await ask(pictures, options), await ask(some, options)];
      const byId = new Map(all.items.map((item) => [item.id, item]));
      for (const item of few.items) expect(item).toEqual(byId.get(item.id));
    }
  });

  it('lets only the classes of a split compete, or all', async () => {
    const few = planted(300, 'a').filter(({ label }) => label < 9);
    const many = planted(300, 'r').filter(({ label }) => label >= 5);
    const draft = await ask([...few, ...many], {});
    const asked = askedIn(draft, 'a');
    for (const { path, label, order } of few) {
      const wrong = [...order].find((other) => other !== label && other < 9) as number;
      expect(asked.get(path)?.wrong).toBe(nameOf(wrong));
    }
    for (const { wrong } of askedIn(draft, 'a-unfiltered').values()) expect(Number(wrong.slice(8))).toBeLessThan(9);
    const loose = askedIn(await ask(few, { mask: 'all' }), 'a');
    expect(few.some(({ path, order }) => order[0] >= 9 && loose.get(path)?.wrong === nameOf(order[0]))).toBe(true);
    expect(draft.notes).toContain(`a: ${few.length} pictures.`);
  });

  it('takes classes of one name for one: they neither compete nor stand side by side', async () => {
    const twins = classes.map((name, i) => (i === 4 ? 'KIND OF_5' : name));
    const isTwin = (label: number) => label === 4 || label === 5;
    // To the filter model both names are one feature, axis 5.
    const draft = await ask(pictures, {}, { classes: twins });
    const asked = askedIn(draft, 'all');
    expect(asked.size).toBe(pictures.length);
    for (const { path, label, order } of pictures) {
      const ranking = [...order].filter((other) => other !== 4);
      const wrong = ranking.find((other) => other !== label && !(isTwin(other) && isTwin(label))) as number;
      expect(asked.get(path)?.wrong.toLowerCase()).toBe(nameOf(wrong));
    }
    for (const { right, wrong } of askedIn(draft, 'all-unfiltered').values())
      expect(right.toLowerCase()).not.toBe(wrong.toLowerCase());
    expect(draft.notes[0]).toBe('Classes that share a name count as one: "kind of 5".');
  });

  it('takes siblings of the right class, and says where it ran out of them', async () => {
    const groups = classes.map((_, i) => (i === 0 ? 'lonely' : String(i % 4)));
    const draft = await ask(pictures, { distractor: 'sibling' }, { groups, filter: undefined });
    let lonely = 0;
    for (const { right, wrong } of askedIn(draft, 'all').values()) {
      const [a, b] = [right, wrong].map((name) => Number(name.slice(8)));
      if (a === 0) lonely++;
      else expect(groups[b]).toBe(groups[a]);
    }
    expect(lonely).toBeGreaterThan(0);
    expect(draft.notes[0]).toBe(`${lonely} wrong names are not of the right one's group, which has too few.`);
    expect(Object.keys(opened(draft).manifest.splits)).toEqual(['all', 'all-unfiltered']);
  });
});

describe('four options', () => {
  const pictures = planted(200);

  it('hold the right name and the three best wrong ones, in an order of the picture’s own', async () => {
    const { items } = opened(await ask(pictures, { format: 'mcq4' }));
    expect(items).toHaveLength(400);
    const places = [0, 0, 0, 0];
    pictures.forEach(({ label, order }, i) => {
      const { ask } = items[i];
      if (ask.kind !== 'choice') throw new Error('no choice');
      expect(ask.options[ask.gold]).toBe(nameOf(label));
      const best = [...order].filter((other) => other !== label).slice(0, 3);
      expect([...ask.options].sort()).toEqual([label, ...best].map(nameOf).sort());
      places[ask.gold]++;
    });
    for (const count of places) expect(count).toBeGreaterThan(30);
  });

  it('stand in every place once when turned, and are a pair', async () => {
    const draft = await ask(pictures, { format: 'mcq4', rotations: true, distractor: 'random' });
    const turns = new Map<string, string[][]>();
    const golds = new Map<string, number[]>();
    for (const { pair, ask } of opened(draft).items) {
      if (ask.kind !== 'choice' || pair === undefined) throw new Error('no choice');
      turns.set(pair, [...(turns.get(pair) ?? []), ask.options]);
      golds.set(pair, [...(golds.get(pair) ?? []), ask.gold]);
    }
    expect(turns.size).toBe(200);
    for (const options of turns.values()) {
      expect(options).toHaveLength(4);
      for (let place = 0; place < 4; place++) expect(new Set(options.map((each) => each[place])).size).toBe(4);
    }
    for (const places of golds.values()) expect([...places].sort()).toEqual([0, 1, 2, 3]);
  });
});

describe('what is refused', () => {
  const pictures = planted(20);
  const threeClasses = planted(12).map((picture, i) => ({ ...picture, label: i % 3 }));

  it.each<[string, RobustVqaRecipe, Partial<RobustVqaSource>]>([
    ['clip-top needs a filter model', {}, { filter: undefined }],
    ['errors-only needs a filter model', { rule: 'errors-only', distractor: 'random' }, { filter: undefined }],
    ['sibling needs a group for each of the 27 classes', { distractor: 'sibling' }, { groups: ['a'] }],
    ['rotations turn the options of mcq4', { rotations: true }, {}],
    ['is given twice', {}, { pictures: [pictures[0], pictures[1], pictures[0]] }],
    ['is of class 27, but there are 27 classes', {}, { pictures: [{ ...pictures[0], label: 27 }] }],
    ['there is no picture', {}, { pictures: [] }],
    ['class 3 has no name', {}, { classes: classes.map((name, i) => (i === 3 ? '_' : name)) }],
    ['has 1 classes of different names, but 2 are needed', {}, { pictures: [pictures[0]] }],
    ['has 3 classes of different names, but 4 are needed', { format: 'mcq4' }, { pictures: threeClasses }],
  ])('%s', async (why, options, more) => {
    await expect(ask(pictures, options, more)).rejects.toThrow(why);
  });

  it('a filter model whose features are not finite', async () => {
    const black = { width: SIDE, height: SIDE, data: new Uint8Array(CLASSES) };
    const broken = { ...pictures[3], pixels: black };
    await expect(ask([pictures[0], broken, pictures[5]], {})).rejects.toThrow(broken.path);
  });

  it('a suite that the encoder under test has chosen itself', () => {
    expect(foilRefusal({ foil: 'f' }, ['a', 'f'])).toContain('the very encoder under test');
    expect(foilRefusal({ foil: 'f' }, ['a'])).toBeNull();
    expect(foilRefusal({ foil: null }, ['f'])).toBeNull();
    expect(foilRefusal({}, ['f'])).toBeNull();
  });
});

describe('buildRobustVqa', () => {
  it('asks of a folder of class folders, by the filter model and by groups', async () => {
    const folder = await emptyFolder();
    const pictures = planted(60);
    for (const { path: name, pixels, label } of pictures) {
      const file = path.join(folder, 'pictures', `kind_of_${label}`, path.basename(name));
      await mkdir(path.dirname(file), { recursive: true });
      const { data, width, height } = pixels;
      await sharp(data, { raw: { width, height, channels: 3 } })
        .png()
        .toFile(file);
    }
    await writeFile(path.join(folder, 'pictures', 'kind_of_1', 'broken.png'), 'no picture');
    const from = { kind: 'image-folder' as const, images: path.join(folder, 'pictures') };
    const draft = await buildRobustVqa({ from, split: 'mine' }, filter);
    expect(draft.source).toMatchObject({ foil: filter.id, rule: 'all', distractor: 'clip-top', seed: 0 });
    expect(draft.omitted.map(({ what }) => what)).toEqual(['kind_of_1/broken.png']);
    const asked = askedIn(draft, 'mine', () => expect.any(String));
    const present = new Set(pictures.map(({ label }) => label));
    for (const { path: name, label, order } of pictures) {
      const wrong = [...order].find((other) => other !== label && present.has(other)) as number;
      const key = `kind_of_${label}/${path.basename(name)}`;
      expect(asked.get(key)).toEqual({ right: nameOf(label), wrong: nameOf(wrong), golds: ['yes', 'no'] });
    }
    const groups = path.join(folder, 'groups.json');
    await writeFile(
      groups,
      JSON.stringify(Object.fromEntries(classes.map((name, i) => [cleanly(name), String(i % 2)]))),
    );
    const siblings = await buildRobustVqa({ from, groups, distractor: 'sibling' });
    expect(siblings.source.foil).toBeNull();
    for (const { right, wrong } of askedIn(siblings, 'all', () => expect.any(String)).values())
      expect(Number(right.slice(8)) % 2).toBe(Number(wrong.slice(8)) % 2);
    await writeFile(groups, JSON.stringify({ 'kind of 0': 'a' }));
    await expect(buildRobustVqa({ from, groups, distractor: 'sibling' })).rejects.toThrow('has no group for');
    await rm(folder, { recursive: true });
  });
});

const cleanly = (name: string): string => name.replaceAll('_', ' ');
