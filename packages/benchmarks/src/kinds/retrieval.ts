// Image–text retrieval: is one of a picture's captions among the first K of all captions of the split, and the picture
// among the first K of its pictures for each caption (Karpathy & Fei-Fei 2015). Ranks are the subject's; a tie counts against.

import type { Judged, MeasureOptions, Scorer, SuiteKind } from '../judging/kind.ts';
import type { Result } from '../judging/result.ts';
import type { Suite } from '../suite/suite.ts';
import { bySplit, Estimates, type Part } from './estimates.ts';

const KS = [1, 5, 10];

const scorer: Scorer = {
  id: 'ranks',
  version: 1,
  score({ id: itemId, ask }, answer) {
    const scored = { itemId, margin: null, confidence: null };
    const isWhole = answer.kind === 'ranks' && ask.kind === 'retrieve' && answer.toImage.length === ask.captions.length;
    if (!isWhole) return { ...scored, label: 'unknown', rule: 'no-ranks', correct: 0 };
    const { toText, toImage } = answer;
    const isFound = toText === 0;
    const label = isFound ? 'found' : 'missed';
    return { ...scored, label, rule: 'first-caption', correct: isFound ? 1 : 0, detail: { toText, toImage } };
  },
};

interface Ranks {
  toText: number;
  toImage: number[];
}

/** Of a picture without an answer nothing was found. */
function ranksOf({ item, scored }: Judged): Ranks {
  if (scored.detail) return scored.detail as unknown as Ranks;
  const none = Number.POSITIVE_INFINITY;
  return { toText: none, toImage: item.ask.kind === 'retrieve' ? item.ask.captions.map(() => none) : [] };
}

function recalls(split: string, suite: Suite, judged: readonly Judged[], options: MeasureOptions): Result[] {
  const estimates = new Estimates(suite, judged, options);
  const ranks = judged.map(ranksOf);
  const captions = ranks.reduce((sum, { toImage }) => sum + toImage.length, 0);
  const within = (k: number) => (rank: number) => rank < k;
  const toText =
    (k: number) =>
    (_: Judged, i: number): Part => ({ top: Number(within(k)(ranks[i].toText)), bottom: 1 });
  const toImage =
    (k: number) =>
    (_: Judged, i: number): Part => ({
      top: ranks[i].toImage.filter(within(k)).length,
      bottom: ranks[i].toImage.length,
    });
  const { chanceToText, chanceToImage } = chances(judged);
  return [
    ...KS.map((k) =>
      estimates.ratio(toText(k), { split, metric: `image-to-text-r${k}`, chance: chanceToText(k), isProportion: true }),
    ),
    ...KS.map((k) =>
      estimates.ratio(toImage(k), { split, metric: `text-to-image-r${k}`, chance: chanceToImage(k), n: captions }),
    ),
    estimates.meanOfRatios([...KS.map(toText), ...KS.map(toImage)], {
      split,
      metric: 'mean-recall',
      chance: mean([...KS.map(chanceToText), ...KS.map(chanceToImage)]),
    }),
  ];
}

/** What drawing at random finds in the galleries, one a split, by K. */
function chances(judged: readonly Judged[]) {
  const sizes = judged.map(({ item: { ask } }) => (ask.kind === 'retrieve' ? ask.captions.length : 0));
  const galleries = new Map<string, { pictures: number; captions: number }>();
  judged.forEach(({ item: { split } }, i) => {
    const { pictures, captions } = galleries.get(split) ?? { pictures: 0, captions: 0 };
    galleries.set(split, { pictures: pictures + 1, captions: captions + sizes[i] });
  });
  const own = judged.map(({ item: { split } }) => galleries.get(split) as { pictures: number; captions: number });
  const captions = sizes.reduce((a, b) => a + b, 0);
  return {
    chanceToText: (k: number) => mean(sizes.map((size, i) => anyWithin(size, own[i].captions, k))),
    chanceToImage: (k: number) =>
      sizes.reduce((sum, size, i) => sum + size * Math.min(1, k / own[i].pictures), 0) / captions,
  };
}

const mean = (values: number[]): number => values.reduce((a, b) => a + b, 0) / values.length;

/** Probability that one of `own` is among k drawn of `all`. */
function anyWithin(own: number, all: number, k: number): number {
  let none = 1;
  for (let i = 0; i < Math.min(k, all); i++) none *= Math.max(0, all - own - i) / (all - i);
  return 1 - none;
}

/** image-to-text-r1, -r5, -r10, text-to-image-r1, -r5, -r10 and the mean of the six. */
export const retrieval: SuiteKind = {
  kind: 'retrieval',
  scorers: [scorer],
  measure: (suite, judged, options) => bySplit(judged).flatMap(([split, own]) => recalls(split, suite, own, options)),
};
