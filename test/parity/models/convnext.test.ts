import { convNext, convNextShape, convNextSpecs, readConvNextConfig } from '@fovea/models';
import { describe, expect, it } from 'vitest';
import { checkParity, readFixture } from './parity.ts';

describe('CLIP-ConvNeXt', () => {
  it.each(['convnext-linear', 'convnext-mlp'])('agrees with open_clip over timm: %s', async (name) => {
    const fixture = readFixture(name);
    const { config, dims, depths } = fixture.about;
    const c = { ...readConvNextConfig(config, name), dims, depths };
    await checkParity(fixture, convNextSpecs(c), (p, { pixels }) => {
      const { maps, ...output } = convNext(p, pixels, c);
      return { ...output, ...Object.fromEntries(maps.map((map, i) => [`maps.${i}`, map])) };
    });
    const { patches, prefix, width, projection } = convNextShape(c);
    expect(fixture.tensors['out/hidden'].shape).toEqual([1, prefix + patches, width]);
    expect(fixture.tensors['out/embeds'].shape).toEqual([1, projection]);
  });

  it('knows the trunks of open_clip and refuses others', () => {
    const config = (name: string) => ({ model_cfg: { embed_dim: 640, vision_cfg: { timm_model_name: name } } });
    const base = convNextSpecs(readConvNextConfig(config('convnext_base'), 'a.json'));
    const count = Object.values(base).reduce((n, { shape }) => n + shape.reduce((a, b) => a * b, 1), 0);
    expect(count).toBe(87_566_464 + 1024 * 640);
    expect(() => readConvNextConfig(config('vit_base_patch16_224'), 'a.json')).toThrow(/a\.json.*timm_model_name/);
  });
});
