// CHAIR by its golden numbers, and what the lexicon finds in captions.

import { describe, expect, it } from 'vitest';
import type { Answer } from '../judging/answer.ts';
import type { Judged } from '../judging/kind.ts';
import { type Item, itemSchema } from '../suite/item.ts';
import { manifestSchema } from '../suite/manifest.ts';
import type { Suite } from '../suite/suite.ts';
import { chair } from './chair.ts';
import { COCO_LEXICON } from './coco-lexicon.ts';
import { ObjectMentions } from './object-mentions.ts';

const OPTIONS = { count: 400, seed: 7 };

function suiteOf(rows: { gold: string[]; references?: string[] }[]): Suite {
  const items = rows.map(({ gold, references = [] }, i) =>
    itemSchema.parse({
      id: `c/${i}`,
      split: 'all',
      cluster: `${i}`,
      pictures: [{ kind: 'scene', scene: i }],
      ask: { kind: 'caption', gold, references },
    }),
  );
  const manifest = manifestSchema.parse({
    version: 1,
    name: 'chair',
    kind: 'chair',
    title: 'captions',
    source: {},
    prompt: { id: 'p', template: 'Describe.' },
    lexicon: COCO_LEXICON,
    splits: { all: items.length },
    items: { count: items.length, sha256: '0'.repeat(64) },
  });
  return { manifest, items, probes: [], read: () => Promise.reject(new Error('No picture is looked at.')) };
}

const says = (text: string): Exclude<Answer, { kind: 'error' }> => ({
  kind: 'text',
  text,
  tokens: null,
  finish: 'stop',
});

function judge(suite: Suite, texts: (string | null)[]): Judged[] {
  return suite.items.map((item: Item, i) => {
    const text = texts[i];
    if (text === null)
      return {
        item,
        scored: { itemId: item.id, label: 'error', rule: 'error', correct: 0, margin: null, confidence: null },
      };
    return { item, scored: chair.scorers[0].score(item, says(text), suite) };
  });
}

function valuesOf(suite: Suite, judged: Judged[], split = 'all'): Record<string, number | null> {
  const results = chair.measure(suite, judged, OPTIONS).filter((result) => result.split === split);
  return Object.fromEntries(results.map(({ metric, value }) => [metric, value]));
}

const GOLDEN = [
  { gold: ['dog', 'frisbee', 'person'], text: 'A dog leaps for a frisbee while a woman and a man look on.' },
  { gold: ['couch', 'cat'], text: 'Two cats: one cat on a sofa, a television beside.' },
  { gold: ['car'], text: '' },
  { gold: ['car'], text: 'A car between a truck and another truck.' },
];

describe('CHAIR', () => {
  it('gives the golden numbers', () => {
    const suite = suiteOf(GOLDEN);
    const judged = judge(
      suite,
      GOLDEN.map(({ text }) => text),
    );
    const values = valuesOf(suite, judged);
    expect(values['chair-i']).toBeCloseTo(3 / 11, 12);
    expect(values['chair-i-unique']).toBeCloseTo(2 / 8, 12);
    expect(values['chair-s']).toBe(0.5);
    expect(values['chair-s-nonempty']).toBeCloseTo(2 / 3, 12);
    expect(values.recall).toBeCloseTo(6 / 7, 12);
    expect(values['empty-rate']).toBe(0.25);
    expect(values['mean-length']).toBeCloseTo((14 + 10 + 0 + 8) / 4, 12);
    expect(judged.map(({ scored }) => scored.label)).toEqual(['faithful', 'hallucinated', 'empty', 'hallucinated']);
    expect(judged.map(({ scored }) => scored.correct)).toEqual([1, 0, 0, 0]);
  });

  it('says null, not 0, of mentions that there are none of', () => {
    const suite = suiteOf([{ gold: ['car'] }, { gold: ['dog'] }]);
    const values = valuesOf(suite, judge(suite, ['', 'Nothing to see.']));
    expect(values).toMatchObject({ 'chair-i': null, 'chair-s': 0, 'chair-s-nonempty': null, recall: 0 });
  });

  it('takes what people said for true', () => {
    const suite = suiteOf([{ gold: ['dog'], references: ['A puppy by a bench.', 'dogs and umbrellas'] }]);
    const values = valuesOf(suite, judge(suite, ['A dog under an umbrella by the bench and a kite']));
    expect(values['chair-i']).toBeCloseTo(1 / 4, 12);
    expect(values.recall).toBe(1);
  });

  it('counts a caption that failed as wrong, and as an error', () => {
    const suite = suiteOf([{ gold: ['dog'] }, { gold: ['cat'] }]);
    const results = chair.measure(suite, judge(suite, ['a dog', null]), OPTIONS);
    const of = (metric: string) => results.find((result) => result.metric === metric && result.split === 'all');
    expect(of('chair-s')).toMatchObject({ value: 0.5, n: 2, errors: 1 });
    expect(of('recall')).toMatchObject({ value: 0.5 });
    expect(of('chair-i')).toMatchObject({ value: 0, n: 1 });
  });

  it('cuts captions to as many words', () => {
    const filler = 'very '.repeat(30);
    const suite = suiteOf([{ gold: ['dog'] }]);
    const judged = judge(suite, [`A dog ${filler} a hot dog and ${filler} a cat`]);
    expect(valuesOf(suite, judged)).toMatchObject({ 'chair-i': 2 / 3, 'mean-length': 68 });
    // The hot dog ends at word 35, so it is not among the first 32, and is among the first 64.
    expect(valuesOf(suite, judged, 'all/first-32')).toMatchObject({ 'chair-i': 0, 'mean-length': 32 });
    expect(valuesOf(suite, judged, 'all/first-64')).toMatchObject({ 'chair-i': 1 / 2, 'mean-length': 64 });
  });

  it('resamples captions, and gives the same interval for any order', () => {
    const rows = Array.from({ length: 30 }, (_, i) => ({ gold: i % 3 === 0 ? ['dog'] : ['dog', 'cat'] }));
    const suite = suiteOf(rows);
    const judged = judge(
      suite,
      rows.map(() => 'a dog and a cat'),
    );
    const [first] = chair.measure(suite, judged, OPTIONS);
    expect(first).toMatchObject({
      metric: 'chair-i',
      n: 30,
      ci: { method: 'cluster-bootstrap', resamples: 400, seed: 7 },
    });
    expect(first.value).toBeCloseTo(1 / 6, 12);
    expect(first.ci?.low).toBeLessThan(1 / 6);
    expect(first.ci?.high).toBeGreaterThan(1 / 6);
    expect(chair.measure(suite, judged, OPTIONS)[0]).toEqual(first);
  });
});

describe('the lexicon', () => {
  const mentions = new ObjectMentions(COCO_LEXICON);

  it('has COCO’s 80 objects, none of whose words mean two', () => {
    const { nodes, doubleWords } = COCO_LEXICON;
    expect(Object.keys(nodes)).toHaveLength(80);
    const all = Object.entries(nodes).flatMap(([node, words]) => [node, ...words]);
    expect(new Set(all).size).toBe(all.length);
    for (const words of Object.keys(doubleWords)) expect(all).not.toContain(words);
    for (const [node, words] of Object.entries(nodes))
      for (const word of [node, ...words]) expect(mentions.objects(word), word).toEqual([node]);
  });

  it.each([
    ['Two hot dogs and a dog', ['hot dog', 'dog']],
    ['a baby elephant with an adult giraffe', ['elephant', 'giraffe']],
    ['a passenger jet and a passenger train', ['airplane', 'train']],
    ['a man in a bow tie', ['person', 'tie']],
    ['the toilet seat is up', ['toilet']],
    ['a toilet with its wooden seat down', ['toilet']],
    ['a seat by the window', ['chair']],
    ['MOTORCYCLES, Motor Bikes and mopeds', ['motorcycle', 'motorcycle', 'motorcycle']],
    ['an iPhone next to knives', ['cell phone', 'knife']],
    ["the women's buses", ['person', 'bus']],
    ['a slice of cheesecake', ['cake']],
    ['running to home plate on the train tracks', []],
    ['a teddy bear’s umbrella', ['teddy bear', 'umbrella']],
    ['fire-hydrant', ['fire hydrant']],
    ['puppies and ponies', ['dog', 'horse']],
    ['wine glasses, skis and scissors', ['wine glass', 'skis', 'scissors']],
    ['', []],
    ['constructor __proto__ toString', []],
  ])('finds in "%s"', (text, objects) => {
    expect(mentions.mentions(text).map(({ node }) => node)).toEqual(objects);
  });
});
