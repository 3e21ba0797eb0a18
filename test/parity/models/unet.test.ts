// The U-Nets of Stable Diffusion 1, 2 and Stable unCLIP against diffusers, whose fixtures unet.py writes.

import { readUnetConfig, unet, unetSkipShapes, unetSpecs } from '@fovea/models';
import { tf } from '@fovea/tensor';
import { describe, expect, it } from 'vitest';
import { checkParity, readFixture } from './parity.ts';

describe("Stable Diffusion's U-Net is diffusers' UNet2DConditionModel", () => {
  it.each([
    ['sd1', 'convolutions around transformers, odd sides'],
    ['sd2', 'linear layers, heads by resolution, residuals'],
    ['unclip', 'class labels, fractional times, an odd side'],
  ])('%s: %s', async (name) => {
    const fixture = readFixture(`unet-${name}`);
    const { timesteps, skipShapes = [] } = fixture.about;
    const config = readUnetConfig(fixture.about.config, name);
    await checkParity(fixture, unetSpecs(config), (p, { latents, condition, classLabels, ...given }) => {
      const { skips, mid } = unetSkipShapes(config, ...(latents.shape.slice(2) as [number, number]));
      if (skipShapes.length > 0) expect([...skips, mid]).toEqual(skipShapes);
      const residuals = skipShapes.map((_: number[], i: number) => given[`residual${i}`]);
      const options = residuals.length > 0 ? { midResidual: residuals.pop(), skipResiduals: residuals } : {};
      return { sample: unet(p, latents, tf.tensor1d(timesteps), condition, config, { classLabels, ...options }) };
    });
  });
});
