// Devices: a missing one is refused in a sentence, a present one proves that it did the work, and state that it keeps
// comes back whole. Runs for real on WebGPU where a Vulkan driver is there (a software one is enough), and says so
// where none is.

import { describe, expect, it } from 'vitest';
import { compile, type Program } from './compile.ts';
import { type Device, whyNot } from './devices.ts';
import { valueAndGrads } from './grads.ts';
import tf from './tf.ts';

const vector = (n: number) => ({ shape: [n], dtype: 'float32' as const });
const matrix = (n: number) => ({ shape: [n, n], dtype: 'float32' as const });

/** Gradient descent on |w x − 1|²; the guard is the gradient's sum. */
const descend = (device: Device) =>
  compile(
    ({ x }, { w, count }) => {
      const { value, grads } = valueAndGrads(
        (p) => ({ value: tf.sum(tf.square(tf.sub(tf.matMul(p.w as never, x as never), 1))) }),
        { w },
      );
      return {
        outputs: { loss: value, guard: tf.add(value, tf.sum(grads.w)) },
        state: { w: tf.sub(w, tf.mul(grads.w, 0.01)), count: tf.add(count, 1) },
        guard: 'guard',
        unguarded: ['count'],
      };
    },
    { inputs: { x: matrix(4) }, state: { w: matrix(4), count: vector(1) } },
    { device },
  );

const x = Float32Array.from({ length: 16 }, (_, i) => Math.sin(i));
const broken = x.map((value, i) => (i === 5 ? Number.NaN : value));

async function steps(program: Program, batches: Float32Array[]) {
  const losses: number[] = [];
  for (const batch of batches) losses.push((await program.run({ x: batch })).loss[0]);
  await program.settle();
  return { losses, w: program.getState('w'), count: program.getState('count')[0] };
}

for (const device of ['cuda', 'webgpu'] as const) {
  const reason = await whyNot(device);
  if (reason) console.log(`not run on ${device}: ${reason}`);

  describe(device, () => {
    it.skipIf(reason === null)('is refused in one sentence with a mend where it is missing', async () => {
      const error = await descend(device).catch((e: Error) => e);
      expect(error).toMatchObject({ name: 'FoveaError', message: reason });
      expect(reason).toMatch(new RegExp(`^The device ${device} .*(use device cpu|fp32)\\.$`));
    });

    it.skipIf(reason !== null)('does the work itself and equals the CPU', async () => {
      const [here, there] = [await descend('cpu'), await descend(device)];
      const [expected, actual] = [await steps(here, [x, x, x]), await steps(there, [x, x, x])];
      for (const [i, value] of expected.w.entries()) expect(actual.w[i]).toBeCloseTo(value, 5);
      expect(here.placement).toBeNull();
      const ops = Object.entries(there.placement ?? {});
      const [, own] = ops.find(([provider]) => new RegExp(device, 'i').test(provider)) ?? [];
      expect(Object.keys(own ?? {}).some((op) => /Gemm|MatMul/.test(op))).toBe(true);
    });

    it.skipIf(reason !== null)('keeps the state of a refused step, but for what is unguarded', async () => {
      const program = await descend(device);
      const good = await steps(program, [x]);
      const after = await steps(program, [broken]);
      expect(after.w).toEqual(good.w);
      expect(after.count).toBe(2);
      program.setState({ w: good.w });
      expect((await steps(program, [x])).losses[0]).toBeLessThan(good.losses[0]);
      await program.dispose();
    });
  });
}

describe('cpu', () => {
  it('keeps the state of a step whose guard is not finite, bit for bit', async () => {
    const program = await descend('cpu');
    const good = await steps(program, [x, x]);
    const after = await steps(program, [broken, broken]);
    expect(after.losses.every(Number.isNaN)).toBe(true);
    expect(after.w).toEqual(good.w);
    expect(after.count).toBe(4);
    const twin = await descend('cpu');
    expect((await steps(program, [x])).w).toEqual((await steps(twin, [x, x, x])).w);
  });

  it('refuses a guard that the step does not output', async () => {
    const build = compile(({ x }) => ({ outputs: { y: tf.neg(x) }, guard: 'z' }), { inputs: { x: vector(2) } });
    await expect(build).rejects.toThrow('guarded by "z"');
  });

  it('is always there', async () => {
    expect(await whyNot('cpu', 'bf16')).toBeNull();
  });
});

it('says that WebGPU has no bf16', async () => {
  expect(await whyNot('webgpu', 'bf16')).toMatch(/no bf16.*fp16 or fp32/);
});
