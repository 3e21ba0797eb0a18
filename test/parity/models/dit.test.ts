// DiT against diffusers' DiTTransformer2DModel, steered by labels and by a vector.

import { dit, ditSpecs, readDitConfig } from '@fovea/models';
import { describe, expect, it } from 'vitest';
import { checkParity, readFixture } from './parity.ts';

describe('DiT', () => {
  it('agrees with diffusers when steered by labels', async () => {
    const fixture = readFixture('dit-label');
    const c = readDitConfig(fixture.about, 'config.json');
    expect(c.outChannels).toBe(2 * c.inChannels);
    await checkParity(fixture, ditSpecs(c, 'label'), (p, { latents, t, label }) => ({
      prediction: dit(p, latents, t, { label }, c),
    }));
  });

  it('agrees with diffusers when a vector takes the place of the label, at another size', async () => {
    const fixture = readFixture('dit-vector');
    const c = readDitConfig(fixture.about, 'config.json');
    expect(fixture.tensors['in/latents'].shape[2]).not.toBe(c.sampleSize);
    await checkParity(fixture, ditSpecs(c, 'vector'), (p, { latents, t, vector }) => ({
      prediction: dit(p, latents, t, { vector }, c),
    }));
  });

  it('refuses norms that it does not have', () => {
    expect(() => readDitConfig({ norm_type: 'ada_norm_single' }, 'config.json')).toThrow(/norm_type/);
  });
});
