// POPE's question as an item: its words, the picture, and what an encoder compares instead of reading the question. Both
// the published files (read-pope.ts) and the builder (build-pope.ts) end here.

import type { Draft } from '../suite/draft.ts';

/** A picture's hash and its sides in pixels. */
export interface PictureFile {
  sha256: string;
  width: number;
  height: number;
}

export interface PopeQuestion {
  /** Unique in its split. */
  number: number;
  /** Path below the picture folder. */
  image: string;
  /** Null where the question does not follow POPE's words. */
  object: string | null;
  text: string;
  gold: 'yes' | 'no';
  /** Number shared by a positive and its negative; null for a question that stands alone. */
  pair: number | null;
}

/** "an" before a vowel's letter, as POPE has it. */
export const withArticle = (object: string): string => `${/^[aeiou]/i.test(object) ? 'an' : 'a'} ${object}`;

export const questionText = (object: string): string => `Is there ${withArticle(object)} in the image?`;

/** What stands in for a picture's missing opposite. */
const ANYTHING = 'something';

/** Texts for encoders name the object alone; this goes around them. */
export const POPE_TEXT_TEMPLATE = 'a photo of {}';

/**
 * Items of all splits. `texts` are the asked object and its pair's other one, so an encoder says yes where the asked one
 * lies nearer; without a pair, the nearest question on the same picture with the opposite answer, in this split or else
 * another; without any, "something". Returns how many had to take that, and leaves out questions on pictures not in `looks`.
 */
export function popeItems(
  splits: ReadonlyMap<string, readonly PopeQuestion[]>,
  looks: ReadonlyMap<string, PictureFile>,
): { items: Draft['items']; alone: number } {
  const items: Draft['items'] = [];
  let alone = 0;
  const elsewhere = groupByImage([...splits.values()].flat());
  for (const [split, questions] of splits) {
    const here = groupByImage(questions);
    for (const question of questions) {
      const { number, image, object, text, gold, pair } = question;
      const look = looks.get(image);
      if (!look) continue;
      const other = opposite(question, here.get(image)) ?? opposite(question, elsewhere.get(image));
      if (other === null && object !== null) alone++;
      const against = other === null ? ANYTHING : withArticle(other);
      items.push({
        id: `${split}/${number}`,
        split,
        cluster: image,
        ...(pair !== null && { pair: `${split}/${pair}` }),
        pictures: [{ kind: 'file', path: image, ...look }],
        ask: {
          kind: 'yesno',
          question: text,
          gold,
          ...(object !== null && { texts: [withArticle(object), against] as [string, string] }),
        },
        meta: { object },
      });
    }
  }
  return { items, alone };
}

/** Object of the pair's other question, or of the nearest one with the opposite answer. */
function opposite(question: PopeQuestion, same: readonly PopeQuestion[] = []): string | null {
  let best: PopeQuestion | null = null;
  const distance = (one: PopeQuestion) =>
    one.pair !== null && one.pair === question.pair ? 0 : Math.abs(one.number - question.number) + 1;
  for (const one of same) {
    if (one.gold === question.gold || one.object === null) continue;
    if (best === null || distance(one) < distance(best)) best = one;
  }
  return best?.object ?? null;
}

function groupByImage(questions: readonly PopeQuestion[]): Map<string, PopeQuestion[]> {
  const groups = new Map<string, PopeQuestion[]>();
  for (const question of questions) {
    const known = groups.get(question.image);
    if (known) known.push(question);
    else groups.set(question.image, [question]);
  }
  return groups;
}
