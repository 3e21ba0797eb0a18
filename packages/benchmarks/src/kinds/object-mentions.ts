// Which objects a caption speaks of (Rohrbach et al. 2018, "Object Hallucination in Image Captioning"): words of a lexicon,
// singular or plural, alone or as several words that mean one thing. By rule, with no tagger, so equal texts give equal
// objects everywhere.

import type { Manifest } from '../suite/manifest.ts';

export type Lexicon = NonNullable<Manifest['lexicon']>;

export interface Mention {
  /** The object's name in the lexicon. */
  node: string;
  /** Number of the word that it ends at, from 0. */
  at: number;
}

const MOST_WORDS_IN_ONE = 4;

/** Lower-case words; hyphens part them, a possessive 's is dropped. */
export function wordsOf(text: string): string[] {
  const plain = text.normalize('NFKC').toLowerCase().replaceAll('’', "'");
  return (plain.match(/[\p{L}\p{N}]+(?:'\p{L}+)*/gu) ?? []).map((word) => word.replace(/'s$/, ''));
}

const IRREGULAR: Record<string, string> = {
  people: 'person',
  men: 'man',
  women: 'woman',
  children: 'child',
  mice: 'mouse',
  geese: 'goose',
  oxen: 'ox',
  calves: 'calf',
  knives: 'knife',
  loaves: 'loaf',
};

/** What a word may be the plural of, likeliest first; the word itself before all. */
function* singularsOf(word: string): Generator<string> {
  yield word;
  const irregular = /^(.*?)(people|men|women|children|mice|geese|oxen|calves|knives|loaves)$/.exec(word);
  if (irregular) yield irregular[1] + IRREGULAR[irregular[2]];
  if (word.endsWith('s')) yield word.slice(0, -1);
  if (word.endsWith('es')) yield word.slice(0, -2);
  if (word.endsWith('ies')) yield `${word.slice(0, -3)}y`;
}

export class ObjectMentions {
  /** Object by the words that mean it, joined by spaces; null where they mean none. */
  readonly #nodes = new Map<string, string | null>();
  readonly #words = new Set<string>();

  /** `doubleWords` say what several words stand for: a word of the lexicon, or one that is no object ("home plate"). */
  constructor(lexicon: Lexicon) {
    const single = new Map<string, string>();
    for (const [node, synonyms] of Object.entries(lexicon.nodes))
      for (const name of [node, ...synonyms]) single.set(wordsOf(name).join(' '), node);
    for (const [name, node] of single) this.#nodes.set(name, node);
    for (const [words, meaning] of Object.entries(lexicon.doubleWords))
      this.#nodes.set(wordsOf(words).join(' '), single.get(wordsOf(meaning).join(' ')) ?? null);
    for (const name of this.#nodes.keys()) for (const word of name.split(' ')) this.#words.add(word);
  }

  /** Every mention in its order, twice where an object is named twice. */
  mentions(text: string): Mention[] {
    const words = wordsOf(text).map((word) => this.#singular(word));
    const found: Mention[] = [];
    const seats = new Set<number>();
    let hasToilet = false;
    for (let i = 0; i < words.length; ) {
      const { length, node } = this.#longestAt(words, i);
      if (node !== null) found.push({ node, at: i + length - 1 });
      hasToilet ||= words[i] === 'toilet';
      if (length === 1 && words[i] === 'seat') seats.add(i);
      i += length;
    }
    return hasToilet ? found.filter(({ at }) => !seats.has(at)) : found;
  }

  /** Distinct objects in order of first mention. */
  objects(text: string): string[] {
    return [...new Set(this.mentions(text).map(({ node }) => node))];
  }

  #singular(word: string): string {
    for (const singular of singularsOf(word)) if (this.#words.has(singular)) return singular;
    return word;
  }

  #longestAt(words: string[], at: number): { length: number; node: string | null } {
    for (let length = Math.min(MOST_WORDS_IN_ONE, words.length - at); length > 0; length--) {
      const node = this.#nodes.get(words.slice(at, at + length).join(' '));
      if (node !== undefined) return { length, node };
    }
    return { length: 1, node: null };
  }
}
