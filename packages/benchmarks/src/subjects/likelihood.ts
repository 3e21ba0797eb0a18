// How likely a language model finds each of a few short answers (Yes or No; A, B, …): the log of the sum of probabilities of
// the tokens that say it, in upper and lower case, with and without a space in front. Where a tokenizer has no such single
// tokens, the log-probabilities of the tokens that spell it are added up.

import type { ChatTokenizer, Reader } from '@fovea/models';
import { letterOf } from './asking.ts';

/** Spellings of one answer, the same ways for all. */
type Spellings = readonly string[];

const spellings = (word: string): Spellings => [word, word.toLowerCase(), ` ${word}`, ` ${word.toLowerCase()}`];

export const YES = spellings('Yes');
export const NO = spellings('No');
export const letters = (count: number): Spellings[] =>
  Array.from({ length: count }, (_, i) => spellings(letterOf(i).toUpperCase()));

/** Per answer: single tokens that say it, or the tokens that spell it out. */
export type Candidates = { single: number[][] } | { spelt: number[][] };

/** A spelling counts where every answer has it as one token, so that none is likelier for having more. */
export function candidatesOf(
  tokenizer: Pick<ChatTokenizer, 'singles' | 'encode'>,
  answers: readonly Spellings[],
): Candidates {
  const shared = answers[0].flatMap((_, i) =>
    answers.every((ways) => tokenizer.singles(ways[i]).length > 0) ? [i] : [],
  );
  if (shared.length === 0) return { spelt: answers.map(([word]) => tokenizer.encode(word)) };
  return { single: answers.map((ways) => [...new Set(shared.flatMap((i) => tokenizer.singles(ways[i])))]) };
}

/** Log-likelihood of each answer after what `reader` has read, whose last logits are given; to seven digits. */
export async function scoresOf(candidates: Candidates, reader: Reader, logits: Float32Array): Promise<number[]> {
  if ('single' in candidates) {
    const all = logSumExp(logits);
    return candidates.single.map((ids) => rounded(logSumExp(ids.map((id) => logits[id])) - all));
  }
  const { length } = reader;
  const scores: number[] = [];
  for (const ids of candidates.spelt) {
    reader.rewind(length);
    let [sum, next] = [0, logits];
    for (const [i, id] of ids.entries()) {
      sum += next[id] - logSumExp(next);
      if (i < ids.length - 1) next = await reader.step(id);
    }
    scores.push(rounded(sum));
  }
  return scores;
}

export function logSumExp(values: ArrayLike<number>): number {
  let [top, sum] = [Number.NEGATIVE_INFINITY, 0];
  for (let i = 0; i < values.length; i++) top = Math.max(top, values[i]);
  for (let i = 0; i < values.length; i++) sum += Math.exp(values[i] - top);
  return top + Math.log(sum);
}

/** What 32-bit numbers are good for. */
const rounded = (value: number): number => Number(value.toPrecision(7));
