// CLIP's picture tower against transformers' CLIPVisionModelWithProjection. clip-vit.py wrote the fixtures.

import { clipVit, clipVitShape, clipVitSpecs, readClipVitConfig } from '@fovea/models';
import { describe, expect, it } from 'vitest';
import { checkParity, readFixture } from './parity.ts';

describe("CLIP's picture tower", () => {
  it.each([
    ['clip-vit-quick-gelu', 'as OpenAI has it'],
    ['clip-vit-gelu', 'with GELU, another epsilon and a picture of no whole number of patches'],
    ['clip-vit-large', 'at a higher resolution than its own'],
    ['clip-vit-wide', 'on a picture that is not square'],
    ['clip-vit-bare', 'without a projection'],
  ])('%s: %s', async (name) => {
    const fixture = readFixture(name);
    const config = readClipVitConfig(fixture.about, name);
    await checkParity(fixture, clipVitSpecs(config), (p, { pixels }) => {
      const { hidden, normed, pooled, embeds } = clipVit(p, pixels, config);
      return { hidden, normed, pooled, embeds };
    });
  });

  it('tells the shape of what it gives', () => {
    const shape = clipVitShape(readClipVitConfig({ model_type: 'clip_vision_model' }, 'B/32'));
    expect(shape).toEqual({
      imageSize: { height: 224, width: 224 },
      patches: 49,
      prefix: 1,
      width: 768,
      projection: 512,
    });
  });
});
