import { expect, test } from 'vitest';
import { bfloatToFloat, floatToHalf, halfToFloat } from './half.ts';

test('every finite half survives the way to float and back', () => {
  const words = Uint16Array.from({ length: 65536 }, (_, i) => i).filter((word) => (word & 0x7c00) !== 0x7c00);
  expect(Buffer.from(floatToHalf(halfToFloat(words)).buffer).equals(Buffer.from(words.buffer))).toBe(true);
});

test.each([
  [1, 0x3c00],
  [-2, 0xc000],
  [65504, 0x7bff],
  [65519, 0x7bff],
  [65520, 0x7c00],
  [2 ** -24, 0x0001],
  [2 ** -25, 0x0000],
  [2 ** -25 * 1.0001, 0x0001],
  [1 + 2 ** -11, 0x3c00],
  [1 + 3 * 2 ** -11, 0x3c02],
  [2 ** -14 - 2 ** -25, 0x0400],
  [Number.NEGATIVE_INFINITY, 0xfc00],
])('rounds %f to nearest, ties to even', (value, word) => {
  expect(floatToHalf(Float32Array.of(value))[0]).toBe(word);
});

test('NaN stays NaN both ways', () => {
  expect(halfToFloat(floatToHalf(Float32Array.of(Number.NaN)))[0]).toBeNaN();
});

test('bfloat16 is the upper half of a float', () => {
  expect([...bfloatToFloat(Uint16Array.of(0x3f80, 0xc049, 0x0000))]).toEqual([1, -3.140625, 0]);
});
