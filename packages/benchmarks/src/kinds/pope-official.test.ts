// The official question files against the official scorer, on 1,000 answer files that test-fixtures/pope-official.py made
// up and judged by the rule of POPE's own script; the command that makes the fixture stands there.

import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { philox } from '@fovea/tensor/random';
import { describe, expect, it } from 'vitest';
import type { Judged, Scorer } from '../judging/kind.ts';
import { type BinaryMetric, binaryMetrics, count, noCounts } from '../metrics/binary.ts';
import type { Draft } from '../suite/draft.ts';
import { goldOf } from './answers/yes-no.ts';
import { pope } from './pope.ts';
import { popeItems } from './pope-questions.ts';
import { parsePopeFile } from './read-pope.ts';
import { opened } from './testing-kinds.ts';

const at = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));
const DATA = `${process.env.FOVEA_DATA ?? at('../../../../../shared/data')}/pope`;
const fixture = JSON.parse(readFileSync(at('../../test-fixtures/pope-official.json'), 'utf8')) as {
  columns: string[];
  shown: Record<string, (number | null)[]>;
  hashes: string;
};
const hashes = fixture.hashes.split(' ');
const missing = existsSync(DATA) ? null : 'there is no ../shared/data/pope';
if (missing) console.warn(`pope-official.test.ts is skipped: ${missing}.`);

const NUMBERS = ['accuracy', 'precision', 'recall', 'f1', 'yes-ratio'] as const;
const SPLITS = ['random', 'popular', 'adversarial'] as const;
const RIGHT = { yes: ['Yes', 'Yes, there is.', 'yes'], no: ['No', 'No, there is not.', 'no'] };
const ANY = [
  ...['Yes.', 'No.', 'NO', 'no\n', 'No!', "No; there isn't", "There isn't a dog.", 'The image does not show a dog.'],
  ...['Yes, there is no doubt a dog.', 'Yes. There is no cat though.', "I don't know", 'Not sure'],
  ...['A snowboard is visible', '', 'dog', '**Yes**', 'There is a person. No dog.', '是', 'not, really', 'It is. Not'],
  ...[' no', 'yes no', 'Nothing'],
];

/** What answer file `file` says to the questions of a split, in their order. */
function answersOf(file: number, split: number, gold: readonly ('yes' | 'no')[]): string[] {
  if (file < 2) return gold.map(() => (file === 0 ? 'Yes' : 'No'));
  const rng = philox(file, 'pope-answers', 0, split);
  return gold.map((right) => {
    const word = rng.uint32();
    const pool = (word >>> 16) * hashes.length < file * 65536 ? RIGHT[right] : ANY;
    return pool[(word & 0xffff) % pool.length];
  });
}

const said = (text: string) => ({ kind: 'text', text, tokens: null, finish: 'stop' }) as const;
const official = pope.scorers.find(({ id }) => id === 'pope-official') as Scorer;

describe.skipIf(missing)('the official POPE files', () => {
  const splits = new Map(
    (missing ? [] : SPLITS).map((name) => {
      const base = `coco_pope_${name}.json`;
      const { split, questions, notes } = parsePopeFile(base, readFileSync(`${DATA}/${base}`, 'utf8'));
      expect(notes).toEqual([]);
      return [split, questions] as const;
    }),
  );
  const look = { sha256: '0'.repeat(64), width: 1, height: 1 };
  const images = [...splits.values()].flat().map(({ image }) => [image, look] as const);
  const { items, alone } = popeItems(splits, new Map(images));
  const draft: Draft = {
    ...{ name: 'pope', kind: 'pope', title: 'POPE', source: {}, prompt: { id: 'official', template: '{question}' } },
    ...{ omitted: [], notes: [], items, probes: [] },
  };
  const suite = missing ? null : opened(draft);

  const asked = SPLITS.map((split) => suite?.items.filter((item) => item.split === split) ?? []);
  const golds = asked.map((items) => items.map(goldOf) as ('yes' | 'no')[]);

  function judgedBy(file: number): Judged[] {
    if (suite === null) return [];
    return asked.flatMap((items, s) => {
      const answers = answersOf(file, s, golds[s]);
      return items.map((item, i) => ({ item, scored: official.score(item, said(answers[i]), suite) }));
    });
  }

  it('are 3 × 3,000 questions in pairs, each with what an encoder compares', () => {
    expect([...splits].map(([split, { length }]) => [split, length])).toEqual(SPLITS.map((split) => [split, 3000]));
    expect([alone, suite?.items.length, new Set(images.map(([image]) => image)).size]).toEqual([0, 9000, 500]);
    expect(new Set(suite?.items.map(({ pair }) => pair)).size).toBe(4500);
    expect(suite?.items[1]).toMatchObject({
      id: 'random/2',
      ask: { question: 'Is there a car in the image?', gold: 'no', texts: ['a car', 'a snowboard'] },
    });
  });

  it('score as the official script has it on 1,000 answer files', { timeout: 300_000 }, () => {
    const counted = new Map<string, Record<BinaryMetric, number | null>>();
    for (const [file, expected] of hashes.entries()) {
      const judged = judgedBy(file);
      const flat = SPLITS.flatMap((split, s) => {
        const counts = noCounts();
        for (let i = 0; i < 3000; i++) count(counts, golds[s][i], judged[3000 * s + i].scored.label);
        const metrics = binaryMetrics(counts);
        counted.set(`${file} ${split}`, metrics);
        const { tp, fp, tn, fn } = counts;
        return [tp, fp, tn, fn, ...NUMBERS.map((metric) => metrics[metric])];
      });
      const bytes = Buffer.alloc(8 * flat.length);
      flat.forEach((value, i) => void bytes.writeDoubleBE(value ?? Number.NaN, 8 * i));
      const hash = createHash('sha256').update(bytes).digest('hex').slice(0, 12);
      expect(`${file} ${hash}`).toBe(`${file} ${expected}`);
    }
    for (const [place, row] of Object.entries(fixture.shown)) {
      expect(NUMBERS.map((metric) => counted.get(place)?.[metric])).toEqual(row.slice(4));
    }
  });

  it('give 50 / 66.7 / 100 to "Yes" and the same numbers through measure, with intervals', () => {
    if (suite === null) return;
    for (const file of [0, 2, 500]) {
      const results = pope.measure(suite, judgedBy(file), { count: 200, seed: 1 });
      const value = (split: string, metric: string) =>
        results.find((result) => result.split === split && result.metric === metric)?.value;
      for (const split of SPLITS) {
        const row = fixture.shown[`${file} ${split}`];
        expect(NUMBERS.map((metric) => value(split, metric))).toEqual(row.slice(4));
      }
      const mean = (column: number) =>
        SPLITS.reduce((sum, split) => sum + (fixture.shown[`${file} ${split}`][column] as number), 0) / 3;
      expect(value('all', 'accuracy-macro')).toBeCloseTo(mean(4), 12);
      expect(value('all', 'f1-macro')).toBeCloseTo(mean(7), 12);
    }
    const always = pope.measure(suite, judgedBy(0), { count: 200, seed: 1 });
    expect(always.find(({ metric }) => metric === 'recall')).toMatchObject({ value: 1, n: 3000, ci: { high: 1 } });
    expect(always.find(({ metric }) => metric === 'pair-accuracy')).toMatchObject({ value: 0, n: 1500, chance: 0.25 });
  });
});
