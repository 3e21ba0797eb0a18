// How an answer to "which of these" is judged when it comes as numbers: the highest wins, and a tie at the top is wrong.
// Options of a choice are letters, pictures of a pick are numbers from 1. What words mean is the parsers' part.

import type { Answer, Scored } from '../judging/answer.ts';
import type { Scorer } from '../judging/kind.ts';
import type { Item } from '../suite/item.ts';

/** Label of option `at`: A, B, C, … */
export const letterOf = (at: number): string => String.fromCharCode(65 + at);

type Given = Exclude<Answer, { kind: 'error' }>;

/** Judges an answer to a `choice`. */
function scoreChoice(item: Item, answer: Given): Scored {
  if (item.ask.kind !== 'choice') return notUnderstood(item.id, answer.kind);
  const { options, gold } = item.ask;
  if (answer.kind === 'scores' && answer.scores.length === options.length)
    return scoreNumbers(item.id, answer.scores, gold, letterOf);
  return notUnderstood(item.id, answer.kind);
}

/** Judges an answer to a `pick` and keeps its numbers, which pairs are scored by. */
export function scorePick(item: Item, answer: Given): Scored {
  if (item.ask.kind !== 'pick' || answer.kind !== 'scores' || answer.scores.length !== item.pictures.length)
    return notUnderstood(item.id, answer.kind);
  const { scores } = answer;
  return { ...scoreNumbers(item.id, scores, item.ask.gold, (at) => String(at + 1)), detail: { scores } };
}

/**
 * Verdict on numbers, one per option. `label` is the strictly highest; where several share the top it is `unknown`, by the
 * rule `tie`. `margin` is the right one's less the best wrong one's, `confidence` the softmax of the best.
 */
export function scoreNumbers(
  itemId: string,
  scores: readonly number[],
  gold: number,
  labelOf: (at: number) => string,
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

/** An answer that says nothing to the question: of a kind that has no rule, or with another count of numbers. */
export function notUnderstood(itemId: string, kind: Given['kind']): Scored {
  return { itemId, label: 'unknown', rule: `no-rule-for-${kind}`, correct: 0, margin: null, confidence: null };
}

/** Of `choice`: numbers decide where there are any. */
export const CHOICE_SCORERS: readonly Scorer[] = [{ id: 'options', version: 1, score: scoreChoice }];
