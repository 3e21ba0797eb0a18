// MMVP-VLM's measures: a pair is right when each of its two statements picks its own picture (chance a quarter), by pattern
// and as the mean of patterns; and Winoground's text, image and group scores over the same four numbers. Ties are wrong.

import type { Judged, MeasureOptions, SuiteKind } from '../judging/kind.ts';
import type { Result } from '../judging/result.ts';
import { countsOf, grouped, pairsOf, share, type Unit, unit, unitsOf } from './measures.ts';
import { pickScorer } from './score-options.ts';

export const mmvpVlm: SuiteKind = {
  kind: 'mmvp-vlm',
  scorers: [pickScorer],
  measure(suite, judged, options) {
    const { name } = suite.manifest;
    return [...grouped(judged, ({ item }) => item.split)].flatMap(([split, part]) => {
      const patterns = [...grouped(part, ({ item }) => patternOf(item.meta.pattern))].map(
        ([pattern, some]): [string, Judged[]] => [
          split === 'all' ? `pattern/${pattern}` : `${split}/pattern/${pattern}`,
          some,
        ],
      );
      const byPattern = patterns.flatMap(([place, some]) => pairShares(name, place, some, options));
      const overall = { suite: name, split };
      return [
        ...pairShares(name, split, part, options),
        ...macro(
          overall,
          patterns.map(([, some]) => pairsOf(some)),
        ),
        ...winoground(overall, part, options),
        ...byPattern,
      ];
    });
  },
};

const patternOf = (pattern: unknown): string | null => (typeof pattern === 'string' ? pattern : null);

function pairShares(suite: string, split: string, judged: readonly Judged[], options: MeasureOptions): Result[] {
  const place = { suite, split };
  return [
    share(place, 'pair-accuracy', pairsOf(judged), 0.25, options),
    share(place, 'accuracy', unitsOf(judged), 0.5, options),
  ];
}

/** Mean of the patterns' pair accuracies; with patterns of one size it is pair-accuracy, whose interval it then shares. */
function macro(place: { suite: string; split: string }, patterns: Unit[][]): Result[] {
  if (patterns.length === 0) return [];
  const rates = patterns.map((pairs) => pairs.filter(({ correct }) => correct).length / pairs.length);
  return [
    {
      ...place,
      metric: 'macro-pair-accuracy',
      ...countsOf(patterns.flat()),
      value: rates.reduce((a, b) => a + b, 0) / rates.length,
      ci: null,
      chance: 0.25,
    },
  ];
}

/** Pairs of two statements over the same two pictures, scored as Thrush et al. do (Winoground, CVPR 2022, arXiv 2204.03162). */
function winoground(
  place: { suite: string; split: string },
  judged: readonly Judged[],
  options: MeasureOptions,
): Result[] {
  const whole = [...grouped(judged, ({ item }) => item.pair).values()]
    .map(squareOf)
    .filter((square) => square !== null);
  const units = (isRight: (s: number[][]) => boolean): Unit[] =>
    whole.map(({ members, scores }) => unit(members, scores !== null && isRight(scores)));
  const text = ([first, second]: number[][]) => first[0] > second[0] && second[1] > first[1];
  const image = ([first, second]: number[][]) => first[0] > first[1] && second[1] > second[0];
  return [
    share(place, 'text-score', units(text), 0.25, options),
    share(place, 'image-score', units(image), 0.25, options),
    share(
      place,
      'group-score',
      units((scores) => text(scores) && image(scores)),
      1 / 6,
      options,
    ),
  ];
}

/** `scores[t][i]`: statement t on picture i; null scores where one was not answered, null where the items are no such pair. */
function squareOf(members: readonly Judged[]): { members: readonly Judged[]; scores: number[][] | null } | null {
  const goldOf = ({ item }: Judged) => (item.ask.kind === 'pick' ? item.ask.gold : -1);
  const ordered = [...members].sort((a, b) => goldOf(a) - goldOf(b));
  const [first, second] = ordered;
  const isSquare = ordered.length === 2 && goldOf(first) === 0 && goldOf(second) === 1;
  if (!isSquare || JSON.stringify(first.item.pictures) !== JSON.stringify(second.item.pictures)) return null;
  const scores = ordered.map(({ scored }) => scored.detail?.scores).filter(isTwo);
  return { members, scores: scores.length === 2 ? scores : null };
}

const isTwo = (scores: unknown): scores is number[] => Array.isArray(scores) && scores.length === 2;
