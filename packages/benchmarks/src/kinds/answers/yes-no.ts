// How one yes/no question is judged: scores first, words by the parser; and the same by each published script. Shared by
// every kind of benchmark that asks yes or no.

import { FoveaError } from '@fovea/artifacts';
import type { Answer, Scored } from '../../judging/answer.ts';
import type { Scorer } from '../../judging/kind.ts';
import type { Item, ItemOf } from '../../suite/item.ts';
import { COMPAT_RULES, type CompatRule } from './compat.ts';
import { parseYesNo } from './parse-yes-no.ts';

/** Higher score of [yes, no] wins, a tie is unknown; words go through parseYesNo. */
export const yesNoScorer: Scorer = {
  id: 'yes-no',
  version: 1,
  score(item, answer) {
    const { gold } = yesNoAsk(item);
    if (answer.kind === 'text')
      return { ...verdict(item, gold, parseYesNo(answer.text)), margin: null, confidence: null };
    const difference = yesLessNo(item, answer);
    const label = difference === 0 ? 'unknown' : difference > 0 ? 'yes' : 'no';
    return {
      ...verdict(item, gold, { label, rule: difference === 0 ? 'tie' : 'scores' }),
      margin: rounded(gold === 'yes' ? difference : -difference),
      confidence: rounded(1 / (1 + Math.exp(-Math.abs(difference)))),
    };
  },
};

/** The default, then each published script; scores are judged by those as the word that they favour (none for a tie). */
export const YES_NO_SCORERS: readonly Scorer[] = [yesNoScorer, ...COMPAT_RULES.map(compatScorer)];

function compatScorer({ id, source, label }: CompatRule): Scorer {
  return {
    id,
    version: 1,
    source,
    score(item, answer) {
      const { gold } = yesNoAsk(item);
      const said =
        answer.kind === 'text' ? answer.text : (['no', '', 'yes'][Math.sign(yesLessNo(item, answer)) + 1] as string);
      return { ...verdict(item, gold, { label: label(said, gold), rule: id }), margin: null, confidence: null };
    },
  };
}

/** The question of an item that asks yes or no; anything else is a fault of whoever made the suite. */
export function yesNoAsk(item: Item): ItemOf<'yesno'>['ask'] {
  if (item.ask.kind === 'yesno') return item.ask;
  throw new FoveaError(
    `Item ${item.id} asks "${item.ask.kind}", and this scorer judges yes or no only; use a scorer of its kind.`,
  );
}

function yesLessNo(item: Item, answer: Exclude<Answer, { kind: 'error' | 'text' }>): number {
  if (answer.kind === 'scores' && answer.scores.length === 2) return answer.scores[0] - answer.scores[1];
  throw new FoveaError(
    `The answer to item ${item.id} is neither words nor two scores, so yes or no cannot be read from it; ask this suite anew.`,
  );
}

function verdict(item: Item, gold: string, { label, rule }: { label: string; rule: string }) {
  return { itemId: item.id, label, rule, correct: label === gold ? 1 : 0 } satisfies Partial<Scored>;
}

/** Scores come from fp32 features: seven digits are all that is known of them. */
const rounded = (x: number): number => Number(x.toPrecision(7));
