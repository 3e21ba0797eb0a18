// The flow transformer against diffusers' FluxTransformer2DModel, packing and positions included.

import { flux, fluxSpecs, readFluxConfig } from '@fovea/models';
import { describe, expect, it } from 'vitest';
import { checkParity, readFixture } from './parity.ts';

describe('flux', () => {
  it.each(['flux', 'flux-guidance'])('agrees with diffusers: %s', async (name) => {
    const fixture = readFixture(name);
    const c = readFluxConfig(fixture.about, `${name}/config.json`);
    await checkParity(fixture, fluxSpecs(c), (p, { latents, t, tokens, vector, guidance }) => ({
      velocity: flux(p, latents, t, { tokens, vector }, c, guidance),
    }));
  });

  it("has GenHancer's shape: 2 double and 4 single blocks of 3072, 1.3 billion parameters", () => {
    const c = readFluxConfig({ num_layers: 2, num_single_layers: 4, guidance_embeds: true }, 'config.json');
    const count = Object.values(fluxSpecs(c)).reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b), 0);
    expect(c.numAttentionHeads * c.attentionHeadDim).toBe(3072);
    expect(count / 1e9).toBeCloseTo(1.31, 1);
  });

  it('refuses axes that do not fill a head', () => {
    expect(() => readFluxConfig({ attention_head_dim: 64 }, 'config.json')).toThrow(
      'The configuration config.json cannot be used: axes_dims_rope — must add up to attention_head_dim.',
    );
  });
});
