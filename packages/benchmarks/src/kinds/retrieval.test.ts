// Retrieval by hand-made ranks whose recall is known.

import { expect, it } from 'vitest';
import type { Answer } from '../judging/answer.ts';
import type { Draft } from '../suite/draft.ts';
import { retrieval } from './retrieval.ts';
import { judge, measured } from './testing-kinds.ts';

const draftOf = (captions: number[]): Draft => ({
  name: 'small',
  kind: 'retrieval',
  title: 'Small',
  source: {},
  prompt: { id: 'p', template: '{question}' },
  omitted: [],
  notes: [],
  items: captions.map((count, i) => ({
    id: `${i}`,
    split: 'all',
    cluster: `${i}`,
    pictures: [{ kind: 'scene', scene: i }],
    ask: { kind: 'retrieve', captions: Array.from({ length: count }, (_, c) => `caption ${i} ${c}`) },
  })),
  probes: [],
});

const ranks = (toText: number, ...toImage: number[]): Answer => ({ kind: 'ranks', toText, toImage });

it('recalls both ways, weighs every caption alike, and means the six', () => {
  const answers = [
    ranks(0, 0, 4),
    ranks(7, 12),
    ranks(1, 9),
    { kind: 'error', message: 'gone', attempts: 1 } as Answer,
  ];
  const results = measured(draftOf([2, 1, 1, 2]), retrieval, ({ id }) => answers[Number(id)]);
  const value = (metric: string) => results[`all ${metric}`].value;
  expect([1, 5, 10].map((k) => value(`image-to-text-r${k}`))).toEqual([1 / 4, 2 / 4, 3 / 4]);
  expect([1, 5, 10].map((k) => value(`text-to-image-r${k}`))).toEqual([1 / 6, 2 / 6, 3 / 6]);
  expect(value('mean-recall')).toBeCloseTo((1.5 + 1) / 6, 12);
  expect(results['all text-to-image-r1']).toMatchObject({ n: 6, errors: 1, chance: 1 / 4 });
  // Of six captions, one of two (twice) or the only one (twice) is drawn first.
  expect(results['all image-to-text-r1'].chance).toBeCloseTo((2 / 6 + 1 / 6 + 1 / 6 + 2 / 6) / 4, 12);
});

it('guesses within the gallery of each split', () => {
  const draft = draftOf([1, 1, 1, 1]);
  draft.items.forEach((item, i) => {
    item.split = i === 0 ? 'one' : 'three';
  });
  const results = measured(draft, retrieval, () => ranks(0, 0));
  const chance = (split: string) => results[`${split} text-to-image-r1`].chance;
  expect([chance('one'), chance('three')]).toEqual([1, 1 / 3]);
  expect(chance('all')).toBeCloseTo((1 + 3 / 3) / 4, 12);
});

it('does not take ranks of another number of captions', () => {
  const [{ scored }] = judge(draftOf([2]), retrieval, () => ranks(0, 0));
  expect(scored).toMatchObject({ label: 'unknown', rule: 'no-ranks', correct: 0 });
});

it('is perfect for a perfect subject, with an interval that has width', () => {
  const results = measured(draftOf([1, 1, 1]), retrieval, () => ranks(0, 0));
  for (const result of Object.values(results)) {
    expect(result).toMatchObject({ value: 1, ci: { high: 1, method: 'wilson' } });
    expect(result.ci?.low).toBeLessThan(1);
  }
});
