// The text towers of CLIP and SigLIP against transformers'. text.py wrote the fixtures.

import {
  clipText,
  clipTextSpecs,
  readClipTextConfig,
  readSiglipTextConfig,
  siglipText,
  siglipTextSpecs,
} from '@fovea/models';
import { describe, it } from 'vitest';
import { checkParity, readFixture } from './parity.ts';

describe("CLIP's text tower", () => {
  it.each([
    ['clip-text', 'pools at the first end of text'],
    ['clip-text-legacy', 'pools at the highest id where the configuration has the end of text wrong'],
    ['clip-text-bare', 'has no projection in Stable Diffusion'],
  ])('%s: %s', async (name) => {
    const fixture = readFixture(name);
    const config = readClipTextConfig(fixture.about, name);
    await checkParity(fixture, clipTextSpecs(config), (p, { ids }) => ({ ...clipText(p, ids, config) }));
  });
});

describe("SigLIP's text tower", () => {
  it('siglip-text: pools at the last token', async () => {
    const fixture = readFixture('siglip-text');
    const config = readSiglipTextConfig(fixture.about, 'siglip-text');
    await checkParity(fixture, siglipTextSpecs(config), (p, { ids }) => ({ ...siglipText(p, ids, config) }));
  });
});
