// The option that a free answer names, by its letter or by its own words: two options as in MMVP, up to 26. Letters need
// a boundary, because "a" is also an article: `A)` is an answer, `A dog` is not.

import { plainAnswer } from './text.ts';

export interface Option {
  /** A, B, … or unknown. */
  label: string;
  rule: 'truncated' | 'lead' | 'answer' | 'text' | 'several' | 'none';
}

/** After a letter: closing punctuation, or the end of the line. */
const BOUNDARY = '(?=[).,:;\\]*\\n]|$)';
const DECORATION = '[*_("\'\\s\\[]*';

export const letterOf = (index: number): string => String.fromCharCode(65 + index);

/**
 * A letter that leads, then the last letter after "answer", "option" or "choice" that "not" does not deny, then the one
 * option whose whole words are said. An option within a longer one that is said ("open" in "not open") is not said.
 */
export function parseOption(raw: string, options: readonly string[]): Option {
  const text = plainAnswer(raw);
  if (text === null) return { label: 'unknown', rule: 'truncated' };
  const letters = `([a-${letterOf(options.length - 1).toLowerCase()}])${BOUNDARY}`;
  const lead = new RegExp(`^${letters}`, 'i').exec(text);
  if (lead) return { label: lead[1].toUpperCase(), rule: 'lead' };
  const named = `(?<!\\bnot (?:the )?)\\b(?:answer|option|choice)(?:\\s+is)?(?:\\s*:)?${DECORATION}${letters}`;
  const answer = [...text.matchAll(new RegExp(named, 'gi'))].at(-1);
  if (answer) return { label: answer[1].toUpperCase(), rule: 'answer' };
  const said = saidOptions(text, options);
  if (said.length === 1) return { label: letterOf(said[0]), rule: 'text' };
  return { label: 'unknown', rule: said.length === 0 ? 'none' : 'several' };
}

function saidOptions(text: string, options: readonly string[]): number[] {
  const said: number[] = [];
  let rest = text;
  const longestFirst = options.map((_, i) => i).sort((a, b) => options[b].length - options[a].length || a - b);
  for (const index of longestFirst) {
    const words = options[index].normalize('NFKC').replaceAll('\u2019', "'").trim();
    if (words === '') continue;
    const whole = new RegExp(
      `(?<![\\p{L}\\p{N}])${words.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&')}(?![\\p{L}\\p{N}])`,
      'giu',
    );
    const without = rest.replace(whole, '\u0000');
    if (without !== rest) said.push(index);
    rest = without;
  }
  return said;
}
