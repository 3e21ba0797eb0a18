// RobustVQA's measures per split. Yes/no questions: those of every yes/no benchmark, with pair accuracy, where one answer
// to both questions is never right. Four-way questions: accuracy, and that of all turns of one question together.

import type { Judged, MeasureOptions, SuiteKind } from '../judging/kind.ts';
import type { Result } from '../judging/result.ts';
import { measureYesNo } from './answers/measure-yes-no.ts';
import { YES_NO_SCORERS } from './answers/yes-no.ts';
import { grouped, pairsOf, share, unitsOf } from './measures.ts';
import { CHOICE_SCORERS } from './score-options.ts';

export const robustVqa: SuiteKind = {
  kind: 'robustvqa',
  scorers: [...YES_NO_SCORERS, ...CHOICE_SCORERS],
  measure(suite, judged, options) {
    const { name } = suite.manifest;
    const all = [...judged, ...cleanCorrect(judged)];
    const yesNo = all.filter(({ item }) => item.ask.kind === 'yesno');
    // A mean over splits would count the pictures of a split and of its unfiltered twin twice.
    const perSplit = measureYesNo(name, yesNo, options).filter(({ metric }) => !metric.endsWith('-macro'));
    const choices = grouped(all, ({ item }) => (item.ask.kind === 'choice' ? item.split : null));
    return [...perSplit, ...[...choices].flatMap(([split, part]) => choiceResults(name, split, part, options))];
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

function choiceResults(suite: string, split: string, part: readonly Judged[], options: MeasureOptions): Result[] {
  const place = { suite, split };
  const turned = pairsOf(part);
  return [
    share(place, 'accuracy', unitsOf(part), 0.25, options),
    ...(turned.length > 0 ? [share(place, 'rotation-accuracy', turned, 0.25 ** 4, options)] : []),
  ];
}
