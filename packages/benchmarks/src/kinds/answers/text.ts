// Words that a language model answered with, made ready for the parsers beside this file. Published scripts (compat.ts)
// read the raw words instead.

const OPEN = '<think>';
const CLOSE = '</think>';

/**
 * NFKC, straight apostrophes, without thoughts, trimmed and without leading markup; null where a thought never ends, so
 * that the answer was cut off. A closing tag without an opening one ends a thought that the prompt opened.
 */
export function plainAnswer(raw: string): string | null {
  const text = raw.normalize('NFKC').replaceAll('\u2019', "'");
  let spoken = '';
  let at = 0;
  for (let open = text.indexOf(OPEN); open !== -1; open = text.indexOf(OPEN, at)) {
    const close = text.indexOf(CLOSE, open);
    if (close === -1) return null;
    spoken += text.slice(at, open);
    at = close + CLOSE.length;
  }
  spoken += text.slice(at);
  const orphan = spoken.lastIndexOf(CLOSE);
  return (orphan === -1 ? spoken : spoken.slice(orphan + CLOSE.length)).trim().replace(/^[*_`"'#>([\s]+/, '');
}

/** The first part that holds anything, up to a full stop, exclamation or question mark or the end of the line. */
export function firstSentence(text: string): string {
  return text.split(/[.!?。！？\n]/).find((part) => part.trim() !== '') ?? '';
}
