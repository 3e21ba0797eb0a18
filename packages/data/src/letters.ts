// A few capitals as 5 × 7 dots, for compositions that show writing. Not a font: no spacing, no lower case.

/** Seven rows from the top, the leftmost of five columns in the highest bit. */
const ROWS: Readonly<Record<string, readonly number[]>> = {
  A: [0b01110, 0b10001, 0b10001, 0b11111, 0b10001, 0b10001, 0b10001],
  E: [0b11111, 0b10000, 0b10000, 0b11110, 0b10000, 0b10000, 0b11111],
  H: [0b10001, 0b10001, 0b10001, 0b11111, 0b10001, 0b10001, 0b10001],
  L: [0b10000, 0b10000, 0b10000, 0b10000, 0b10000, 0b10000, 0b11111],
  O: [0b01110, 0b10001, 0b10001, 0b10001, 0b10001, 0b10001, 0b01110],
  T: [0b11111, 0b00100, 0b00100, 0b00100, 0b00100, 0b00100, 0b00100],
  X: [0b10001, 0b10001, 0b01010, 0b00100, 0b01010, 0b10001, 0b10001],
  Z: [0b11111, 0b00001, 0b00010, 0b00100, 0b01000, 0b10000, 0b11111],
};

export const LETTERS: readonly string[] = Object.keys(ROWS);

/** Dots of a letter by row. Throws a RangeError for one that is not in {@link LETTERS}. */
export function letterRows(letter: string): readonly number[] {
  if (!Object.hasOwn(ROWS, letter)) throw new RangeError(`No dots are known for the letter "${letter}".`);
  return ROWS[letter];
}
