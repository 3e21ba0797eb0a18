import { philox } from '@fovea/tensor/random';
import { describe, expect, it } from 'vitest';
import type { Answer } from '../judging/answer.ts';
import { binaryMetrics, count, noCounts } from '../metrics/binary.ts';
import { clusteredStandardError } from '../statistics.ts';
import type { Draft } from '../suite/draft.ts';
import type { Item } from '../suite/item.ts';
import { goldOf } from './answers/yes-no.ts';
import { askPope } from './build-pope.ts';
import { pope } from './pope.ts';
import { popeItems } from './pope-questions.ts';
import { judge, measured, opened, scores, text } from './testing-kinds.ts';

/** POPE over made-up pictures: `pictures` × 6 questions a split. */
function draftOf(pictures: number): Draft {
  const rows = Array.from({ length: pictures }, (_, i) => {
    const rng = philox(11, 'rows', 0, i);
    return { image: `p${i}`, objects: [...new Set(Array.from({ length: 8 }, () => `thing ${rng.int(20)}`))] };
  });
  const { splits } = askPope(rows, { count: pictures });
  const looks = new Map(rows.map(({ image }) => [image, { sha256: '0'.repeat(64), width: 1, height: 1 }]));
  return {
    ...{ name: 'tiny', kind: 'pope', title: 'POPE', source: {}, prompt: { id: 'official', template: '{question}' } },
    ...{ omitted: [], notes: [], items: popeItems(splits, looks).items, probes: [] },
  };
}

const draft = draftOf(60);
const rngOf = (item: Item) => philox(5, `answer/${item.id}`);
/** Right three times in four, more surely so the larger the margin. */
const skilled = (item: Item): Answer => {
  const margin = 2 * rngOf(item).normal() + 1.35;
  return goldOf(item) === 'yes' ? scores(margin, 0) : scores(0, margin);
};

describe('scores', () => {
  const [item] = opened(draft).items;
  const score = (answer: Exclude<Answer, { kind: 'error' }>, id = 'yes-no') =>
    pope.scorers.find((one) => one.id === id)?.score(item, answer, opened(draft));

  it('answer by the higher one; a tie is unknown and wrong', () => {
    expect(goldOf(item)).toBe('yes');
    expect(score({ kind: 'scores', scores: [2, 1] })).toEqual({
      itemId: item.id,
      label: 'yes',
      rule: 'scores',
      correct: 1,
      margin: 1,
      confidence: 0.7310586,
    });
    expect(score({ kind: 'scores', scores: [-3, 0.5] })).toMatchObject({ label: 'no', correct: 0, margin: -3.5 });
    expect(score({ kind: 'scores', scores: [1, 1] })).toMatchObject({
      label: 'unknown',
      rule: 'tie',
      correct: 0,
      margin: 0,
    });
    expect(score({ kind: 'scores', scores: [1, 2, 3] })).toMatchObject({
      label: 'unknown',
      rule: 'no-rule-for-scores',
    });
    expect(score({ kind: 'scores', scores: [Number.NaN, 1] })).toMatchObject({ label: 'unknown', correct: 0 });
    expect(score({ kind: 'values', values: [1] })).toMatchObject({ label: 'unknown', correct: 0 });
  });

  it('stand for the word that they favour in published scripts', () => {
    expect(score({ kind: 'scores', scores: [2, 1] }, 'lmms-eval')).toMatchObject({
      label: 'yes',
      correct: 1,
      margin: null,
    });
    expect(score({ kind: 'scores', scores: [1, 2] }, 'pope-official')).toMatchObject({
      label: 'no',
      rule: 'pope-official',
    });
    expect(score({ kind: 'scores', scores: [1, 1] }, 'pope-official')).toMatchObject({ label: 'yes' });
  });

  it('and words go by their scorer, the default first', () => {
    expect(pope.scorers.map(({ id }) => id)).toEqual([
      'yes-no',
      'pope-official',
      'vcd',
      'lmms-eval',
      'vlmevalkit',
      'robustvqa-deem',
    ]);
    for (const { id, source } of pope.scorers)
      expect(id === 'yes-no' ? source : typeof source).toBe(id === 'yes-no' ? undefined : 'string');
    const words = { kind: 'text', text: 'Yes, there is no doubt a dog.', tokens: 8, finish: 'stop' } as const;
    expect(score(words)).toMatchObject({ label: 'yes', rule: 'lead', correct: 1 });
    expect(score(words, 'pope-official')).toMatchObject({ label: 'no', correct: 0 });
    expect(score(words, 'vcd')).toMatchObject({ label: 'yes', correct: 1 });
  });
});

describe('measure', () => {
  it('gives 50 / 66.7 / 100 to whoever always says yes, with careful intervals', () => {
    const results = measured(draft, pope, () => text('Yes'));
    expect(results['random accuracy']).toMatchObject({ value: 0.5, n: 360, unknown: 0, errors: 0, chance: 0.5 });
    expect(results['random f1'].value).toBeCloseTo(2 / 3, 12);
    expect(results['random recall']).toMatchObject({ value: 1, ci: { method: 'wilson', high: 1 } });
    expect(results['random recall'].ci?.low).toBeCloseTo(60 / (60 + 1.959963984540054 ** 2), 9);
    expect(results['random yes-ratio']).toMatchObject({ value: 1 });
    expect(results['random pair-accuracy']).toMatchObject({ value: 0, n: 180, chance: 0.25 });
    expect(results['random mcc']).toMatchObject({ value: null, ci: null });
    expect(results['all accuracy-macro']).toMatchObject({ value: 0.5, n: 1080 });
    expect(results['all f1-macro'].value).toBeCloseTo(2 / 3, 12);
    expect(results['random auroc']).toBeUndefined();
  });

  it('never pools splits, because they repeat their positives', () => {
    const results = measured(draft, pope, skilled);
    const all = Object.values(results).filter(({ split }) => split === 'all');
    expect(all.map(({ metric }) => metric)).toEqual(['accuracy-macro', 'f1-macro']);
    const mean = (metric: string) =>
      ['random', 'popular', 'adversarial'].reduce(
        (sum, split) => sum + (results[`${split} ${metric}`].value ?? 0) / 3,
        0,
      );
    expect(results['all accuracy-macro'].value).toBeCloseTo(mean('accuracy'), 12);
    expect(results['all f1-macro'].value).toBeCloseTo(mean('f1'), 12);
  });

  it('agrees with the metrics of the counts, and its intervals with the clustered standard error', () => {
    const judged = judge(draft, pope, skilled).filter(({ item }) => item.split === 'popular');
    const results = pope.measure(opened(draft), judged, { count: 4000, seed: 2 });
    const by = (metric: string) => results.find((one) => one.metric === metric && one.split === 'popular');
    const counts = noCounts();
    for (const { item, scored } of judged) count(counts, goldOf(item) as 'yes' | 'no', scored.label);
    for (const [metric, value] of Object.entries(binaryMetrics(counts))) expect(by(metric)?.value).toBe(value);
    const right = judged.map(({ scored }) => scored.correct);
    const clusters = judged.map(({ item }) => Number(item.cluster.slice(1)));
    const half = 1.96 * clusteredStandardError(right, clusters);
    const { value, ci } = by('accuracy') ?? {};
    expect(ci).toMatchObject({ method: 'cluster-bootstrap', level: 0.95, resamples: 4000, seed: 2 });
    expect((ci?.high ?? 0) - (ci?.low ?? 0)).toBeCloseTo(2 * half, 1);
    expect(ci?.low).toBeLessThan(value ?? 0);
    for (const metric of ['precision', 'f1', 'd-prime', 'criterion', 'mcc', 'auroc']) {
      expect(by(metric)?.ci?.low).toBeLessThan(by(metric)?.value ?? 0);
      expect(by(metric)?.ci?.high).toBeGreaterThan(by(metric)?.value ?? 0);
    }
    expect(by('auroc')?.value).toBeGreaterThan(0.7);
    expect(by('ece')?.value).toBeGreaterThan(0);
    expect(by('ece')?.ci).toBeNull();
  });

  it('counts answers that were not given, and errors, as wrong', () => {
    const results = measured(draft, pope, (item) => {
      const which = rngOf(item).int(4);
      if (which === 0) return { kind: 'error', message: 'The picture is gone.', attempts: 3 };
      return text(which === 1 ? 'dog' : goldOf(item) === 'yes' ? 'Yes' : 'No');
    });
    const accuracy = results['random accuracy'];
    expect(accuracy.errors).toBeGreaterThan(50);
    expect(accuracy.unknown).toBeGreaterThan(50);
    expect(accuracy.value).toBeCloseTo(1 - (accuracy.errors + accuracy.unknown) / 360, 12);
    expect(results['random accuracy-answered']).toMatchObject({
      value: 1,
      n: 360 - accuracy.errors - accuracy.unknown,
    });
    expect(results['random unknown-rate'].value).toBe((accuracy.errors + accuracy.unknown) / 360);
    expect(results['random precision'].value).toBe(1);
    expect(results['random recall'].value).toBeLessThan(0.7);
    expect(results['random pair-accuracy'].value).toBeLessThan(0.5);
  });

  it('adds what a published script prints where one judged, its faults included', () => {
    const answer = (item: Item) => text(rngOf(item).int(3) === 0 ? 'Yes.' : goldOf(item) === 'yes' ? 'Yes' : 'No');
    const results = measured(draft, pope, answer, 'lmms-eval');
    expect(results['random yes-ratio-as-published']).toMatchObject({ value: 0.5, ci: null });
    expect(results['random recall-as-published'].value).toBe(1);
    expect(results['random recall'].value).toBeLessThan(0.8);
    expect(results['random accuracy-as-published'].value).toBe(results['random accuracy'].value);
    const ours = measured(draft, pope, answer);
    expect(Object.keys(ours).filter((place) => place.endsWith('as-published'))).toEqual([]);
  });

  it('is the same again, also when splits come mixed', () => {
    const judged = judge(draft, pope, skilled);
    const once = pope.measure(opened(draft), judged, { count: 200, seed: 1 });
    expect(pope.measure(opened(draft), judged, { count: 200, seed: 1 })).toEqual(once);
    const values = (results: typeof once) => new Map(results.map((one) => [`${one.split} ${one.metric}`, one.value]));
    const mixed = [...judged].sort((a, b) => a.item.id.length - b.item.id.length || (a.item.id < b.item.id ? -1 : 1));
    for (const [place, value] of values(pope.measure(opened(draft), mixed, { count: 200, seed: 1 }))) {
      const before = values(once).get(place);
      if (value === null) expect(before).toBeNull();
      else expect(value).toBeCloseTo(before ?? Number.NaN, 12);
    }
    expect(pope.measure(opened(draft), [], { count: 200, seed: 1 })).toEqual([]);
  });
});
