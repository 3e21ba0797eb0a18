import { sha256Hex } from '@fovea/artifacts';
import { permutation, philox } from '@fovea/tensor/random';
import { describe, expect, it } from 'vitest';
import type { ImageTextEncoder } from '../image-text-encoder.ts';
import type { Draft } from '../suite/draft.ts';
import {
  buildRobustVqa,
  type FilterModel,
  filterRefusal,
  type LabelledPicture,
  type RobustVqaOptions,
  type RobustVqaSource,
} from './build-robustvqa.ts';
import { opened } from './testing-kinds.ts';

const CLASSES = 27;
const SIDE = 3;
const classes = Array.from({ length: CLASSES }, (_, i) => `kind_of_${i}`);
const nameOf = (label: number) => `kind of ${label}`;

/** A picture whose 27 numbers are how much it looks like each class. */
interface Planted extends LabelledPicture {
  looks: Float32Array;
  /** Classes by falling likeness. */
  order: Int32Array;
}

function planted(n: number, split?: string): Planted[] {
  return Array.from({ length: n }, (_, i) => {
    const order = permutation(CLASSES, 5, `planted/${split}`, i);
    const looks = new Float32Array(CLASSES);
    order.forEach((label, rank) => {
      looks[label] = 1 - rank / CLASSES;
    });
    // Every third picture is of its best class, the others of their second, fourth, … best.
    const label = order[i % 3 === 0 ? 0 : i % 7];
    const path = `${split ?? 'one'}/${label}/${i}.jpg`;
    return { path, sha256: sha256Hex(path), width: 3, height: 3, label, looks, order, ...(split && { split }) };
  });
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

const filter: FilterModel = {
  encoder: new AxisEncoder(),
  sha256: 'f'.repeat(64),
  async pixels(pictures) {
    const out = new Float32Array(pictures.length * 3 * SIDE ** 2);
    pictures.forEach((picture, i) => {
      out.set((picture as Planted).looks, i * CLASSES);
    });
    return out;
  },
};

const build = (pictures: readonly Planted[], options: Partial<RobustVqaOptions>, more: Partial<RobustVqaSource> = {}) =>
  buildRobustVqa(options, { pictures, classes, filter, ...more });

/** Asked names by picture path in one split: [right, wrong, questions]. */
function askedIn(draft: Draft, split: string): Map<string, { right: string; wrong: string; golds: string[] }> {
  const asked = new Map<string, { right: string; wrong: string; golds: string[] }>();
  for (const { ask, pictures, split: own, pair, cluster } of opened(draft).items) {
    if (own !== split || ask.kind !== 'yesno' || pictures[0].kind !== 'file' || !ask.texts) continue;
    const { path, sha256 } = pictures[0];
    expect([pair, cluster, sha256]).toEqual([`${split}/${path}`, path, sha256Hex(path)]);
    expect(ask.question).toBe(`Is ${ask.texts[0]} the main object in this image?`);
    const [right, wrong] = ask.gold === 'yes' ? ask.texts : [ask.texts[1], ask.texts[0]];
    const known = asked.get(path);
    if (known) expect([known.right, known.wrong]).toEqual([right, wrong]);
    asked.set(path, { right, wrong, golds: [...(known?.golds ?? []), ask.gold] });
  }
  return asked;
}

describe('buildRobustVqa on a planted batch', () => {
  const pictures = planted(300);

  it.each([1, 7, 64, 256])(
    'keeps picture, name and wrong name together for all pictures (batches of %i)',
    async (batch) => {
      const draft = await build(pictures, { rule: 'all' }, { batch });
      const asked = askedIn(draft, 'all');
      expect([...asked.keys()]).toEqual(pictures.map(({ path }) => path));
      for (const { path, label, order } of pictures) {
        // Top-1 where it is wrong, else top-2.
        const wrong = order[0] === label ? order[1] : order[0];
        expect(asked.get(path)).toEqual({ right: nameOf(label), wrong: nameOf(wrong), golds: ['yes', 'no'] });
      }
    },
  );

  it.each([1, 7, 64, 256])('… and for those that the filter model gets wrong (batches of %i)', async (batch) => {
    const draft = await build(pictures, { rule: 'errors-only' }, { batch });
    const asked = askedIn(draft, 'all');
    const wrong = pictures.filter(({ label, order }) => order[0] !== label);
    expect(wrong.length).toBeGreaterThan(100);
    expect(wrong.length).toBeLessThan(200);
    expect([...asked.keys()]).toEqual(wrong.map(({ path }) => path));
    for (const { path, label, order } of wrong) {
      expect(asked.get(path)).toEqual({ right: nameOf(label), wrong: nameOf(order[0]), golds: ['yes', 'no'] });
    }
  });

  it('puts an unfiltered slice with uniform wrong names beside every rule', async () => {
    const slices = await Promise.all(
      [{}, { rule: 'errors-only' }, { distractor: 'random', rule: 'errors-only' }].map(async (options) =>
        askedIn(await build(pictures, options as Partial<RobustVqaOptions>), 'all-unfiltered'),
      ),
    );
    for (const slice of slices) expect(slice).toEqual(slices[0]);
    expect([...slices[0].keys()]).toEqual(pictures.map(({ path }) => path));
    const wrong = [...slices[0].values()];
    expect(wrong.every(({ right, wrong }) => right !== wrong)).toBe(true);
    expect(new Set(wrong.map((each) => each.wrong)).size).toBe(CLASSES);
    const alone = await build(pictures, { distractor: 'random' }, { filter: undefined });
    expect(opened(alone).manifest.splits).toEqual({ 'all-unfiltered': 600 });
    expect(alone.source.filterModel).toBeNull();
    const other = await build(pictures, { distractor: 'random', seed: 1 }, { filter: undefined });
    expect(askedIn(other, 'all-unfiltered')).not.toEqual(slices[0]);
  });

  it('gives a picture the same questions whatever other pictures there are', async () => {
    const some = pictures.filter((_, i) => i % 5 !== 1);
    for (const options of [{}, { distractor: 'random', mask: 'all' }] as const) {
      const [all, few] = [
        await build(pictures, { ...options, mask: 'all' }),
        await build(some, { ...options, mask: 'all' }),
      ];
      const byId = new Map(all.items.map((item) => [item.id, item]));
      for (const item of few.items) expect(item).toEqual(byId.get(item.id));
    }
  });

  it('lets only the classes of a split compete, on request', async () => {
    const few = planted(300, 'a').filter(({ label }) => label < 9);
    const many = planted(300, 'r').filter(({ label }) => label >= 5);
    const draft = await build([...few, ...many], {});
    const asked = askedIn(draft, 'a');
    for (const { path, label, order } of few) {
      const wrong = [...order].find((other) => other !== label && other < 9) as number;
      expect(asked.get(path)?.wrong).toBe(nameOf(wrong));
    }
    const loose = askedIn(await build(few, { mask: 'all' }), 'a');
    expect(few.some(({ path, order }) => order[0] >= 9 && loose.get(path)?.wrong === nameOf(order[0]))).toBe(true);
    for (const { wrong } of askedIn(draft, 'a-unfiltered').values()) expect(Number(wrong.slice(8))).toBeLessThan(9);
    expect(draft.notes).toContain(`a: ${few.length} pictures`);
  });

  it('takes classes of one name for one: they neither compete nor stand side by side', async () => {
    const twins = classes.map((name, i) => (i === 4 ? 'KIND OF_5' : name));
    const isTwin = (label: number) => label === 4 || label === 5;
    // To the filter model both names are one feature, axis 5.
    const draft = await build(pictures, {}, { classes: twins });
    const asked = askedIn(draft, 'all');
    expect(asked.size).toBe(pictures.length);
    for (const { path, label, order } of pictures) {
      const ranking = [...order].filter((other) => other !== 4);
      const wrong = ranking.find((other) => other !== label && !(isTwin(other) && isTwin(label))) as number;
      expect(asked.get(path)?.wrong.toLowerCase()).toBe(nameOf(wrong));
    }
    for (const { right, wrong } of askedIn(draft, 'all-unfiltered').values())
      expect(right.toLowerCase()).not.toBe(wrong.toLowerCase());
    expect(draft.notes[0]).toBe('classes that share a name count as one: "kind of 5"');
  });

  it('takes siblings of the right class, and says where it ran out of them', async () => {
    const groups = classes.map((_, i) => (i === 0 ? 'lonely' : String(i % 4)));
    const draft = await build(pictures, { distractor: 'sibling' }, { groups, filter: undefined });
    let lonely = 0;
    for (const { right, wrong } of askedIn(draft, 'all').values()) {
      const [a, b] = [right, wrong].map((name) => Number(name.slice(8)));
      if (a === 0) lonely++;
      else expect(groups[b]).toBe(groups[a]);
    }
    expect(draft.notes[0]).toBe(`${lonely} wrong names are not of the right one's group, which has too few`);
    expect(Object.keys(opened(draft).manifest.splits)).toEqual(['all', 'all-unfiltered']);
  });
});

describe('four options', () => {
  const pictures = planted(200);

  it('hold the right name and the three best wrong ones, in an order of the picture’s own', async () => {
    const draft = await build(pictures, { format: 'mcq4' });
    const { items } = opened(draft);
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
    const draft = await build(pictures, { format: 'mcq4', rotations: true, distractor: 'random' });
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
  it.each<[string, Partial<RobustVqaOptions>, Partial<RobustVqaSource>]>([
    ['clip-top needs a filter model', {}, { filter: undefined }],
    ['errors-only needs a filter model', { rule: 'errors-only', distractor: 'random' }, { filter: undefined }],
    ['sibling needs a group for each of the 27 classes', { distractor: 'sibling' }, { groups: ['a'] }],
    ['rotations turn the options of mcq4', { rotations: true }, {}],
    ['is given twice', {}, { pictures: [pictures[0], pictures[1], pictures[0]] }],
    ['is of class 27, but there are 27 classes', {}, { pictures: [{ ...pictures[0], label: 27 }] }],
    ['there is no picture', {}, { pictures: [] }],
    ['class 3 has no name', {}, { classes: classes.map((name, i) => (i === 3 ? '_' : name)) }],
    ['has 1 classes of different names, but 2 are needed', {}, { pictures: [pictures[0]] }],
    ['has 3 classes of different names, but 4 are needed', { format: 'mcq4' }, { pictures: threeClasses() }],
  ])('%s', async (why, options, more) => {
    await expect(build(pictures, options, more)).rejects.toThrow(why);
  });

  it('a filter model whose features are not finite', async () => {
    const broken = { ...pictures[3], looks: new Float32Array(CLASSES).fill(Number.NaN) };
    await expect(build([pictures[0], broken, pictures[5]], {})).rejects.toThrow(broken.path);
  });

  it('a suite that the encoder under test has chosen itself', async () => {
    const { source } = await build(pictures, {});
    expect(filterRefusal(source, ['a', filter.sha256])).toContain('the very encoder under test');
    expect(filterRefusal(source, ['a'])).toBeNull();
    const { source: free } = await build(pictures, { distractor: 'random' });
    expect(filterRefusal(free, [filter.sha256])).toBeNull();
  });
});

function threeClasses(): Planted[] {
  const rng = philox(1, 'three');
  return planted(12).map((picture, i) => ({ ...picture, path: `${i}-${rng.int(99)}`, label: i % 3 }));
}
