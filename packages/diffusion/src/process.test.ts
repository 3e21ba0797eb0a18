// The forward process against the numbers of the specification, and its identities on random pictures.

import { jsEngine, type Tensor, tf } from '@fovea/tensor';
import { philox } from '@fovea/tensor/random';
import { describe, expect, it } from 'vitest';
import { addNoise, coefficientsAt, diffusionLoss, stepOf, type TargetKind, unpackCoefficients } from './process.ts';
import { sample } from './sampler.ts';
import { alphasCumprod, readSchedule } from './schedule.ts';
import { DEEM_REMAP, drawTimestep, remapStep } from './timesteps.ts';

describe('schedule', () => {
  it('has the cumulative alphas of Stable Diffusion 2.1', () => {
    const wanted: Record<number, number> = { 0: 0.99915, 200: 0.753692, 500: 0.276333, 799: 0.037195, 999: 0.00466 };
    for (const [step, value] of Object.entries(wanted)) expect(alphasCumprod[Number(step)]).toBeCloseTo(value, 5);
    expect(coefficientsAt(0.5, 'epsilon').a).toBeCloseTo(0.5257, 4);
    const snr = (step: number) => alphasCumprod[step] / (1 - alphasCumprod[step]);
    expect(snr(200)).toBeCloseTo(3.06, 3);
    expect(snr(799)).toBeCloseTo(0.0386, 4);
  });

  it('ends in pure noise where its file says so', () => {
    const { alphasCumprod: bars } = readSchedule({ rescale_betas_zero_snr: true, num_train_timesteps: 50 }, 'file');
    expect(coefficientsAt(1, 'velocity', bars)).toEqual({ a: 0, b: 1, x: -1, e: 0 });
    expect(coefficientsAt(0, 'epsilon', bars).a).toBeGreaterThan(0.99);
  });

  it.each([
    [{ beta_schedule: 'sigmoid' }, 'beta_schedule'],
    [{ trained_betas: [0.1] }, 'trained_betas — betas given one by one are not supported'],
    [{ _class_name: 'FlowMatchEulerDiscreteScheduler' }, '_class_name — a flow-matching scheduler has no betas'],
    [{ prediction_type: 'flow_prediction' }, 'prediction_type'],
  ])('refuses a file with %j', (json, message) => {
    expect(() => readSchedule(json, 'here.json')).toThrow(`The configuration here.json cannot be used: ${message}`);
  });

  it('finds every step again from its time', () => {
    for (const steps of [7, 500, 1000])
      for (let step = 0; step < steps; step++) expect(stepOf(step / steps, steps)).toBe(step);
    expect(stepOf(1, 1000)).toBe(999);
  });

  it('has velocities that rotate picture and noise into each other', () => {
    for (const t of [0, 0.2, 0.5, 0.999]) {
      const { a, b, x, e } = coefficientsAt(t, 'velocity');
      expect(a * a + b * b).toBeCloseTo(1, 12);
      expect(a * x + b * e).toBeCloseTo(0, 12);
      expect(x * x + e * e).toBeCloseTo(1, 12);
    }
  });

  it('keeps the variance of epsilon training and the line of rectified flow', () => {
    for (const t of [0, 0.1, 0.5, 0.9, 1]) {
      const { a, b } = coefficientsAt(t, 'epsilon');
      expect(a * a + b * b).toBeCloseTo(1, 12);
      const flow = coefficientsAt(t, 'flow');
      expect(flow.a + flow.b).toBe(1);
    }
  });
});

describe('timesteps', () => {
  const draws = (sampling: Parameters<typeof drawTimestep>[1]) =>
    Array.from({ length: 4000 }, (_, i) => drawTimestep(philox(3, 't', 0, i), sampling)).sort((x, y) => x - y);

  it('stays in the range that a uniform sampling names (DEEM reads 200 to 799)', () => {
    const t = draws({ kind: 'uniform', min: 0.2, max: 0.8 });
    expect(t[0]).toBeGreaterThanOrEqual(0.2);
    expect(t[t.length - 1]).toBeLessThan(0.8);
    expect(t[2000]).toBeCloseTo(0.5, 1);
  });

  it('are whole steps of a discrete sampling, each as likely as another', () => {
    const steps = draws({ kind: 'discrete', steps: 10 }).map((t) => stepOf(t, 10));
    for (let step = 0; step < 10; step++)
      expect(Math.abs(steps.filter((s) => s === step).length - 400)).toBeLessThan(80);
  });

  it("are moved to the middle by DEEM's remap: 600 values from 200 to 799", () => {
    const moved = Array.from({ length: 1000 }, (_, step) => remapStep(step, DEEM_REMAP));
    expect([moved[0], moved[500], moved[999]]).toEqual([200, 500, 799]);
    expect(new Set(moved).size).toBe(600);
    const drawn = draws({ kind: 'discrete', steps: 1000, remap: DEEM_REMAP }).map((t) => stepOf(t, 1000));
    expect(drawn[0]).toBeGreaterThanOrEqual(200);
    expect(drawn[drawn.length - 1]).toBeLessThanOrEqual(799);
    expect(drawn[2000]).toBeGreaterThan(470);
    expect(drawn[2000]).toBeLessThan(530);
  });

  it('spread by the scale of a sigmoid-normal', () => {
    const quantile = draws({ kind: 'sigmoid-normal', mean: 0, std: 2 })[Math.round(4000 * 0.8413)];
    expect(quantile).toBeCloseTo(1 / (1 + Math.exp(-2)), 1);
  });

  it('has its median at the sigmoid of the mean', () => {
    expect(draws({ kind: 'sigmoid-normal', mean: 0.8, std: 1 })[2000]).toBeCloseTo(1 / (1 + Math.exp(-0.8)), 1);
  });
});

const shape = [2, 3, 4, 4];
const size = 2 * 3 * 16;
const picture = (index: number) => {
  const rng = philox(1, 'picture', 0, index);
  return Float32Array.from({ length: size }, () => rng.normal());
};

async function lossOf(kind: TargetKind, prediction: 'sample' | 'target', output: 'x0' | 'target'): Promise<number[]> {
  const pixels = { shape, dtype: 'float32' as const };
  const packed = Float32Array.from([0.3, 0.8].flatMap((t) => Object.values(coefficientsAt(t, kind))));
  const { loss } = await jsEngine.run(
    ({ x0, noise, c }) => {
      const coefficients = unpackCoefficients(c);
      const target = tf.add(tf.mul(x0, coefficients.x), tf.mul(noise, coefficients.e)) as Tensor;
      return { outputs: { loss: diffusionLoss(output === 'x0' ? x0 : target, x0, noise, coefficients, prediction) } };
    },
    { inputs: { x0: pixels, noise: pixels, c: { shape: [2, 4], dtype: 'float32' } } },
    { x0: picture(0), noise: picture(1), c: packed },
  );
  return [...loss];
}

describe('loss', () => {
  it.each(['flow', 'epsilon', 'velocity', 'sample'] as const)(
    'is zero for a perfect prediction of either kind (%s)',
    async (kind) => {
      expect(Math.max(...(await lossOf(kind, 'sample', 'x0')))).toBe(0);
      expect(Math.max(...(await lossOf(kind, 'target', 'target')))).toBeLessThan(1e-10);
    },
  );

  it('leaves its inputs as they were', async () => {
    const [x0, noise] = [picture(0), picture(1)];
    const pixels = { shape, dtype: 'float32' as const };
    await jsEngine.run(
      ({ x0: x, noise: e, c }) => ({ outputs: { noisy: addNoise(x, e, unpackCoefficients(c)) } }),
      { inputs: { x0: pixels, noise: pixels, c: { shape: [2, 4], dtype: 'float32' } } },
      { x0, noise, c: new Float32Array(8).fill(0.5) },
    );
    expect(x0).toEqual(picture(0));
    expect(noise).toEqual(picture(1));
  });
});

describe('sampler', () => {
  it.each([
    ['flow', 'sample'],
    ['flow', 'target'],
    ['epsilon', 'sample'],
    ['epsilon', 'target'],
    ['velocity', 'target'],
    ['sample', 'target'],
  ] as const)('comes back to the picture under a perfect network (%s, %s)', async (target, prediction) => {
    const x0 = picture(0);
    const network = async (x: Float32Array, t: number) => {
      const { a, b, x: cx, e } = coefficientsAt(Math.min(t, 0.999), target);
      if (prediction === 'sample') return x0;
      return x.map((xt, i) => cx * x0[i] + e * ((xt - a * x0[i]) / b));
    };
    const out = await sample(network, picture(1), { steps: 8, target, prediction });
    const worst = out.reduce((w, v, i) => Math.max(w, Math.abs(v - x0[i])), 0);
    expect(worst).toBeLessThan(2e-2);
  });
});
