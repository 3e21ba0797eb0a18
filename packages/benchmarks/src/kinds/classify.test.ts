// Classification and cue conflicts by hand-made answers whose figures are known.

import { describe, expect, it } from 'vitest';
import type { Answer } from '../judging/answer.ts';
import type { Draft } from '../suite/draft.ts';
import type { Item } from '../suite/item.ts';
import { classify, cueConflict } from './classify.ts';
import { judge, measured, text } from './testing-kinds.ts';

const CLASSES = ['cat', 'dog', 'hot dog', 'great white shark', 'car', 'bus', 'kite'];

function draftOf(kind: 'classify' | 'cue-conflict', golds: [gold: number, other?: number][]): Draft {
  return {
    name: 'small',
    kind,
    title: 'Small',
    source: {},
    prompt: { id: 'p', template: 'Which?' },
    classes: CLASSES,
    omitted: [],
    notes: [],
    items: golds.map(([gold, other], i) => ({
      id: `${i}`,
      split: 'all',
      cluster: `${i}`,
      pictures: [{ kind: 'scene', scene: i }],
      ask: { kind: 'classify', gold, ...(other !== undefined && { other }) },
    })),
    probes: [],
  };
}

/** Logits that put classes in an order, each one less than the one before. */
function order(gold: number, ...best: number[]): Answer {
  const all = [...best, ...CLASSES.keys()].filter((c, i, list) => list.indexOf(c) === i);
  const logit = (place: number) => 5 - place;
  const sum = all.reduce((total, _, place) => total + Math.exp(logit(place)), 0);
  return {
    kind: 'classes',
    top: all.map((c, place): [number, number] => [c, logit(place)]),
    gold: logit(all.indexOf(gold)),
    rank: all.indexOf(gold),
    logSumExp: Math.log(sum),
  };
}

const asks = ({ ask }: Item) => ask as { gold: number; other?: number };

describe('classification', () => {
  it('counts the first, the first five, and every class alike', () => {
    const draft = draftOf('classify', [[0], [0], [0], [6]]);
    const wrong: Record<string, number[]> = { 1: [1], 3: [0, 1, 2, 3, 4] };
    const results = measured(draft, classify, (item) =>
      order(asks(item).gold, ...(wrong[item.id] ?? [asks(item).gold])),
    );
    expect(results['all top1']).toMatchObject({ value: 0.5, n: 4, chance: 1 / 7, ci: { method: 'wilson' } });
    expect(results['all top5']).toMatchObject({ value: 0.75, chance: 5 / 7 });
    expect(results['all mean-per-class-recall'].value).toBeCloseTo((2 / 3 + 0) / 2, 12);
  });

  it('takes a tie and an error for wrong', () => {
    const draft = draftOf('classify', [[0], [0], [1]]);
    const answers: Answer[] = [
      {
        kind: 'classes',
        top: CLASSES.map((_, c): [number, number] => [c, 1]),
        gold: 1,
        rank: 6,
        logSumExp: 1 + Math.log(7),
      },
      { kind: 'error', message: 'gone', attempts: 3 },
      order(1, 1),
    ];
    const judged = judge(draft, classify, ({ id }) => answers[Number(id)]);
    expect(judged.map(({ scored }) => [scored.label, scored.correct])).toEqual([
      ['unknown', 0],
      ['error', 0],
      ['dog', 1],
    ]);
    const results = measured(draft, classify, ({ id }) => answers[Number(id)]);
    expect(results['all top1']).toMatchObject({ value: 1 / 3, unknown: 1, errors: 1, n: 3 });
  });

  it('keeps margin and confidence', () => {
    const [{ scored }] = judge(draftOf('classify', [[0]]), classify, () => order(0, 3, 0));
    expect(scored).toMatchObject({ label: 'great white shark', rule: 'argmax', correct: 0, margin: -1 });
    const sum = CLASSES.reduce((total, _, i) => total + Math.exp(-i), 0);
    expect(scored.confidence).toBeCloseTo(1 / sum, 6);
  });

  it.each([
    ['A dog.', 'dog'],
    ['Hot dog', 'hot dog'],
    ['It is the Great White Shark!', 'great white shark'],
    ['hotdog', 'unknown'],
    ['a cat or a dog', 'unknown'],
    ['', 'unknown'],
  ])('reads "%s" as %s', (said, label) => {
    const [{ scored }] = judge(draftOf('classify', [[1]]), classify, () => text(said));
    expect(scored.label).toBe(label);
    expect(measured(draftOf('classify', [[1]]), classify, () => text(said))['all top5']).toBeUndefined();
  });
});

describe('cue conflict', () => {
  it('weighs shapes against textures alone', () => {
    const draft = draftOf('cue-conflict', [
      [0, 1],
      [0, 4],
      [2, 3],
      [5, 6],
      [5, 0],
    ]);
    // Shape, shape, texture, neither, and a picture that failed.
    const said = [0, 0, 3, 1];
    const results = measured(draft, cueConflict, (item) =>
      item.id === '4' ? { kind: 'error', message: 'gone', attempts: 1 } : order(asks(item).gold, said[Number(item.id)]),
    );
    expect(results['all shape-bias']).toMatchObject({ value: 2 / 3, n: 3, errors: 1, chance: 0.5 });
    expect(results['all shape-accuracy'].value).toBe(0.4);
    expect(results['all texture-rate'].value).toBe(0.2);
    expect(results['all cue-accuracy'].value).toBeCloseTo(0.6, 12);
  });

  it('has no bias where nothing is shape or texture', () => {
    const results = measured(draftOf('cue-conflict', [[0, 1]]), cueConflict, () => order(0, 5));
    expect(results['all shape-bias']).toMatchObject({ value: null, ci: null, n: 0 });
  });
});
