// What whoever answers in words is told: the suite's prompt around a question, options behind it by their letters. And
// which suites can be asked so. Nothing here knows whether a model or a server reads it.

import type { Ask, AskKind } from '../suite/item.ts';
import type { Suite } from '../suite/suite.ts';

/** `(a) open (b) closed`, as MMVP's own script puts options behind a question. */
export const OPTIONS_FORMAT = '{question} ({letter}) {option} …';

const WORDY: ReadonlySet<AskKind> = new Set(['yesno', 'choice', 'caption']);

/** Why a suite cannot be asked in words; null where it can. */
export function refusesWords({ manifest, items }: Suite): string | null {
  const other = items.find(({ ask, pictures }) => !WORDY.has(ask.kind) || pictures.length > 1);
  if (!other) return null;
  const what = WORDY.has(other.ask.kind)
    ? `shows ${other.pictures.length} pictures at once`
    : `asks by ${other.ask.kind}`;
  return `The suite ${manifest.name} ${what}, and a language model is asked yes or no, to choose, or to describe; ask an encoder.`;
}

export const letterOf = (index: number): string => String.fromCharCode(97 + index);

/** The words of one question. */
export function wordsOf(ask: Ask, template: string): string {
  return template.replaceAll('{question}', () => questionOf(ask));
}

function questionOf(ask: Ask): string {
  switch (ask.kind) {
    case 'yesno':
      return ask.question;
    case 'choice':
      return `${ask.question} ${ask.options.map((option, i) => `(${letterOf(i)}) ${option}`).join(' ')}`;
    case 'caption':
      return 'Please describe this image in detail.';
    default:
      throw new Error(`${ask.kind} is not asked in words.`);
  }
}
