// DINOv2 against transformers' Dinov2Model and Dinov2WithRegistersModel. dinov2.py wrote the fixtures.

import { dinov2, dinov2Specs, readDinov2Config } from '@fovea/models';
import { describe, it } from 'vitest';
import { checkParity, readFixture } from './parity.ts';

describe('DINOv2', () => {
  it.each([
    ['dinov2', 'with an MLP'],
    ['dinov2-swiglu', 'with a SwiGLU and no mask token'],
    ['dinov2-wide', 'on a picture that is not square, without biases of queries, keys and values'],
    ['dinov2-registers', 'with registers'],
    ['dinov2-registers-wide', 'with registers on a picture that is not square, enlarged and shrunk'],
  ])('%s: %s', async (name) => {
    const fixture = readFixture(name);
    const config = readDinov2Config(fixture.about, name);
    await checkParity(fixture, dinov2Specs(config), (p, { pixels }) => {
      const { hidden, normed, pooled, embeds } = dinov2(p, pixels, config);
      return { hidden, normed, pooled, embeds };
    });
  });
});
