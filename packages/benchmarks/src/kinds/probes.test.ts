// Estimates by hand-made values whose R² and accuracy are known.

import { describe, expect, it } from 'vitest';
import type { Answer } from '../judging/answer.ts';
import type { Judged } from '../judging/kind.ts';
import { type Item, itemSchema, probeRowSchema } from '../suite/item.ts';
import { manifestSchema } from '../suite/manifest.ts';
import type { Suite } from '../suite/suite.ts';
import { probes } from './probes.ts';

const OPTIONS = { count: 200, seed: 3 };
const picture = { kind: 'scene', scene: 0 } as const;

/** Questions about one target, and probe rows of it. */
function suiteOf(target: string, golds: number[][], rows: number[][]): Suite {
  const items = golds.map((gold, i) =>
    itemSchema.parse({
      id: `${i}`,
      split: 'all',
      cluster: `${i}`,
      pictures: [picture],
      ask: { kind: 'estimate', target, gold },
    }),
  );
  const manifest = manifestSchema.parse({
    version: 1,
    name: 'small',
    kind: 'probes',
    title: 'Small',
    source: {},
    prompt: { id: 'p', template: '{question}' },
    splits: { all: items.length },
    items: { count: items.length, sha256: '0'.repeat(64) },
  });
  const fitted = rows.map((values, i) =>
    probeRowSchema.parse({ id: `p${i}`, cluster: `p${i}`, picture, targets: { [target]: values } }),
  );
  return { manifest, items, probes: fitted, read: () => Promise.reject(new Error('No picture is looked at.')) };
}

function judge(suite: Suite, answerOf: (item: Item, i: number) => Answer): Judged[] {
  return suite.items.map((item, i) => {
    const answer = answerOf(item, i);
    if (answer.kind !== 'error') return { item, scored: probes.scorers[0].score(item, answer, suite) };
    return {
      item,
      scored: { itemId: item.id, label: 'error', rule: 'error', correct: 0, margin: null, confidence: null },
    };
  });
}

const values = (...given: number[]): Answer => ({ kind: 'values', values: given });

describe('values', () => {
  const suite = suiteOf('x', [[0], [1], [2], [3]], [[1], [2]]);

  it('give R² against the mean of the probe rows', () => {
    const judged = judge(suite, ({ ask }) => values((ask as { gold: number[] }).gold[0] + 0.5));
    const [result] = probes.measure(suite, judged, OPTIONS);
    // Σ 0.25 · 4 against Σ (gold − 1.5)².
    expect(result).toMatchObject({ split: 'all/x', metric: 'r2', n: 4, chance: 0 });
    expect(result.value).toBeCloseTo(1 - 1 / 5, 12);
    // Half a unit off is nearer than the mean for 0 and 3 only; at 1 and 2 it is as far.
    expect(judged.map(({ scored }) => scored.correct)).toEqual([1, 0, 0, 1]);
  });

  it('are the baseline where there is no answer', () => {
    const none: Answer = { kind: 'error', message: 'gone', attempts: 1 };
    const judged = judge(suite, ({ ask }, i) => (i < 2 ? none : values(...(ask as { gold: number[] }).gold)));
    const [result] = probes.measure(suite, judged, OPTIONS);
    expect(result).toMatchObject({ errors: 2 });
    expect(result.value).toBeCloseTo(1 - 2.5 / 5, 12);
  });

  it('of another number are not understood', () => {
    const [{ scored }] = judge(suite, () => values(1, 2));
    expect(scored).toMatchObject({ label: 'unknown', rule: 'no-values', correct: 0 });
  });

  it('have no R² where nothing varies from the mean', () => {
    const flat = suiteOf('x', [[1], [1]], [[1]]);
    const [result] = probes.measure(
      flat,
      judge(flat, () => values(1)),
      OPTIONS,
    );
    expect(result).toMatchObject({ value: null, ci: null });
  });
});

describe('one-hot targets', () => {
  const suite = suiteOf(
    'kind',
    [
      [1, 0, 0],
      [0, 1, 0],
      [0, 0, 1],
      [0, 1, 0],
    ],
    [
      [0, 1, 0],
      [0, 1, 0],
      [1, 0, 0],
      [0, 0, 1],
    ],
  );

  it('give accuracy, by chance that of the commonest', () => {
    const said = [values(0.6, 0.2, 0.2), values(0.1, 0.2, 0.9), values(0, 0, 0.1), values(0.5, 0.5, 0)];
    const judged = judge(suite, (_, i) => said[i]);
    const [result] = probes.measure(suite, judged, OPTIONS);
    expect(result).toMatchObject({ split: 'all/kind', metric: 'accuracy', value: 0.5, chance: 0.5, unknown: 1 });
    expect(judged.map(({ scored }) => scored.label)).toEqual(['0', '2', '2', 'unknown']);
  });
});
