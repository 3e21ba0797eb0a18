// Autocast: products round as half precision does and nothing else, casts are shared and cancel, gradients stay close
// to fp32's, and what is lowered for CUDA is a program whose types fit.

import { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import { autocast, type Target } from './autocast.ts';
import { compile, lowerToOnnx, type StepFunction } from './compile.ts';
import { layerNorm } from './functional/index.ts';
import { valueAndGrads } from './grads.ts';
import type { NumericArray, Spec } from './graph.ts';
import { microBatches } from './microbatch.ts';
import type { OnnxNode } from './onnx-proto.ts';
import { philox } from './random.ts';
import tf, { type Tensor } from './tf.ts';

const f32 = (...shape: number[]): Spec => ({ shape, dtype: 'float32' });
const uniform = (n: number, stream: string) => {
  const rng = philox(3, stream);
  return Float32Array.from({ length: n }, () => 2 * rng.uniform() - 1);
};

/** Round to nearest even at `bits` bits of mantissa; exact for normal numbers of either half type. */
const rounder = (bits: number) => (x: number) => {
  if (x === 0) return 0;
  const unit = 2 ** (Math.floor(Math.log2(Math.abs(x))) - bits);
  const scaled = x / unit;
  const floor = Math.floor(scaled);
  const up = scaled - floor > 0.5 || (scaled - floor === 0.5 && floor % 2 !== 0);
  return (up ? floor + 1 : floor) * unit;
};
const ROUND = { fp16: rounder(10), bf16: rounder(7) };

const product: StepFunction = ({ a, b }) => ({ outputs: { y: tf.matMul(a as never, b as never) as Tensor } });

describe.each(['fp16', 'bf16'] as const)('%s on the CPU', (precision) => {
  it('rounds the operands and the result of a product, and sums in fp32', async () => {
    const [a, b] = [uniform(5 * 7, 'a'), uniform(7 * 4, 'b')];
    const program = await compile(product, { inputs: { a: f32(5, 7), b: f32(7, 4) } }, { precision });
    const { y } = await program.run({ a, b });
    const round = ROUND[precision];
    for (let i = 0; i < 5; i++) {
      for (let j = 0; j < 4; j++) {
        let sum = 0;
        for (let k = 0; k < 7; k++) sum += round(a[i * 7 + k]) * round(b[k * 4 + j]);
        expect(Math.abs(y[i * 4 + j] - round(sum)) / Math.abs(sum)).toBeLessThan(2 ** -(precision === 'fp16' ? 10 : 7));
        expect(y[i * 4 + j]).toBe(round(y[i * 4 + j]));
      }
    }
  });

  it('leaves sums, softmax and element-wise operations in fp32', async () => {
    const fn: StepFunction = ({ x }) => ({ outputs: { y: tf.softmax(tf.mul(tf.add(x, 1e5), 1.0001)), s: tf.sum(x) } });
    const [full, half] = [
      await compile(fn, { inputs: { x: f32(9) } }),
      await compile(fn, { inputs: { x: f32(9) } }, { precision }),
    ];
    const x = uniform(9, 'x');
    const { y, s } = await half.run({ x });
    const wanted = await full.run({ x });
    expect([...y, ...s]).toEqual([...wanted.y, ...wanted.s]);
  });

  it('keeps the gradients of a block close to those of fp32, and state in fp32', async () => {
    const [full, half] = [await gradients('fp32'), await gradients(precision)];
    for (const [name, wanted] of Object.entries(full)) {
      const difference = Math.hypot(...wanted.map((x, i) => x - half[name][i])) / Math.hypot(...wanted);
      expect(difference, name).toBeLessThan(precision === 'fp16' ? 3e-3 : 2.5e-2);
      expect(half[name], name).not.toEqual(wanted);
    }
  });
});

const [N, D, H] = [6, 8, 16];
const blockSpecs = { gamma: f32(D), beta: f32(D), w1: f32(D, H), b1: f32(H), w2: f32(H, D) };
const block: StepFunction = ({ x, ...params }) => {
  const { value, grads } = valueAndGrads((p) => {
    const h = tf.add(tf.matMul(layerNorm(x, p.gamma, p.beta) as never, p.w1 as never), p.b1);
    const scores = tf.softmax(tf.matMul(h as never, tf.transpose(h) as never) as Tensor); // [N, N]
    return { value: tf.mean(tf.square(tf.matMul(tf.matMul(scores as never, tf.relu(h) as never), p.w2 as never))) };
  }, params);
  return { outputs: { value, ...Object.fromEntries(Object.entries(grads).map(([k, g]) => [`d/${k}`, g])) } };
};
const blockSignature = { inputs: { x: f32(N, D), ...blockSpecs } };
const blockInputs = (): Record<string, NumericArray> =>
  Object.fromEntries(
    Object.entries(blockSignature.inputs).map(([name, { shape }]) => [
      name,
      uniform(
        shape.reduce((a, b) => a * b, 1),
        name,
      ),
    ]),
  );

async function gradients(precision: Target['precision']): Promise<Record<string, number[]>> {
  const program = await compile(block, blockSignature, { precision });
  return Object.fromEntries(Object.entries(await program.run(blockInputs())).map(([k, v]) => [k, [...v]]));
}

describe('the pass', () => {
  const matMul = (inputs: string[], output: string): OnnxNode => ({ op: 'MatMul', inputs, outputs: [output] });
  const count = (nodes: OnnxNode[], op: string) => nodes.filter((node) => node.op === op).length;
  const cuda: Target = { device: 'cuda', precision: 'fp16' };

  it('does nothing in fp32', () => {
    const nodes = [matMul(['a', 'b'], 'y')];
    expect(autocast(nodes, ['y'], { device: 'cuda', precision: 'fp32' })).toBe(nodes);
  });

  it('casts an operand once, and a product that feeds a product never', () => {
    const nodes = autocast(
      [matMul(['a', 'b'], 'y'), matMul(['a', 'y'], 'z'), matMul(['z', 'b'], 'out')],
      ['out'],
      cuda,
    );
    expect(count(nodes, 'Cast')).toBe(3); // a, b, and out back to fp32
    expect(nodes.at(-1)).toMatchObject({ op: 'Cast', outputs: ['out'] });
  });

  it('moves numbers in half precision, and casts before a transpose that a product is fused with', () => {
    const nodes = autocast(
      [
        { op: 'Transpose', inputs: ['w'], outputs: ['wt'] },
        matMul(['x', 'wt'], 'y'),
        { op: 'Reshape', inputs: ['y', 'shape'], outputs: ['r'] },
        matMul(['r', 'wt'], 'z'),
        { op: 'Relu', inputs: ['z'], outputs: ['out'] },
      ],
      ['out'],
      cuda,
    );
    expect(nodes.map(({ op }) => op)).toEqual([
      'Cast',
      'Cast',
      'Transpose',
      'MatMul',
      'Reshape',
      'MatMul',
      'Cast',
      'Relu',
    ]);
  });

  it('emulates on CUDA what bf16 has no kernel for', () => {
    const conv = { op: 'Conv', inputs: ['x', 'w'], outputs: ['y'] };
    const nodes = autocast([conv, matMul(['y', 'w'], 'out')], ['out'], { device: 'cuda', precision: 'bf16' });
    const used = nodes.find(({ op }) => op === 'Conv') as OnnxNode;
    const maker = nodes.find(({ outputs }) => outputs[0] === used.inputs[0]) as OnnxNode;
    expect(maker).toMatchObject({ op: 'Cast', attributes: { to: { int: 1 } } });
  });

  it('lowers for CUDA a program whose types fit: the CPU takes it', async () => {
    const { bytes } = lowerToOnnx(block, blockSignature, cuda);
    const session = await InferenceSession.create(bytes, { logSeverityLevel: 3 });
    const inputs = blockInputs();
    const feeds = Object.fromEntries(
      Object.entries(blockSignature.inputs).map(([k, { shape }]) => [
        k,
        new OrtTensor('float32', inputs[k] as Float32Array, shape),
      ]),
    );
    const results = await session.run(feeds);
    const wanted = await gradients('fp32');
    for (const [name, values] of Object.entries(wanted)) {
      const got = results[name].data as Float32Array;
      expect(Math.hypot(...values.map((x, i) => x - got[i])) / Math.hypot(...values), name).toBeLessThan(3e-3);
    }
  });
});

describe('slices', () => {
  const sliced: StepFunction = ({ x, w }) => {
    const { mean } = microBatches(3, { x }, (slice) => {
      const { value, grads } = valueAndGrads(
        (p) => ({
          value: tf.mean(tf.square(tf.matMul(tf.relu(tf.matMul(slice.x as never, p.w as never)), p.w as never))),
        }),
        { w },
      );
      return { mean: { value, w: grads.w } };
    });
    return { outputs: { value: mean.value, 'd/w': mean.w } };
  };
  const signature = { inputs: { x: f32(6, D), w: f32(D, D) } };
  const inputs = { x: uniform(6 * D, 'x'), w: uniform(D * D, 'w') };

  it('are cast inside, their shared weights once outside', async () => {
    const { bytes } = lowerToOnnx(sliced, signature, { device: 'cuda', precision: 'fp16' });
    const session = await InferenceSession.create(bytes, { logSeverityLevel: 3 });
    const results = await session.run({
      x: new OrtTensor('float32', inputs.x, [6, D]),
      w: new OrtTensor('float32', inputs.w, [D, D]),
    });
    const run = async (precision: Target['precision']) => {
      const program = await compile(sliced, signature, { precision });
      return Object.fromEntries(Object.entries(await program.run(inputs)).map(([k, v]) => [k, [...v]]));
    };
    const [full, half] = [await run('fp32'), await run('fp16')];
    for (const [name, wanted] of Object.entries(full)) {
      const off = (got: ArrayLike<number>) => Math.hypot(...wanted.map((x, i) => x - got[i])) / Math.hypot(...wanted);
      expect(off(results[name].data as Float32Array), name).toBeLessThan(3e-3);
      expect(off(half[name]), name).toBeLessThan(3e-3);
      expect(off(half[name]), name).toBeGreaterThan(1e-6);
    }
  });
});
