// The outer optimiser against numbers worked out by hand.

import { describe, expect, it } from 'vitest';
import { average, nesterov, shardRate } from './outer.ts';

const floats = (...values: number[]) => Float32Array.from(values);

describe('outer optimisers', () => {
  it('average gives the mean of the weights', () => {
    const { init, update } = average();
    // Two workers at 1 and 3 from a start of 4: moves 3 and 1, mean 2.
    expect(update(floats(4), Float64Array.of(2), init(1))).toEqual({ parameter: floats(2), state: {} });
  });

  it('nesterov is PyTorch’s SGD(lr=0.7, momentum=0.9, nesterov=True) over the moves', () => {
    const { init, update } = nesterov({ lr: 0.7, momentum: 0.9 });
    const delta = Float64Array.of(1, -2);
    const start = floats(10, 0);
    const one = update(start, delta, init(2));
    // v = Δ; θ − 0.7·(Δ + 0.9·v) = θ − 1.33·Δ
    expect(one.state.momentum).toEqual(floats(1, -2));
    expect(one.parameter).toEqual(floats(8.67, 2.66));
    const two = update(one.parameter, Float64Array.of(0.5, 0), one.state);
    // v = 0.9·(1, −2) + (0.5, 0) = (1.4, −1.8); θ − 0.7·((0.5, 0) + 0.9·v) = θ − (1.232, −1.134)
    expect(two.state.momentum).toEqual(floats(1.4, -1.8));
    expect(two.parameter[0]).toBeCloseTo(7.438, 5);
    expect(two.parameter[1]).toBeCloseTo(3.794, 5);
    expect(start).toEqual(floats(10, 0));
    expect(one.state.momentum).toEqual(floats(1, -2));
  });

  it('nesterov without momentum at lr 1 is the average', () => {
    const delta = Float64Array.of(0.25, -3);
    const [a, b] = [average(), nesterov({ lr: 1, momentum: 0 })];
    expect(b.update(floats(1, 2), delta, b.init(2)).parameter).toEqual(
      a.update(floats(1, 2), delta, a.init(2)).parameter,
    );
  });
});

it('a shard of an average takes longer steps, since its mean with K others goes a K-th of the way', () => {
  const rate = (lrScale: 'linear' | 'sqrt' | 'none', of: number) => shardRate({ kind: 'average', lrScale }, of);
  expect([rate('linear', 4), rate('sqrt', 4), rate('none', 4)]).toEqual([4, 2, 1]);
  expect([rate('linear', 1), rate('sqrt', 1)]).toEqual([1, 1]);
  expect(shardRate({ kind: 'nesterov', lr: 0.7, momentum: 0.9 }, 4)).toBe(1);
});
