// The align step of the default recipe's shape, small: three optimiser steps on each accelerator as on the CPU, with
// parameters and moments kept where the device keeps them.

import { modelSpecs, openNetworks, stepScalars, stepSignature, trainableSpecs, trainStep } from '@fovea/alignment';
import { initialise } from '@fovea/models';
import { recipeSchema } from '@fovea/recipe';
import { compile, type Device, mapValues, type NumericArray } from '@fovea/tensor';
import { philox } from '@fovea/tensor/random';
import { expect, it } from 'vitest';
import { onAccelerators } from './accelerators.ts';

const small = { width: 32, layers: 2, heads: 2 };
const stage = { batch: 4, lr: 1e-3, warmup: 0, steps: 10 };
const recipe = recipeSchema.parse({
  name: 'gpu',
  data: { kind: 'emoji-world', imageSize: 16 },
  encoder: { patchSize: 4, projection: 16, ...small },
  denoiser: { patchSize: 4, ...small },
  stages: [
    { stage: 'pretrain', ...stage },
    { stage: 'projector', ...stage },
    { stage: 'align', ...stage, contrastive: 1, retention: 0.5 },
  ],
});

async function train(device: Device, steps: number) {
  const align = recipe.stages[2];
  const networks = await openNetworks(recipe, '', ['a', 'b', 'c']);
  const weights = mapValues(initialise(modelSpecs(networks), 4), ({ shape, data }, name) => ({
    shape,
    dtype: 'float32' as const,
    data: data.map((x, i) => x + 0.02 * Math.sin(i + name.length)),
  }));
  const trainable = mapValues(trainableSpecs(align, networks), ({ shape }) => ({ shape, dtype: 'float32' as const }));
  const frozen = Object.fromEntries(Object.entries(weights).filter(([name]) => !(name in trainable)));
  const reference = Object.fromEntries(Object.entries(weights).map(([name, value]) => [`reference/${name}`, value]));
  const names = {
    shape: [3, 3],
    dtype: 'float32' as const,
    data: Float32Array.of(0.5, 0.5, 0, 0, 0.5, 0.5, 0.5, 0, 0.5),
  };
  const signature = {
    ...stepSignature(align, recipe, trainable, networks),
    constants: { ...frozen, ...reference, names },
  };
  const program = await compile(trainStep({ stage: align, role: 'aligned', recipe, networks }), signature, { device });
  program.setState(Object.fromEntries(Object.keys(trainable).map((name) => [`p/${name}`, weights[name].data])));
  const losses: number[] = [];
  for (let i = 0; i < steps; i++) {
    const batch = mapValues(signature.inputs, ({ shape, dtype }, name): NumericArray => {
      const rng = philox(2, name, i);
      const size = shape.reduce((a, b) => a * b, 1);
      return dtype === 'int32'
        ? Int32Array.from({ length: size }, () => rng.int(3))
        : Float32Array.from({ length: size }, () => rng.uniform());
    });
    losses.push((await program.run({ ...batch, scalars: stepScalars(i, align.steps, align) })).loss[0]);
  }
  await program.settle();
  const end = Object.fromEntries(Object.keys(signature.state ?? {}).map((name) => [name, program.getState(name)]));
  const { placement } = program;
  await program.dispose();
  return { losses, end, placement };
}

onAccelerators('the align step', (device) => {
  it('gives the losses and moments of the CPU', { timeout: 300_000 }, async () => {
    const [here, there] = [await train('cpu', 3), await train(device, 3)];
    const tolerance = device === 'cuda' ? 1e-2 : 1e-3;
    for (const [i, loss] of here.losses.entries())
      expect(Math.abs(there.losses[i] - loss) / loss, `loss ${i}`).toBeLessThan(tolerance);
    const moments = Object.keys(here.end).filter((name) => name.startsWith('m/'));
    const squares = (of: (name: string, i: number) => number) =>
      Math.sqrt(moments.reduce((sum, name) => [...here.end[name]].reduce((s, _x, i) => s + of(name, i) ** 2, sum), 0));
    const off = squares((name, i) => there.end[name][i] - here.end[name][i]) / squares((name, i) => here.end[name][i]);
    expect(off).toBeLessThan(tolerance * 5);
    console.log(
      `${device}: operations by provider ${JSON.stringify(mapValues(there.placement ?? {}, (ops) => Object.values(ops).reduce((a, b) => a + b, 0)))}`,
    );
  });
});
