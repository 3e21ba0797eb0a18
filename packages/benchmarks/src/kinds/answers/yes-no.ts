// How one yes/no question is judged: scores first, words by the parser; and the same by each published script. Shared by
// every kind of benchmark that asks yes or no.

import type { Answer, Scored } from '../../judging/answer.ts';
import type { Scorer } from '../../judging/kind.ts';
import type { Item } from '../../suite/item.ts';
import { COMPAT_RULES, type CompatRule } from './compat.ts';
import { parseYesNo } from './parse-yes-no.ts';

/** The higher of two scores [yes, no] wins, a tie is unknown; words go through parseYesNo; anything else is not understood. */
export const yesNoScorer: Scorer = {
  id: 'yes-no',
  version: 1,
  score(item, answer) {
    const gold = goldOf(item);
    if (gold !== null && answer.kind === 'text') return verdict(item, gold, parseYesNo(answer.text));
    const difference = yesLessNo(answer);
    if (gold === null || difference === null) return notUnderstood(item, answer);
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
      const gold = goldOf(item);
      const said = answer.kind === 'text' ? answer.text : wordFor(yesLessNo(answer));
      if (gold === null || said === null) return notUnderstood(item, answer);
      return verdict(item, gold, { label: label(said, gold), rule: id });
    },
  };
}

/** The right answer of an item that asks yes or no; null for any other. */
export const goldOf = ({ ask }: Item): 'yes' | 'no' | null => (ask.kind === 'yesno' ? ask.gold : null);

function yesLessNo(answer: Answer): number | null {
  if (answer.kind !== 'scores' || answer.scores.length !== 2) return null;
  const difference = answer.scores[0] - answer.scores[1];
  return Number.isFinite(difference) ? difference : null;
}

const wordFor = (difference: number | null): string | null =>
  difference === null ? null : difference === 0 ? '' : difference > 0 ? 'yes' : 'no';

function verdict({ id }: Item, gold: string, { label, rule }: { label: string; rule: string }): Scored {
  return { itemId: id, label, rule, correct: label === gold ? 1 : 0, margin: null, confidence: null };
}

const notUnderstood = (item: Item, { kind }: Answer): Scored =>
  verdict(item, '', { label: 'unknown', rule: `no-rule-for-${kind}` });

/** Scores come from fp32 features: seven digits are all that is known of them. */
const rounded = (x: number): number => Number(x.toPrecision(7));
