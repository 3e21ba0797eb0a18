import fc from 'fast-check';
import { expect, test } from 'vitest';
import { canonicalJson, sha256Hex } from './canonical.ts';

test('sorts keys at every depth and leaves undefined out', () => {
  expect(canonicalJson({ b: [{ z: 1, a: null }], a: 'x', c: undefined })).toBe('{"a":"x","b":[{"a":null,"z":1}]}');
});

test('is JSON of the same value whatever the order of its keys', () => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 3 }), (value) => {
      const text = canonicalJson(value);
      expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(value)));
      expect(canonicalJson(JSON.parse(text))).toBe(text);
    }),
    { numRuns: 50 },
  );
});

test.each([[Number.NaN], [Number.POSITIVE_INFINITY], [() => 1], [[undefined]], [new Map()], [1n]])(
  'refuses %s, which JSON cannot say',
  (value) => {
    expect(() => canonicalJson({ value })).toThrow(TypeError);
  },
);

test('hashes as sha256sum does', () => {
  expect(sha256Hex('abc')).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
});
