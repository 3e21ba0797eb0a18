// Finding the first bad tensor: by name, operation and model line, in the forward pass and in the backward pass, and
// not fooled by the −∞ of an attention mask.

import { describe, expect, it } from 'vitest';
import { firstNonFinite } from './diagnose.ts';
import { valueAndGrads } from './grads.ts';
import tf, { type NamedTensors, type Tensor } from './tf.ts';

const vector = (n: number) => ({ shape: [n], dtype: 'float32' as const });
const inputs = { x: vector(3), 'p/a': vector(3), 'p/b': vector(3) };

/** A loss of two terms, with the gradients of both parameters. */
const step = (terms: (x: Tensor, p: NamedTensors) => NamedTensors) => (given: NamedTensors) => {
  const { grads, aux } = valueAndGrads(
    (p) => {
      const aux = terms(given.x, p);
      return { value: Object.values(aux).reduce((sum, term) => tf.add(sum, term)), aux };
    },
    { a: given['p/a'], b: given['p/b'] },
  );
  return { outputs: { 'term/one': aux.one, 'term/two': aux.two, 'grad/a': grads.a, 'grad/b': grads.b } };
};

const find = (terms: Parameters<typeof step>[0], x: number[]) =>
  firstNonFinite(
    step(terms),
    { inputs },
    {
      x: Float32Array.from(x),
      'p/a': Float32Array.of(1, 2, 3),
      'p/b': Float32Array.of(3, 2, 1),
    },
  );

const sqrtAndLog = (x: Tensor, { a, b }: NamedTensors) => ({
  one: tf.sum(tf.sqrt(tf.mul(x, a))),
  two: tf.sum(tf.log(tf.mul(x, b))),
});

describe('firstNonFinite', () => {
  it('finds nothing where all is finite', async () => {
    expect(await find(sqrtAndLog, [1, 2, 3])).toBeNull();
  });

  it('names an input', async () => {
    expect(await find(sqrtAndLog, [1, Number.NaN, 3])).toEqual({ kind: 'input', name: 'x', value: 'NaN' });
    expect(await find(sqrtAndLog, [1, -Infinity, 3])).toMatchObject({ name: 'x', value: 'Infinity' });
  });

  it('names the first bad term, the operation and the line', async () => {
    expect(await find(sqrtAndLog, [1, -1, 3])).toMatchObject({
      kind: 'output',
      name: 'term/one',
      value: 'NaN',
      operation: 'Sqrt',
      line: expect.stringMatching(/diagnose\.test\.ts:\d+$/),
    });
    const overflow = (x: Tensor, { a, b }: NamedTensors) => ({
      one: tf.sum(tf.mul(x, a)),
      two: tf.sum(tf.exp(tf.mul(x, b))),
    });
    expect(await find(overflow, [1, 99, 3])).toMatchObject({ name: 'term/two', value: 'Infinity', operation: 'Exp' });
  });

  it('names the gradient when the loss is finite: that of √0', async () => {
    const bad = await find(
      (x, { a, b }) => ({ one: tf.sum(tf.mul(a, x)), two: tf.sum(tf.sqrt(tf.mul(x, b))) }),
      [1, 0, 3],
    );
    expect(bad).toMatchObject({ kind: 'output', name: 'grad/b' });
  });

  it('is not fooled by a mask of minus infinity', async () => {
    const masked = (x: Tensor, { a, b }: NamedTensors) => ({
      one: tf.sum(tf.square(tf.softmax(tf.add(tf.mul(a, x), tf.tensor1d([0, -Infinity, 0]))))),
      two: tf.sum(tf.mul(b, x)),
    });
    expect(await find(masked, [1, 2, 3])).toBeNull();
    expect(await find((x, p) => ({ ...masked(x, p), two: tf.sum(tf.log(tf.sub(p.b, x))) }), [3, 1, 2])).toMatchObject({
      name: 'term/two',
      operation: 'Log',
    });
  });
});
