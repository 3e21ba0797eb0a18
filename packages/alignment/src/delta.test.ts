// The codes of a move: what comes back, how far it may be off, and that error feedback loses nothing over the rounds.

import { encodeSafetensors } from '@fovea/artifacts';
import type { Weights } from '@fovea/models';
import { philox } from '@fovea/tensor/random';
import { describe, expect, it } from 'vitest';
import { type DeltaCodec, decodeDelta, encodeDelta } from './delta.ts';

const SHAPES: Record<string, number[]> = { scale: [], bias: [5], matrix: [4, 6], kernel: [3, 2, 3, 3], none: [0, 7] };

/** Moves whose rows differ in size by orders of magnitude, as those of layers do. */
const moveOf = (round: number): Weights =>
  Object.fromEntries(
    Object.entries(SHAPES).map(([name, shape]) => {
      const size = shape.reduce((a, b) => a * b, 1);
      const rng = philox(7, name, 0, round);
      const width = size / (shape[0] || 1);
      return [
        name,
        { shape, data: Float32Array.from({ length: size }, (_, i) => (rng.uniform() - 0.5) * 10 ** -(i / width)) },
      ];
    }),
  );

const CODECS: DeltaCodec[] = ['fp32', 'fp16', 'int8'];
const encode = (delta: Weights, codec: DeltaCodec, last: Weights = {}) =>
  encodeDelta(delta, codec, last, 'shard 1 of 2');
const largest = (values: Iterable<number>) => Math.max(0, ...[...values].map(Math.abs));

describe('the code of a move', () => {
  it('fp32 gives back every bit, and owes nothing', () => {
    const { bytes, residual } = encode(moveOf(0), 'fp32');
    expect(decodeDelta(bytes, 'it')).toEqual(moveOf(0));
    expect(residual).toEqual({});
  });

  it.each(['fp16', 'int8'] as const)(
    '%s gives back the shapes, and the residual is exactly what is missing',
    (codec) => {
      const move = moveOf(0);
      const { bytes, residual } = encode(move, codec);
      const back = decodeDelta(bytes, 'it');
      expect(Object.keys(back).sort()).toEqual(Object.keys(SHAPES).sort());
      for (const [name, { shape, data }] of Object.entries(move)) {
        expect(back[name].shape).toEqual(shape);
        for (let i = 0; i < data.length; i++)
          expect(residual[name].data[i]).toBe(Math.fround(data[i] - back[name].data[i]));
      }
      expect(encode(move, codec).bytes, 'the same bytes again').toEqual(bytes);
    },
  );

  it('keeps to the bound of its width: 2⁻¹¹ of a number in fp16, 1/254 of a row’s largest in int8', () => {
    const move = moveOf(1);
    const [half, eight] = [decodeDelta(encode(move, 'fp16').bytes, ''), decodeDelta(encode(move, 'int8').bytes, '')];
    let widest = 0;
    for (const [name, { shape, data }] of Object.entries(move)) {
      const width = shape.length > 1 ? data.length / (shape[0] || 1) : data.length;
      data.forEach((x, i) => {
        expect(Math.abs(half[name].data[i] - x)).toBeLessThanOrEqual(Math.abs(x) * 2 ** -11 + 2 ** -25);
        const row = Math.floor(i / width);
        const most = largest(data.subarray(row * width, (row + 1) * width));
        const off = Math.abs(eight[name].data[i] - x) / most;
        expect(off).toBeLessThanOrEqual(1 / 254 + 1e-6);
        widest = Math.max(widest, off);
      });
    }
    expect(widest, 'and the bound is tight').toBeGreaterThan(0.9 / 254);
  });

  it('takes 4, 2 and about 1 byte an element', () => {
    const big = { w: { shape: [128, 512], data: Float32Array.from({ length: 65536 }, (_, i) => Math.sin(i)) } };
    const sizes = CODECS.map((codec) => encode(big, codec).bytes.byteLength / 65536);
    expect(sizes[0]).toBeCloseTo(4, 1);
    expect(sizes[1]).toBeCloseTo(2, 1);
    expect(sizes[2]).toBeCloseTo(1, 1);
  });

  it.each(['fp16', 'int8'] as const)(
    '%s loses nothing over rounds by error feedback, and drifts without it',
    (codec) => {
      // The same small move each round, beside a large one in its row: rounding would be wrong the same way each time.
      const move: Weights = { w: { shape: [1, 3], data: Float32Array.of(1, 0.0013, -0.00071) } };
      const rounds = 200;
      const run = (feedback: boolean) => {
        const sum = [0, 0, 0];
        let last: Weights = {};
        for (let round = 0; round < rounds; round++) {
          const { bytes, residual } = encode(move, codec, last);
          decodeDelta(bytes, '').w.data.forEach((x, i) => {
            sum[i] += x;
          });
          if (feedback) last = residual;
        }
        return largest(sum.map((x, i) => x - rounds * move.w.data[i]));
      };
      const step = codec === 'int8' ? 1 / 127 : 2 ** -11;
      expect(run(true), 'one rounding step, however many rounds').toBeLessThan(step);
      expect(run(true) / rounds).toBeLessThan(run(false) / rounds / 20);
      expect(run(false)).toBeGreaterThan(20 * run(true));
    },
  );

  it('sends later what lies beyond fp16', () => {
    const move = (x: number): Weights => ({ w: { shape: [1], data: Float32Array.of(x) } });
    const first = encode(move(100_000), 'fp16');
    const second = encode(move(0), 'fp16', first.residual);
    const sent = [first, second].map(({ bytes }) => decodeDelta(bytes, '').w.data[0]);
    expect(sent[0]).toBe(65504);
    expect(sent[0] + sent[1]).toBe(100_000);
  });

  it('sends a row of zeros and one of the smallest numbers as they are or not at all', () => {
    const move: Weights = { w: { shape: [2, 2], data: Float32Array.of(0, 0, 1e-45, 0) } };
    const { bytes, residual } = encode(move, 'int8');
    const back = decodeDelta(bytes, '').w.data;
    expect([...back].every(Number.isFinite)).toBe(true);
    back.forEach((x, i) => expect(x + residual.w.data[i]).toBe(move.w.data[i]));
  });

  it.each(CODECS)('%s refuses a move that is not finite, by name', (codec) => {
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY]) {
      const move = moveOf(0);
      move.matrix.data[3] = value;
      expect(() => encode(move, codec)).toThrow(
        expect.objectContaining({
          name: 'FoveaError',
          message: expect.stringContaining('shard 1 of 2 moved matrix by'),
        }),
      );
    }
  });

  it('refuses bytes that are no move: cut short, words of another type, scales that are missing', () => {
    const { bytes } = encode(moveOf(0), 'int8');
    const words = { shape: [2], data: Int32Array.of(1, 2) };
    const given: [string, Uint8Array][] = [
      ['cut short', bytes.subarray(0, bytes.length - 3)],
      ['words', encodeSafetensors(new Map([['int8/w', words]]), { metadata: { codec: 'int8' } })],
      ['integers', encodeSafetensors(new Map([['w', words]]))],
      [
        'no scale',
        encodeSafetensors(new Map([['int8/w', { shape: [2], data: Int8Array.of(1, 2) }]]), {
          metadata: { codec: 'int8' },
        }),
      ],
    ];
    for (const [what, wrong] of given)
      expect(() => decodeDelta(wrong, 'shard 2'), what).toThrow(expect.objectContaining({ name: 'FoveaError' }));
  });
});
