// How an answer to "which of these" is judged when it comes as numbers: the highest wins, and a tie of the right one with
// another is wrong. Options of a choice are letters, pictures of a pick are numbers from 1. Words are the parsers' part.

import type { Answer, Scored } from '../judging/answer.ts';

/** Label of option `at`: A, B, C, … */
export const letterOf = (at: number): string => String.fromCharCode(65 + at);

/**
 * Verdict on numbers, one per option. `label` is the strictly highest; where several share the top, `unknown`, by the rule
 * `tie`. `margin` is the right one's less the best wrong one's, `confidence` the softmax of the best.
 */
export function scoreNumbers(
  itemId: string,
  scores: readonly number[],
  gold: number,
  labelOf: (at: number) => string = letterOf,
): Scored {
  const best = Math.max(...scores);
  const winners = scores.flatMap((score, at) => (score === best ? [at] : []));
  const wrong = Math.max(...scores.filter((_, at) => at !== gold));
  const isTie = winners.length > 1;
  return {
    itemId,
    label: isTie ? 'unknown' : labelOf(winners[0]),
    rule: isTie ? 'tie' : 'scores',
    correct: !isTie && winners[0] === gold ? 1 : 0,
    margin: scores[gold] - wrong,
    confidence: 1 / scores.reduce((sum, score) => sum + Math.exp(score - best), 0),
  };
}

/** An answer of a kind that a scorer has no rule for, or with another count of numbers than options. */
export function notUnderstood(itemId: string, answer: Answer): Scored {
  return { itemId, label: 'unknown', rule: `no-rule-for-${answer.kind}`, correct: 0, margin: null, confidence: null };
}
