// SigLIP's picture tower against transformers' SiglipVisionModel. siglip.py wrote the fixtures.

import { readSiglipConfig, siglip, siglipSpecs } from '@fovea/models';
import { describe, it } from 'vitest';
import { checkParity, readFixture } from './parity.ts';

describe("SigLIP's picture tower", () => {
  it.each([
    ['siglip', 'on a picture of no whole number of patches'],
    ['siglip-large', 'at a higher resolution than its own'],
    ['siglip-wide', 'on a picture that is not square'],
  ])('%s: %s', async (name) => {
    const fixture = readFixture(name);
    const config = readSiglipConfig(fixture.about, name);
    await checkParity(fixture, siglipSpecs(config), (p, { pixels }) => {
      const { hidden, normed, pooled, embeds } = siglip(p, pixels, config);
      return { hidden, normed, pooled, embeds };
    });
  });
});
