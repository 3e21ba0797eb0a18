import {
  EFFICIENTNET_LITE0,
  type EfficientNetLiteConfig,
  efficientNetLite,
  efficientNetLiteShape,
  efficientNetLiteSpecs,
} from '@fovea/models';
import { expect, it } from 'vitest';
import { checkParity, readFixture } from './parity.ts';

it('EfficientNet-Lite agrees with timm', async () => {
  const fixture = readFixture('efficientnet-lite');
  const c: EfficientNetLiteConfig = fixture.about;
  await checkParity(fixture, efficientNetLiteSpecs(c), (p, { pixels }) => {
    const { maps, hidden, pooled, logits } = efficientNetLite(p, pixels, c);
    return { hidden, pooled, logits, ...Object.fromEntries(maps.map((map, i) => [`maps.${i}`, map])) };
  });
  const { patches, width } = efficientNetLiteShape(c);
  expect(fixture.tensors['out/hidden'].shape).toEqual([2, patches, width]);
});

it('EfficientNet-Lite0 has the parameters that were published', () => {
  const trained = Object.entries(efficientNetLiteSpecs(EFFICIENTNET_LITE0)).filter(([name]) => !/running_/.test(name));
  expect(trained.reduce((n, [, { shape }]) => n + shape.reduce((a, b) => a * b, 1), 0)).toBe(4_652_008);
});
