// How an answer to "which of these" is judged. As numbers: the highest wins, and a tie at the top is wrong. As words: by the
// option that they name. Options of a choice are letters, pictures of a pick are numbers from 1.

import { FoveaError } from '@fovea/artifacts';
import type { Answer, Scored } from '../judging/answer.ts';
import type { Scorer } from '../judging/kind.ts';
import type { Item } from '../suite/item.ts';
import { letterOf, parseOption } from './answers/parse-option.ts';

/** Judges a `choice`. */
export const optionScorer: Scorer = {
  id: 'options',
  version: 1,
  score(item, answer) {
    if (item.ask.kind !== 'choice') throw unfit(item, 'choice');
    const { options, gold } = item.ask;
    if (answer.kind === 'text') {
      const { label, rule } = parseOption(answer.text, options);
      const correct = label === letterOf(gold) ? 1 : 0;
      return { itemId: item.id, label, rule, correct, margin: null, confidence: null };
    }
    return scoreNumbers(item, numbersOf(item, answer, options.length), gold, letterOf);
  },
};

/** Judges a `pick` and keeps its numbers in `detail.scores`, which pairs are scored by. */
export const pickScorer: Scorer = {
  id: 'pick',
  version: 1,
  score(item, answer) {
    if (item.ask.kind !== 'pick') throw unfit(item, 'pick');
    const scores = numbersOf(item, answer, item.pictures.length);
    return { ...scoreNumbers(item, scores, item.ask.gold, (at) => String(at + 1)), detail: { scores } };
  },
};

/**
 * Verdict on numbers, one per option. `label` is the strictly highest; where several share the top it is `unknown`, by the
 * rule `tie`. `margin` is the right one's less the best wrong one's, `confidence` the softmax of the best.
 */
function scoreNumbers(item: Item, scores: readonly number[], gold: number, labelOf: (at: number) => string): Scored {
  const best = Math.max(...scores);
  const winners = scores.flatMap((score, at) => (score === best ? [at] : []));
  const wrong = Math.max(...scores.filter((_, at) => at !== gold));
  const isTie = winners.length > 1;
  return {
    itemId: item.id,
    label: isTie ? 'unknown' : labelOf(winners[0]),
    rule: isTie ? 'tie' : 'scores',
    correct: !isTie && winners[0] === gold ? 1 : 0,
    margin: rounded(scores[gold] - wrong),
    confidence: rounded(1 / scores.reduce((sum, score) => sum + Math.exp(score - best), 0)),
  };
}

function numbersOf(item: Item, answer: Exclude<Answer, { kind: 'error' }>, count: number): number[] {
  if (answer.kind === 'scores' && answer.scores.length === count) return answer.scores;
  throw new FoveaError(
    `The answer to item ${item.id} is not a number for each of ${count} options, so none can be read from it; ask this suite anew.`,
  );
}

const unfit = (item: Item, kind: string) =>
  new FoveaError(
    `Item ${item.id} asks "${item.ask.kind}", and this scorer judges "${kind}" only; use a scorer of its kind.`,
  );

/** Scores come from fp32 features: seven digits are all that is known of them. */
const rounded = (x: number): number => Number(x.toPrecision(7));
