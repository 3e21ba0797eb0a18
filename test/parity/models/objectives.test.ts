// What the methods' objectives are made of, against diffusers and PyTorch: schedules, velocities, the masked loss, and the
// contrast of predicted noises with its gradients.

import {
  addNoise,
  coefficientsAt,
  diffusionLoss,
  latentMask,
  noiseContrast,
  readSchedule,
  unpackCoefficients,
} from '@fovea/diffusion';
import { tf } from '@fovea/tensor';
import { describe, expect, it } from 'vitest';
import { checkParity, readFixture } from './parity.ts';

describe('schedules', () => {
  const { about, tensors } = readFixture('objectives-schedules');
  const kinds: Record<string, string> = { epsilon: 'epsilon', v_prediction: 'velocity', sample: 'sample' };

  it.each([0, 1, 2, 3])('number %i is that of diffusers', (i) => {
    const { alphasCumprod, target } = readSchedule(about[i], 'scheduler_config.json');
    const wanted = tensors[`out/${i}`].data;
    expect(alphasCumprod.length).toBe(wanted.length);
    alphasCumprod.forEach((bar, step) => {
      expect(Math.abs(bar - wanted[step]), `step ${step}`).toBeLessThan(1e-7 + 2e-5 * wanted[step]);
    });
    expect(target).toBe(kinds[about[i].prediction_type]);
  });
});

describe('targets', () => {
  it('have the velocity of diffusers', async () => {
    const fixture = readFixture('objectives-velocity');
    const steps: number[] = fixture.about.steps;
    await checkParity(fixture, {}, (_p, { x0, noise }) => {
      const packed = steps.flatMap((step) => Object.values(coefficientsAt(step / 1000, 'velocity')));
      const c = unpackCoefficients(tf.tensor2d(packed, [steps.length, 4]));
      return { noisy: addNoise(x0, noise, c), velocity: tf.add(tf.mul(x0, c.x), tf.mul(noise, c.e)) };
    });
  });
});

describe('losses', () => {
  it("are DEEM's mean over masked latents", async () => {
    await checkParity(readFixture('objectives-masked'), {}, (_p, { output, target, mask }) => {
      const clean = unpackCoefficients(tf.tensor2d([1, 0, 1, 0, 1, 0, 1, 0], [2, 4]));
      const losses = diffusionLoss(
        output,
        target,
        tf.zerosLike(target),
        clean,
        'target',
        latentMask(tf.cast(mask, 'float32'), 4, 4),
      );
      return { loss: tf.mean(losses) };
    });
  });

  it.each(['objectives-contrast', 'objectives-contrast-view'])(
    "are DCR's contrast of predicted noises: %s",
    async (name) => {
      await checkParity(readFixture(name), {}, (_p, { predictions, target, positive }) => ({
        loss: noiseContrast(predictions, target, { positive }),
      }));
    },
  );
});
