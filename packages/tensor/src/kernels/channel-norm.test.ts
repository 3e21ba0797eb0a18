// Group and batch norm, activations and interpolation: the property suite over random shapes and options.

import { describe, it } from 'vitest';
import { batchNorm, batchNormTraining, gelu, groupNorm, interpolate, quickGelu, silu } from '../functional/index.ts';
import type { Rng } from '../random.ts';
import { between, checkProperty, eagerEngines, oneOf, type Property } from '../testing.ts';
import type { Tensor } from '../tf.ts';

function drawField(rng: Rng, channels: number): number[] {
  const spatial = oneOf(rng, [[between(rng, 2, 6)], [between(rng, 2, 5), between(rng, 2, 5)]]);
  return [between(rng, 1, 3), channels, ...spatial];
}

const pointwise = (name: string, op: (x: Tensor) => Tensor): Property => ({
  name,
  draw: (rng) => ({
    op,
    shapes: [oneOf(rng, [[], [between(rng, 1, 9)], [between(rng, 1, 4), 3, between(rng, 1, 4)]])],
  }),
  range: [-4, 4],
});

const PROPERTIES: Property[] = [
  {
    name: 'groupNorm',
    draw: (rng) => {
      const groups = between(rng, 1, 3);
      const channels = groups * between(rng, 1, 3);
      const shapes = [drawField(rng, channels), [channels], [channels]];
      return { op: (x, gamma, beta) => groupNorm(x, groups, gamma, beta, 1e-2), shapes, options: { groups } };
    },
  },
  {
    name: 'batchNorm',
    draw: (rng) => {
      const c = between(rng, 1, 4);
      return { op: (x, g, b, m, v) => batchNorm(x, g, b, m, v), shapes: [drawField(rng, c), [c], [c], [c], [c]] };
    },
    range: [0.2, 2],
  },
  {
    name: 'batchNormTraining',
    draw: (rng) => {
      const c = between(rng, 1, 4);
      return { op: (x, g, b) => batchNormTraining(x, g, b, 1e-2).y, shapes: [drawField(rng, c), [c], [c]] };
    },
  },
  pointwise('silu', silu),
  pointwise('quickGelu', quickGelu),
  pointwise('gelu', (x) => gelu(x)),
  pointwise('gelu tanh', (x) => gelu(x, 'tanh')),
  ...(['nearest', 'bilinear', 'bicubic'] as const).flatMap((mode): Property[] => [
    {
      name: `interpolate ${mode} to a size`,
      draw: (rng) => {
        const options = {
          mode,
          size: [between(rng, 1, 9), between(rng, 1, 9)] as [number, number],
          ...(mode === 'nearest' ? {} : oneOf(rng, [{}, { alignCorners: true }, { antialias: true }])),
        };
        const shapes = [[between(rng, 1, 2), between(rng, 1, 3), between(rng, 1, 6), between(rng, 1, 6)]];
        return { op: (x) => interpolate(x, options), shapes, options };
      },
    },
    {
      name: `interpolate ${mode} by a scale`,
      draw: (rng) => {
        const options = { mode, scale: oneOf(rng, [2, 3, 0.5, [2, 1] as [number, number], 1.7]) };
        const shapes = [[between(rng, 1, 2), between(rng, 1, 3), between(rng, 2, 6), between(rng, 2, 6)]];
        return { op: (x) => interpolate(x, options), shapes, options };
      },
    },
  ]),
];

const engines = eagerEngines();

describe('norms, activations, interpolation: compiled = tfjs = differences', () => {
  it.each(PROPERTIES.map((p) => [p.name, p] as const))('%s', async (_name, property) => {
    await checkProperty(property, engines);
  });
});
