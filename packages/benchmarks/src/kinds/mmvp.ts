// MMVP's measures: right by question (chance one half) and, the headline, right by pair (chance a quarter), under the
// manifest's truth and under both revisions of it. Where questions were asked in both orders, how often the answer held.

import type { Judged, MeasureOptions, SuiteKind } from '../judging/kind.ts';
import type { Result } from '../judging/result.ts';
import type { Item } from '../suite/item.ts';
import { grouped, pairsOf, share, unit, unitsOf, wholes } from './measures.ts';
import { optionScorer } from './score-options.ts';

/** Truths by the meta key that names the right letter. */
const REVISIONS = { original: 'gt/original', corrected: 'gt/corrected-2026-01' } as const;

export const mmvp: SuiteKind = {
  kind: 'mmvp',
  scorers: [optionScorer],
  measure(suite, judged, options) {
    const { name } = suite.manifest;
    const splits = grouped(judged, ({ item }) => item.split);
    const results = [...splits].flatMap(([split, part]) => [
      ...shares(name, split, part, options),
      ...[...grouped(part, ({ item }) => patternOf(item))].flatMap(([pattern, some]) =>
        shares(name, split === 'all' ? `pattern/${pattern}` : `${split}/pattern/${pattern}`, some, options),
      ),
    ]);
    const first = splits.get('all') ?? [];
    for (const [key, split] of Object.entries(REVISIONS)) {
      const known = first.filter(({ item }) => typeof item.meta[key] === 'string');
      if (known.length === 0) continue;
      results.push(...shares(name, split, known, options, ({ item, scored }) => scored.label === item.meta[key]));
    }
    return [...results, ...orderResults(name, judged, options)];
  },
};

function shares(
  suite: string,
  split: string,
  judged: readonly Judged[],
  options: MeasureOptions,
  isCorrect?: (one: Judged) => boolean,
): Result[] {
  const place = { suite, split };
  return [
    share(place, 'pair-accuracy', pairsOf(judged, isCorrect), 0.25, options),
    share(place, 'accuracy', unitsOf(judged, isCorrect), 0.5, options),
  ];
}

const patternOf = ({ meta }: Item): string | null => (typeof meta.pattern === 'string' ? meta.pattern : null);

/** Of questions that were asked twice: whether the answer held, and was right, in both orders. */
function orderResults(suite: string, judged: readonly Judged[], options: MeasureOptions): Result[] {
  const place = { suite, split: 'both-orders' };
  const indexOf = ({ item }: Judged) => (item.meta.index === undefined ? undefined : String(item.meta.index));
  const orders = [...grouped(judged, indexOf).values()].filter((two) => two.length === 2);
  if (orders.length === 0) return [];
  const said = ({ item, scored }: Judged) =>
    item.ask.kind === 'choice' ? item.ask.options[scored.label.charCodeAt(0) - 65] : undefined;
  const held = orders.map((two) => unit(two, said(two[0]) !== undefined && said(two[0]) === said(two[1])));
  const asked = orders.flat();
  return [
    share(place, 'consistency', held, 0.5, options),
    share(place, 'accuracy', wholes(asked, indexOf), 0.25, options),
    share(
      place,
      'pair-accuracy',
      wholes(asked, ({ item }) => item.cluster),
      0.0625,
      options,
    ),
  ];
}
