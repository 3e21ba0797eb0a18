// Zero-shot classification (Radford et al. 2021) and cue conflicts (Geirhos et al. 2019): which of the manifest's classes a
// picture shows. In a cue conflict the right class is the shape, and the other one the texture.

import type { Answer } from '../judging/answer.ts';
import type { Judged, MeasureOptions, Scorer, SuiteKind } from '../judging/kind.ts';
import type { Result } from '../judging/result.ts';
import type { Item } from '../suite/item.ts';
import type { Suite } from '../suite/suite.ts';
import { bySplit, Estimates } from './estimates.ts';
import { wordsOf } from './object-mentions.ts';

type Classes = Extract<Answer, { kind: 'classes' }>;

const nothing = { margin: null, confidence: null };

function score(item: Item, answer: Exclude<Answer, { kind: 'error' }>, suite: Suite) {
  const { classes = [] } = suite.manifest;
  const { ask, id: itemId } = item;
  const unknown = { itemId, label: 'unknown', correct: 0 as const, ...nothing };
  if (ask.kind !== 'classify') return { ...unknown, rule: 'other-question' };
  if (answer.kind === 'text') {
    const named = namedIn(answer.text, classes);
    if (named.length !== 1) return { ...unknown, rule: named.length === 0 ? 'no-class' : 'several-classes' };
    const [at] = named;
    const correct = Number(at === ask.gold) as 0 | 1;
    return { itemId, label: classes[at], rule: 'class-name', correct, ...nothing, detail: { class: at } };
  }
  if (answer.kind !== 'classes' || answer.top.length === 0) return { ...unknown, rule: 'no-classes' };
  return { itemId, ...ranked(answer, ask.gold, classes) };
}

/** A tie with the right class is wrong: its rank counts every other class that is as good. */
function ranked({ top, gold: own, rank, logSumExp }: Classes, gold: number, classes: string[]) {
  const [[best, logit]] = top;
  const rival = top.find(([at]) => at !== gold)?.[1];
  const isTie = rank > 0 && best === gold;
  return {
    label: isTie ? 'unknown' : (classes[best] ?? 'unknown'),
    rule: isTie ? 'tie' : 'argmax',
    correct: Number(rank === 0) as 0 | 1,
    margin: rival === undefined ? null : own - rival,
    confidence: Math.exp(logit - logSumExp),
    detail: { rank, ...(isTie ? {} : { class: best }) },
  };
}

/** Positions of the classes that a text names as whole words, but those inside a longer name that it has too. */
function namedIn(text: string, classes: string[]): number[] {
  const spaced = (words: string) => ` ${wordsOf(words).join(' ')} `;
  const said = spaced(text);
  const named = [...classes.keys()].filter((at) => said.includes(spaced(classes[at])));
  return named.filter(
    (at) => !named.some((other) => other !== at && spaced(classes[other]).includes(spaced(classes[at]))),
  );
}

const scorer: Scorer = { id: 'argmax', version: 1, score };

interface Detail {
  rank?: number;
  class?: number;
}
const detailOf = ({ scored }: Judged): Detail => (scored.detail ?? {}) as Detail;
const share = (is: boolean) => ({ top: Number(is), bottom: 1 });

function accuracies(split: string, suite: Suite, judged: readonly Judged[], options: MeasureOptions): Result[] {
  const estimates = new Estimates(suite, judged, options);
  const count = suite.manifest.classes?.length ?? 0;
  const perClass = new Map<number, number>();
  for (const { item } of judged) perClass.set(goldOf(item), (perClass.get(goldOf(item)) ?? 0) + 1);
  const weigh = (one: Judged) => 1 / (perClass.get(goldOf(one.item)) as number);
  // A subject that says only a class has no ranks.
  const hasRanks = judged.some((one) => detailOf(one).rank !== undefined);
  const top5 = ({ rank = Number.POSITIVE_INFINITY }: Detail) => share(rank < 5);
  return [
    estimates.ratio(({ scored }) => share(scored.correct === 1), {
      split,
      metric: 'top1',
      chance: chanceOf(1, count),
      isProportion: true,
    }),
    ...(hasRanks && count > 5
      ? [
          estimates.ratio((one) => top5(detailOf(one)), {
            split,
            metric: 'top5',
            chance: chanceOf(5, count),
            isProportion: true,
          }),
        ]
      : []),
    estimates.ratio((one) => ({ top: one.scored.correct * weigh(one), bottom: weigh(one) }), {
      split,
      metric: 'mean-per-class-recall',
      chance: chanceOf(1, count),
    }),
  ];
}

const goldOf = ({ ask }: Item): number => (ask.kind === 'classify' ? ask.gold : -1);
const chanceOf = (tries: number, count: number): number | null => (count > 0 ? Math.min(1, tries / count) : null);

/** top1, top5 where there are more than five classes, and recall meaned over the classes that are asked for. */
export const classify: SuiteKind = {
  kind: 'classify',
  scorers: [scorer],
  measure: (suite, judged, options) =>
    bySplit(judged).flatMap(([split, own]) => accuracies(split, suite, own, options)),
};

function conflicts(split: string, suite: Suite, judged: readonly Judged[], options: MeasureOptions): Result[] {
  const estimates = new Estimates(suite, judged, options);
  const count = suite.manifest.classes?.length ?? 0;
  const isShape = (one: Judged) => one.scored.correct === 1;
  const isTexture = (one: Judged) => {
    const { ask } = one.item;
    return ask.kind === 'classify' && !isShape(one) && ask.other !== undefined && detailOf(one).class === ask.other;
  };
  const rate = (metric: string, is: (one: Judged) => boolean, tries: number) =>
    estimates.ratio((one) => share(is(one)), { split, metric, chance: chanceOf(tries, count), isProportion: true });
  return [
    estimates.ratio((one) => ({ top: Number(isShape(one)), bottom: Number(isShape(one) || isTexture(one)) }), {
      split,
      metric: 'shape-bias',
      chance: 0.5,
    }),
    rate('shape-accuracy', isShape, 1),
    rate('texture-rate', isTexture, 1),
    rate('cue-accuracy', (one) => isShape(one) || isTexture(one), 2),
  ];
}

/** shape-bias: shape ⁄ (shape + texture) of the answers that are either; how many they are of all is cue-accuracy. */
export const cueConflict: SuiteKind = {
  kind: 'cue-conflict',
  scorers: [scorer],
  measure: (suite, judged, options) => bySplit(judged).flatMap(([split, own]) => conflicts(split, suite, own, options)),
};
