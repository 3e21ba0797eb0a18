// Scores to answers, alike for every subject that scores: which of many, and at which rank. Equals rank before the right
// one, so a subject that gives the same score to all is right about nothing.

import type { Answer } from '../judging/answer.ts';

const TOP = 10;

/** Seven digits: what is left of features in fp32. */
export const rounded = (value: number): number => Number(value.toPrecision(7));

export const scoresAnswer = (scores: readonly number[]): Answer =>
  finite(scores, () => ({ kind: 'scores', scores: scores.map(rounded) }));

/** The ten best of all classes and what more is kept of them; `logits` by class. */
export function classesAnswer(logits: ArrayLike<number>, gold: number): Answer {
  const all = Array.from(logits);
  return finite(all, () => {
    const order = all.map((_, c) => c).sort((a, b) => all[b] - all[a] || a - b);
    const best = all[order[0]];
    const sum = all.reduce((total, logit) => total + Math.exp(logit - best), 0);
    return {
      kind: 'classes',
      top: order.slice(0, TOP).map((c) => [c, rounded(all[c])]),
      gold: rounded(all[gold]),
      rank: rankAmong(all, [gold]),
      logSumExp: rounded(best + Math.log(sum)),
    };
  });
}

/** How many others score at least as much as the best of `own`, positions in `scores`; NaN counts as no rival. */
export function rankAmong(scores: ArrayLike<number>, own: readonly number[]): number {
  const best = Math.max(...own.map((i) => scores[i]));
  let rank = 0;
  for (let i = 0; i < scores.length; i++) if (scores[i] >= best && !own.includes(i)) rank++;
  return rank;
}

export const errorAnswer = (message: string): Answer => ({ kind: 'error', message, attempts: 1 });

function finite(scores: readonly number[], answer: () => Answer): Answer {
  return scores.every(Number.isFinite) ? answer() : errorAnswer('The encoder gives features that are not finite.');
}
