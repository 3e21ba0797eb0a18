// Connectors against PyTorch: linear, MLP, Q-Former, DEEM's adapters and deformable sampling of feature maps.

import {
  adapterSpecs,
  adaptMaps,
  addText,
  connect,
  connectorSpecs,
  type DenseSkipConfig,
  denseSkipSpecs,
  denseSkips,
  type EncoderOutput,
  initialise,
} from '@fovea/models';
import { compile, mapValues } from '@fovea/tensor';
import { philox } from '@fovea/tensor/random';
import { describe, expect, it } from 'vitest';
import { checkParity, readFixture } from './parity.ts';

describe('connectors', () => {
  it('project by one layer or an MLP, and take a text embedding', async () => {
    const specs = {
      ...connectorSpecs('visual_proj', { kind: 'linear' }, 6, 8),
      ...connectorSpecs('project_clip', { kind: 'mlp' }, 6, 8),
    };
    await checkParity(readFixture('connectors-simple'), specs, (p, { tokens, text }) => ({
      linear: addText(connect(p, 'visual_proj', tokens, { kind: 'linear' }), text, 'mean'),
      mlp: connect(p, 'project_clip', tokens, { kind: 'mlp' }),
      repeated: addText(connect(p, 'project_clip', tokens, { kind: 'mlp', repeat: 5 }), text, 'token'),
    }));
  });

  it("agree with DEEM's Q-Former", async () => {
    const fixture = readFixture('connectors-perceiver');
    const connector = { kind: 'perceiver' as const, perceiver: fixture.about };
    await checkParity(fixture, connectorSpecs('connector', connector, 8, 10), (p, { tokens }) => ({
      condition: connect(p, 'connector', tokens, connector),
    }));
  });
});

const dense: DenseSkipConfig = {
  mapChannels: [3, 5],
  pooledWidth: 6,
  width: 8,
  heads: 2,
  points: 3,
  queryWidths: [8, 12],
};
const denseSpecs = { ...adapterSpecs('dense', dense), ...denseSkipSpecs('dense', dense) };

describe('dense skips', () => {
  it('agree with grid_sample, points outside included', async () => {
    await checkParity(readFixture('connectors-dense'), denseSpecs, (p, { skip, mid, fine, coarse, pooled }) => {
      const { tokens, maps } = adaptMaps(p, 'dense', { pooled, maps: [fine, coarse] } as EncoderOutput);
      const [toSkip, toMid] = denseSkips(p, 'dense', [skip, mid], maps, dense);
      return { tokens, skip: toSkip, mid: toMid };
    });
  });

  it('add exactly zero at the start', async () => {
    const weights = initialise(denseSpecs, 3);
    const shapes = { skip: [2, 8, 4, 4], mid: [2, 12, 2, 2], fine: [2, 36, 8], coarse: [2, 9, 8] };
    const program = await compile(
      ({ skip, mid, fine, coarse }, _state, p) => {
        const [toSkip, toMid] = denseSkips(p, 'dense', [skip, mid], [fine, coarse], dense);
        return { outputs: { toSkip, toMid } };
      },
      {
        inputs: mapValues(shapes, (shape) => ({ shape, dtype: 'float32' as const })),
        constants: mapValues(weights, (value) => ({ ...value, dtype: 'float32' as const })),
      },
    );
    const draw = (shape: number[], name: string) => {
      const rng = philox(5, name);
      return Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () => rng.normal());
    };
    const added = await program.run(mapValues(shapes, draw));
    expect(mapValues(added, ({ length }) => length)).toEqual({ toSkip: 2 * 8 * 16, toMid: 2 * 12 * 4 });
    for (const values of Object.values(added)) expect(values.every((x: number) => x === 0)).toBe(true);
    await program.dispose();
  });
});
