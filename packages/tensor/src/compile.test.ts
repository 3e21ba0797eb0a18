// What a compiled program promises besides right numbers: state that carries, frozen weights, no dense constants,
// nothing computed for what is not asked, and errors that name the operation and the line.

import { describe, expect, it } from 'vitest';
import { compile, lowerToOnnx } from './compile.ts';
import { valueAndGrads } from './grads.ts';
import { fillNormal, permutation, philox, philox4x32 } from './random.ts';
import tf from './tf.ts';

const vector = (n: number) => ({ shape: [n], dtype: 'float32' as const });

describe('compile', () => {
  it('carries state from run to run and repeats itself bit for bit', async () => {
    const step = () =>
      compile(
        ({ x }, { w }) => {
          const { value, grads } = valueAndGrads((p) => ({ value: tf.sum(tf.square(tf.sub(p.w, x))) }), { w });
          return { outputs: { loss: value }, state: { w: tf.sub(w, tf.mul(grads.w, 0.1)) } };
        },
        { inputs: { x: vector(3) }, state: { w: vector(3) } },
      );
    const [a, b] = [await step(), await step()];
    const x = Float32Array.of(1, -2, 3);
    for (let i = 0; i < 20; i++) {
      const la = (await a.run({ x })).loss[0];
      expect((await b.run({ x })).loss[0]).toBe(la);
    }
    expect(a.getState('w')).toEqual(b.getState('w'));
    expect(a.getState('w')[2]).toBeCloseTo(3 * (1 - 0.8 ** 20), 4);
    a.setState({ w: x });
    expect((await a.run({ x })).loss[0]).toBe(0);
  });

  it('keeps all-equal constants out of the model file', () => {
    const size = 512;
    const { bytes } = lowerToOnnx(
      ({ x }) => ({ outputs: { y: tf.add(tf.mul(x, tf.ones([size, size])), tf.fill([size, size], 3)) } }),
      {
        inputs: { x: { shape: [size, size], dtype: 'float32' } },
      },
    );
    expect(bytes.length).toBeLessThan(2000);
  });

  it('takes frozen weights of any name', async () => {
    const names = ['c0', 'k1', '0', 'x', 'y'];
    const constants = Object.fromEntries(
      names.map((name, i) => [name, { ...vector(2), data: Float32Array.of(i, -i) }]),
    );
    const program = await compile(
      ({ x }, _state, frozen) => ({
        outputs: { y: names.reduce((sum, name) => tf.add(tf.mul(sum, 2), frozen[name]), x) },
      }),
      { inputs: { x: vector(2) }, constants },
    );
    expect([...(await program.run({ x: Float32Array.of(1, 1) })).y]).toEqual([32 + 26, 32 - 26]);
  });

  it('keeps the shape of what two all-equal constants make', async () => {
    const program = await compile(
      ({ x }) => ({ outputs: { y: tf.sum(tf.mul(tf.ones([4]), tf.fill([4], 3))), z: tf.neg(x) } }),
      { inputs: { x: vector(1) } },
    );
    expect((await program.run({ x: Float32Array.of(1) })).y[0]).toBe(12);
  });

  it('records no backward node that no trainable parameter needs', () => {
    const size = { shape: [4, 4], dtype: 'float32' as const };
    const nodes = (train: string[]) =>
      lowerToOnnx(
        (inputs) => {
          const trainable = Object.fromEntries(train.map((name) => [name, inputs[name]]));
          const { value, grads } = valueAndGrads((p) => {
            const all = { ...inputs, ...p };
            return { value: tf.sum(tf.matMul(tf.sigmoid(tf.matMul(all.x as never, all.a as never)), all.b as never)) };
          }, trainable);
          return { outputs: { value, ...Object.fromEntries(train.map((name) => [`d/${name}`, grads[name]])) } };
        },
        { inputs: { x: size, a: size, b: size } },
      ).nodes;
    expect(nodes(['b'])).toBeLessThan(nodes(['a', 'b']));
  });

  it('gives a zero gradient to a parameter that is not used', async () => {
    const program = await compile(
      ({ a, b }) => {
        const { grads } = valueAndGrads((p) => ({ value: tf.sum(tf.square(p.a)) }), { a, b });
        return { outputs: { da: grads.a, db: grads.b } };
      },
      { inputs: { a: vector(2), b: vector(2) } },
    );
    const { da, db } = await program.run({ a: Float32Array.of(1, 2), b: Float32Array.of(3, 4) });
    expect([...da, ...db]).toEqual([2, 4, 0, 0]);
  });

  it('names an operation that cannot be recorded, and where the model uses it', () => {
    const build = () => lowerToOnnx(({ x }) => ({ outputs: { y: tf.cosh(x) } }), { inputs: { x: vector(2) } });
    expect(build).toThrow(/operation Cosh.*compile\.test\.ts:\d+.*cannot be recorded/);
  });

  it('lets a model read the numbers of its constants while it is recorded', async () => {
    const program = await compile(
      ({ x }) => {
        const shape = tf.tensor1d([3, 2], 'int32');
        const sides = [...tf.tensor([2, 2]).dataSync(), ...shape.dataSync()];
        return { outputs: { y: tf.mul(tf.reshape(x, sides.slice(2)), sides[0]) } };
      },
      { inputs: { x: vector(6) } },
    );
    expect((await program.run({ x: Float32Array.of(0, 1, 2, 3, 4, 5) })).y).toEqual(Float32Array.of(0, 2, 4, 6, 8, 10));
    await program.dispose();
  });

  it('says so when a model reads numbers while it is recorded', () => {
    const build = () =>
      lowerToOnnx(({ x }) => ({ outputs: { y: tf.mul(x, x.dataSync()[0]) } }), { inputs: { x: vector(2) } });
    expect(build).toThrow(/asked for a tensor's numbers/);
  });

  it('names shapes that do not fit and inputs of the wrong size', async () => {
    const inputs = { x: vector(2), y: vector(3) };
    expect(() => lowerToOnnx(({ x, y }) => ({ outputs: { z: tf.concat([x, y], 1) } }), { inputs })).toThrow();
    const program = await compile(({ x }) => ({ outputs: { y: tf.neg(x) } }), { inputs: { x: vector(2) } });
    await expect(program.run({ x: new Float32Array(3) })).rejects.toThrow('"x" has 3 elements');
    await expect(program.run({})).rejects.toThrow('needs the input "x"');
  });

  it('recovers after a failed recording', async () => {
    expect(() =>
      lowerToOnnx(
        () => {
          throw new Error('mine');
        },
        { inputs: {} },
      ),
    ).toThrow('mine');
    const program = await compile(({ x }) => ({ outputs: { y: tf.neg(x) } }), { inputs: { x: vector(1) } });
    expect((await program.run({ x: Float32Array.of(2) })).y[0]).toBe(-2);
  });
});

describe('random', () => {
  it('is Philox 4×32-10 (known answers of the Random123 distribution)', () => {
    const hex = (words: number[]) => words.map((w) => w.toString(16).padStart(8, '0')).join(' ');
    expect(hex(philox4x32([0, 0, 0, 0], [0, 0]))).toBe('6627e8d5 e169c58d bc57ac4c 9b00dbd8');
    const pi = philox4x32([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0]);
    expect(hex(pi)).toBe('d16cfe09 94fdcceb 5001e420 24126ea1');
  });

  it('depends on its four coordinates alone', () => {
    const draw = (seed: number, stream: string, step: number, index: number) =>
      philox(seed, stream, step, index).uint32();
    const base = draw(1, 'a', 2, 3);
    expect(draw(1, 'a', 2, 3)).toBe(base);
    expect(new Set([base, draw(2, 'a', 2, 3), draw(1, 'b', 2, 3), draw(1, 'a', 3, 3), draw(1, 'a', 2, 4)]).size).toBe(
      5,
    );
  });

  it('draws standard normals', () => {
    const out = new Float32Array(100_001);
    fillNormal(out, 1, 100_000, 5, 'normal', 0, 0);
    const mean = out.reduce((a, b) => a + b) / 1e5;
    const variance = out.reduce((a, b) => a + b * b) / 1e5;
    expect(out[0]).toBe(0);
    expect(Math.abs(mean)).toBeLessThan(0.015);
    expect(Math.abs(variance - 1)).toBeLessThan(0.02);
  });

  it('permutes', () => {
    const order = permutation(100, 1, 'p', 0);
    expect([...order].sort((a, b) => a - b)).toEqual(Array.from({ length: 100 }, (_, i) => i));
    expect(permutation(100, 1, 'p', 1)).not.toEqual(order);
  });
});
