// Words of class names and the bags the text tower reads. The vocabulary belongs to the weights: it is saved with
// them, and a name with a word outside it is an error, not a silent zero.

/** Lower-case words of a name: letters and digits, everything else separates. */
export const wordsOf = (name: string): string[] =>
  name
    .toLowerCase()
    .normalize('NFKD')
    .match(/[\p{L}\p{N}]+/gu) ?? [];

/** Sorted distinct words of all names. */
export function vocabularyOf(names: readonly string[]): string[] {
  return [...new Set(names.flatMap(wordsOf))].sort();
}

/** Words that `vocabulary` lacks. */
export function unknownWords(names: readonly string[], vocabulary: readonly string[]): string[] {
  const known = new Set(vocabulary);
  return vocabularyOf(names).filter((word) => !known.has(word));
}

/** Mean one-hot bags of names: row-major [names.length, vocabulary.length]. Words outside the vocabulary are left out. */
export function bagsOf(names: readonly string[], vocabulary: readonly string[]): Float32Array {
  const index = new Map(vocabulary.map((word, i) => [word, i]));
  const bags = new Float32Array(names.length * vocabulary.length);
  names.forEach((name, row) => {
    const words = wordsOf(name).filter((word) => index.has(word));
    for (const word of words) bags[row * vocabulary.length + (index.get(word) as number)] += 1 / words.length;
  });
  return bags;
}
