// Programs on each accelerator against the same programs on the CPU: values and gradients of every family of
// operations, in fp32 and in the half precisions that the device has.

import {
  attention,
  avgPool2d,
  compile,
  conv2d,
  convTranspose2d,
  crossEntropy,
  gelu,
  groupNorm,
  interpolate,
  layerNorm,
  maxPool2d,
  microBatches,
  type NumericArray,
  quickGelu,
  rmsNorm,
  type StepFunction,
  silu,
  type Tensor,
  tf,
  valueAndGrads,
  whyNot,
} from '@fovea/tensor';
import { philox } from '@fovea/tensor/random';
import { expect, it } from 'vitest';
import { onAccelerators } from './accelerators.ts';

type Op = (...xs: Tensor[]) => Tensor;
const any = (op: unknown) => op as Op;

/** Name, function of float tensors, their shapes. */
const CASES: [string, Op, number[][]][] = [
  ['element-wise', (x) => tf.tanh(tf.mul(tf.sigmoid(x), tf.sub(tf.exp(x), tf.square(x)))), [[3, 5]]],
  [
    'broadcasting',
    (x, y) => tf.div(tf.add(x, y), tf.add(tf.square(y), 1)),
    [
      [4, 1, 3],
      [2, 1],
    ],
  ],
  ['sqrt and log', (x) => tf.log(tf.sqrt(tf.add(tf.square(x), 1))), [[7]]],
  ['erf and relu', (x) => tf.add(tf.erf(x), tf.relu(x)), [[2, 9]]],
  ['where', (x, y) => tf.where(tf.tensor1d([1, 0, 1, 1], 'bool'), x, tf.mul(y, 2)), [[4], [4]]],
  [
    'matMul',
    any(tf.matMul),
    [
      [9, 17],
      [17, 5],
    ],
  ],
  [
    'matMul, transposed',
    (a, b) => tf.matMul(a as never, b as never, true, true),
    [
      [2, 6, 3],
      [2, 5, 6],
    ],
  ],
  [
    'matMul, batched',
    any(tf.matMul),
    [
      [2, 3, 4, 5],
      [2, 3, 5, 6],
    ],
  ],
  ['sum and mean', (x) => tf.mul(tf.sum(x, [0, 2]), tf.mean(x)), [[2, 3, 4]]],
  ['max', (x) => tf.max(x, -1), [[3, 6]]],
  ['softmax', (x) => tf.softmax(x), [[4, 9]]],
  ['logSoftmax', (x) => tf.logSoftmax(x), [[4, 9]]],
  ['transpose and reshape', (x) => tf.reshape(tf.transpose(x, [2, 0, 1]), [4, 6]), [[2, 3, 4]]],
  [
    'slice and concat',
    (x, y) => tf.concat([tf.slice(x, [0, 1], [2, 2]), y], 1),
    [
      [2, 4],
      [2, 3],
    ],
  ],
  ['split in many', (x) => tf.addN(tf.split(x, 12, 1).map((part, i) => tf.mul(part, i + 1))), [[2, 24]]],
  [
    'pad and tile',
    (x) =>
      tf.tile(
        tf.pad(x, [
          [1, 0],
          [0, 2],
        ]),
        [2, 1],
      ),
    [[2, 3]],
  ],
  ['gather', (x) => tf.gather(x, tf.tensor1d([2, 0, 2], 'int32')), [[3, 4]]],
  ['layerNorm', (x, g, b) => layerNorm(x, g, b), [[3, 5, 8], [8], [8]]],
  ['quickGelu', (x) => quickGelu(x), [[3, 5]]],
  ['rmsNorm', (x, g) => rmsNorm(x, g), [[3, 5, 8], [8]]],
  ['groupNorm', (x, g, b) => groupNorm(x, 2, g, b), [[2, 4, 3, 3], [4], [4]]],
  ['gelu and silu', (x) => tf.add(gelu(x), silu(x)), [[3, 5]]],
  [
    'attention',
    (q, k, v) => attention(q, k, v),
    [
      [2, 2, 7, 8],
      [2, 2, 5, 8],
      [2, 2, 5, 8],
    ],
  ],
  [
    'attention, causal',
    (q, k, v) => attention(q, k, v, { causal: true }),
    [
      [1, 2, 6, 4],
      [1, 2, 6, 4],
      [1, 2, 6, 4],
    ],
  ],
  ['conv2d', (x, w, b) => conv2d(x, w, b, { padding: 1 }), [[2, 3, 6, 6], [4, 3, 3, 3], [4]]],
  [
    'conv2d, strided',
    (x, w) => conv2d(x, w, null, { stride: 2 }),
    [
      [2, 4, 8, 8],
      [4, 4, 2, 2],
    ],
  ],
  [
    'convTranspose2d',
    (x, w) => convTranspose2d(x, w, null, { stride: 2 }),
    [
      [1, 3, 4, 4],
      [3, 2, 2, 2],
    ],
  ],
  ['avgPool2d', (x) => avgPool2d(x, 2), [[1, 2, 6, 6]]],
  ['interpolate', (x) => interpolate(x, { scale: 2, mode: 'bilinear' }), [[1, 2, 4, 4]]],
  ['crossEntropy', (x) => crossEntropy(x, tf.tensor1d([0, 2, 1, 1], 'int32')), [[4, 3]]],
];

/** Value and gradients under a fixed cotangent. */
function withGradients(
  op: Op,
  shapes: number[][],
): [StepFunction, Record<string, { shape: number[]; dtype: 'float32' }>] {
  const inputs = Object.fromEntries(shapes.map((shape, i) => [`x${i}`, { shape, dtype: 'float32' as const }]));
  const fn: StepFunction = (given) => {
    const { value, grads, aux } = valueAndGrads((p) => {
      const y = op(...Object.values(p));
      const weight = tf.tensor(
        Float32Array.from({ length: y.size }, (_, i) => Math.cos(i + 1)),
        y.shape,
      );
      return { value: tf.sum(tf.mul(y, weight)), aux: { y } };
    }, given);
    return {
      outputs: { value, y: aux.y, ...Object.fromEntries(Object.entries(grads).map(([k, g]) => [`d/${k}`, g])) },
    };
  };
  return [fn, inputs];
}

async function run(op: Op, shapes: number[][], options: Parameters<typeof compile>[2]) {
  const [fn, inputs] = withGradients(op, shapes);
  const program = await compile(fn, { inputs }, options);
  const values = Object.fromEntries(
    Object.entries(inputs).map(([name, { shape }]) => {
      const rng = philox(1, name);
      return [name, Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => 4 * rng.uniform() - 2)];
    }),
  );
  const out = Object.fromEntries(Object.entries(await program.run(values)).map(([k, v]) => [k, v.slice()]));
  const { placement } = program;
  await program.dispose();
  return { out, placement };
}

/** ‖a − b‖ / ‖b‖. */
const distance = (a: NumericArray, b: NumericArray) => {
  const difference = Math.hypot(...[...b].map((x, i) => x - a[i]));
  return difference === 0 ? 0 : difference / Math.hypot(...b);
};

onAccelerators('kernels', (device) => {
  // CUDA multiplies fp32 in TF32, whose mantissa has 10 bits; NVIDIA_TF32_OVERRIDE=0 turns that off.
  const tolerance = device === 'cuda' ? 2e-3 : 2e-5;

  it.each(CASES)('%s and its gradient as on the CPU', { timeout: 120_000 }, async (_name, op, shapes) => {
    const [here, there] = [await run(op, shapes, {}), await run(op, shapes, { device })];
    for (const [name, wanted] of Object.entries(here.out))
      expect(distance(there.out[name], wanted), name).toBeLessThan(tolerance);
  });

  it('takes a batch in slices, or says that it cannot', { timeout: 120_000 }, async () => {
    const fn: StepFunction = ({ x, w }) => ({
      outputs: microBatches(2, { x }, (slice) => ({ mean: { y: tf.mean(tf.matMul(slice.x as never, w as never)) } }))
        .mean,
    });
    const inputs = { x: { shape: [4, 8], dtype: 'float32' as const }, w: { shape: [8, 8], dtype: 'float32' as const } };
    const values = { x: Float32Array.from({ length: 32 }, (_, i) => Math.sin(i)), w: new Float32Array(64).fill(0.5) };
    const [here, there] = [await compile(fn, { inputs }), await compile(fn, { inputs }, { device })];
    const wanted = (await here.run(values)).y[0];
    const got = await there.run(values).then(
      ({ y }) => y[0],
      (error: Error) => error.message,
    );
    console.log(`slices on ${device}: ${got}, on the cpu ${wanted}; ${JSON.stringify(there.placement)}`);
    if (typeof got === 'number') expect(Math.abs(got - wanted)).toBeLessThan(tolerance);
    else expect(got).toMatch(/left .* to the CPU; use/);
  });

  it('differentiates max pooling, or says that it cannot', { timeout: 120_000 }, async () => {
    const shapes = [[1, 2, 6, 6]];
    const here = await run((x) => maxPool2d(x, 2), shapes, {});
    const there = await run((x) => maxPool2d(x, 2), shapes, { device }).catch((error: Error) => error);
    if (there instanceof Error)
      expect(there.message).toMatch(/^The operation MaxPool does not run on \w+ .*use device cpu\.$/);
    else
      for (const [name, wanted] of Object.entries(here.out))
        expect(distance(there.out[name], wanted), name).toBeLessThan(tolerance);
  });

  it('puts products on the device', async () => {
    const { placement } = await run(
      any(tf.matMul),
      [
        [8, 8],
        [8, 8],
      ],
      { device },
    );
    const own = Object.entries(placement ?? {}).filter(([provider]) => new RegExp(device, 'i').test(provider));
    expect(own.flatMap(([, ops]) => Object.keys(ops)).some((op) => /Gemm|MatMul/.test(op))).toBe(true);
  });

  it.each(['fp16', 'bf16'] as const)('%s is close to fp32, or refused in a sentence', async (precision) => {
    const shapes = [
      [64, 96],
      [96, 32],
    ];
    const reason = await whyNot(device, precision);
    if (reason !== null) {
      console.log(`skipped in ${precision} on ${device}: ${reason}`);
      await expect(run(any(tf.matMul), shapes, { device, precision })).rejects.toThrow(reason);
      return;
    }
    const [full, half] = [
      await run(any(tf.matMul), shapes, {}),
      await run(any(tf.matMul), shapes, { device, precision }),
    ];
    for (const [name, wanted] of Object.entries(full.out))
      expect(distance(half.out[name], wanted), name).toBeLessThan(precision === 'fp16' ? 5e-3 : 3e-2);
  });
});
