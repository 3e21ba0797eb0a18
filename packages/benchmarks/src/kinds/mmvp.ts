// MMVP's measures: right by question (chance one half) and, the headline, right by pair (chance a quarter), under the
// manifest's truth and under both revisions of it. Where questions were asked in both orders, how often the answer held.

import type { Judged, MeasureOptions, SuiteKind } from '../judging/kind.ts';
import type { Result } from '../judging/result.ts';
import type { Item } from '../suite/item.ts';
import { grouped, pairsOf, share, type Unit, unit, unitsOf } from './measures.ts';
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
    const orders = bothOrders(judged);
    if (orders.length > 0) results.push(...orderResults(name, orders, options));
    return results;
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

/** Questions that were asked twice, with both answers. */
function bothOrders(judged: readonly Judged[]): [Judged, Judged][] {
  const byIndex = grouped(judged, ({ item }) => (item.meta.index === undefined ? null : String(item.meta.index)));
  return [...byIndex.values()].filter((two): two is [Judged, Judged] => two.length === 2);
}

function orderResults(suite: string, orders: [Judged, Judged][], options: MeasureOptions): Result[] {
  const place = { suite, split: 'both-orders' };
  const said = ({ item, scored }: Judged) =>
    item.ask.kind === 'choice' ? item.ask.options[scored.label.charCodeAt(0) - 65] : undefined;
  const consistent = orders.map((two) => unit(two, said(two[0]) !== undefined && said(two[0]) === said(two[1])));
  const right = orders.map((two) =>
    unit(
      two,
      two.every(({ scored }) => scored.correct === 1),
    ),
  );
  const pairs = grouped(orders.flat(), ({ item }) => item.cluster);
  const whole: Unit[] = [...pairs.values()].map((members) =>
    unit(
      members,
      members.every(({ scored }) => scored.correct === 1),
    ),
  );
  return [
    share(place, 'consistency', consistent, 0.5, options),
    share(place, 'accuracy', right, null, options),
    share(place, 'pair-accuracy', whole, null, options),
  ];
}
