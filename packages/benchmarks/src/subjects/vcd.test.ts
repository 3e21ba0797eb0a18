import { philox } from '@fovea/tensor/random';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { contrasted, noised, signalLeft } from './vcd.ts';

const softmax = (z: ArrayLike<number>) => {
  const powers = Array.from(z, (x) => Math.exp(x));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((x) => x / sum);
};
const logit = fc.double({ min: -20, max: 20, noNaN: true });

describe('visual contrastive decoding', () => {
  it('gives the numbers of the specification', () => {
    const [seen, other] = [
      [2, 1.5, 0, -1],
      [2.5, 0, 0.5, -4],
    ];
    const z = contrasted(seen, other, { alpha: 1, beta: 0.1 });
    expect([...z]).toEqual([1.5, 3, -0.5, Number.NEGATIVE_INFINITY]);
    [0.17803, 0.797876, 0.024094, 0].forEach((p, i) => {
      expect(softmax(z)[i]).toBeCloseTo(p, 6);
    });
    [0.558144, 0.338531, 0.075537, 0.027788].forEach((p, i) => {
      expect(softmax(seen)[i]).toBeCloseTo(p, 6);
    });
  });

  it.each([
    [0, 0.999978],
    [200, 0.987795],
    [400, 0.89276],
    [500, 0.744799],
    [600, 0.539118],
    [700, 0.351266],
    [800, 0.218102],
    [900, 0.133143],
    [999, 0.081249],
  ])('leaves at step %d %d of a picture', (t, left) => {
    expect(signalLeft(t)).toBeCloseTo(left, 6);
  });

  it.each([
    [1, 3, 'no'],
    [1, 1.5, 'yes'],
    [2, 5, 'no'],
    [2.5, 9, 'yes'],
    [-0.5, -2, 'yes'],
    [-0.5, 0.5, 'no'],
  ])('of two answers %d and %d apart says %s', (seen, other, wanted) => {
    const [yes, no] = contrasted([seen, 0], [other, 0], { alpha: 1, beta: 0.1 });
    expect(yes > no ? 'yes' : 'no').toBe(wanted);
  });

  it('of two answers says what the closed form says', () => {
    fc.assert(
      fc.property(logit, logit, logit, logit, (a, b, c, d) => {
        const [alpha, beta] = [1, 0.1];
        const [m, other] = [a - b, c - d];
        const [yes, no] = contrasted([a, b], [c, d], { alpha, beta });
        const value = Math.abs(m) > -Math.log(beta) ? m : (1 + alpha) * m - alpha * other;
        fc.pre(Math.abs(value) > 1e-9 && Math.abs(Math.abs(m) + Math.log(beta)) > 1e-9);
        expect(yes > no).toBe(value > 0);
      }),
    );
  });

  it('changes nothing with alpha 0 and beta 0, and noises the same for the same draws', () => {
    const seen = [0.1, -3.7, 12.25];
    expect([...contrasted(seen, [5, 5, 5], { alpha: 0, beta: 0 })]).toEqual(seen);
    const pixels = Float32Array.of(1, -1, 0.5);
    expect(noised(pixels, 500, philox(1, 'vcd'))).toEqual(noised(pixels, 500, philox(1, 'vcd')));
    expect(noised(pixels, 500, philox(1, 'vcd'))).not.toEqual(noised(pixels, 500, philox(2, 'vcd')));
  });
});
