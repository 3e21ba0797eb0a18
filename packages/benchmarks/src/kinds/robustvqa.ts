// RobustVQA's measures per split. Yes/no questions: those of every yes/no benchmark, with pair accuracy, where one answer
// to both questions is never right. Four-way questions: accuracy, and that of all turns of one question together.

import type { Judged, MeasureOptions, Scorer, SuiteKind } from '../judging/kind.ts';
import type { Result } from '../judging/result.ts';
import { measureYesNo } from './answers/measure-yes-no.ts';
import { YES_NO_SCORERS, yesNoScorer } from './answers/yes-no.ts';
import { grouped, pairsOf, share, unitsOf } from './measures.ts';
import { optionScorer } from './score-options.ts';

/** Each form by its own default. */
const scorer: Scorer = {
  id: 'robustvqa',
  version: 1,
  score: (item, answer, suite) => (item.ask.kind === 'yesno' ? yesNoScorer : optionScorer).score(item, answer, suite),
};

export const robustVqa: SuiteKind = {
  kind: 'robustvqa',
  scorers: [scorer, ...YES_NO_SCORERS.slice(1)],
  measure(suite, judged, options) {
    const { name } = suite.manifest;
    const splits = grouped([...judged, ...cleanCorrect(judged)], ({ item }) => item.split);
    return [...splits].flatMap(([split, part]) => [
      ...yesNoResults(
        name,
        part.filter(({ item }) => item.ask.kind === 'yesno'),
        options,
      ),
      ...choiceResults(
        name,
        split,
        part.filter(({ item }) => item.ask.kind === 'choice'),
        options,
      ),
    ]);
  },
};

/**
 * What a base subject got right on the clean picture is what can be lost: items that carry `meta['clean-correct']: true`,
 * once more as a split of their own.
 */
function cleanCorrect(judged: readonly Judged[]): Judged[] {
  const known = judged.filter(({ item }) => item.meta['clean-correct'] === true);
  return known.map(({ item, scored }) => ({ item: { ...item, split: `${item.split}/clean-correct` }, scored }));
}

/** Split by split: a mean over splits would count the pictures of a split and of its unfiltered twin twice. */
const yesNoResults = (suite: string, part: readonly Judged[], options: MeasureOptions): Result[] =>
  measureYesNo(suite, part, options).filter(({ metric }) => !metric.endsWith('-macro'));

function choiceResults(suite: string, split: string, part: readonly Judged[], options: MeasureOptions): Result[] {
  if (part.length === 0) return [];
  const place = { suite, split };
  const turned = pairsOf(part);
  return [
    share(place, 'accuracy', unitsOf(part), 0.25, options),
    ...(turned.length > 0 ? [share(place, 'rotation-accuracy', turned, 0.25 ** 4, options)] : []),
  ];
}
