// The trainer on each accelerator: a round through the real store gives the CPU's losses, and a broken batch is named
// while nothing is written.

import { mkdtemp, readdir, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { Trainer } from '@fovea/alignment';
import { openStore, writeCheckpoint } from '@fovea/artifacts';
import type { Dataset } from '@fovea/data';
import { planOf, type Round, recipeSchema } from '@fovea/recipe';
import type { Device } from '@fovea/tensor';
import { philox } from '@fovea/tensor/random';
import { expect, it } from 'vitest';
import { onAccelerators } from './accelerators.ts';

const pictures = (broken: boolean): Dataset => ({
  kind: 'emoji-world',
  classes: ['red ball', 'blue ball', 'red cube'],
  imageSize: 8,
  trainSize: Number.POSITIVE_INFINITY,
  async trainBatch({ seed, stream, first, size }) {
    const labels = Int32Array.from({ length: size }, (_, i) => (first + i) % 3);
    const rng = philox(seed, stream, 0, first);
    const pixels = Float32Array.from({ length: size * 192 }, () => rng.uniform());
    if (broken && stream === 'pretrain' && first >= 8) pixels[5] = Number.NaN;
    return { pixels, labels, samples: [...labels].map((label) => ({ label, style: 'test', factors: null })) };
  },
});

const small = { width: 16, layers: 1, heads: 2 };

async function train(device: Device, broken = false) {
  const recipe = recipeSchema.parse({
    name: 'gpu',
    data: { kind: 'emoji-world', imageSize: 8 },
    encoder: { patchSize: 4, projection: 8, ...small },
    denoiser: { patchSize: 4, ...small },
    engine: { threads: 1, device },
    stages: [{ stage: 'pretrain', steps: 4, batch: 4, lr: 1e-3, warmup: 0, roundSteps: 4 }],
  });
  const folder = await mkdtemp(path.join(os.tmpdir(), 'fovea-gpu-'));
  const store = await openStore(folder);
  const trainer = new Trainer({ store, openDataset: async () => pictures(broken) });
  const run = (round: Round, base: string | null) =>
    trainer.train({ runId: 'run', recipe, recipeDir: folder, round, base }, () => {}, new AbortController().signal);
  try {
    const [init, round] = planOf(recipe).get('trunk') as Round[];
    const { weights, step } = await run(init, null);
    const { track, stage, round: number } = init;
    const manifest = { version: 1 as const, parent: null, track, stage, round: number, step, weights, optimizer: null };
    const id = await writeCheckpoint(store, { ...manifest, cursor: { step: 0 }, seed: 0, recipe: 'a'.repeat(64) });
    const files = (await readdir(folder, { recursive: true })).length;
    const result = await run(round, id).catch((error: Error) => error);
    return { result, wrote: (await readdir(folder, { recursive: true })).length - files };
  } finally {
    await trainer.dispose();
    await rm(folder, { recursive: true, force: true });
  }
}

onAccelerators('the trainer', (device) => {
  it('trains a round as on the CPU', { timeout: 300_000 }, async () => {
    const [here, there] = [(await train('cpu')).result, (await train(device)).result];
    if (here instanceof Error || there instanceof Error) throw there instanceof Error ? there : here;
    for (const [i, loss] of here.metrics.loss.entries())
      expect(Math.abs(there.metrics.loss[i] - loss) / loss, `loss ${i}`).toBeLessThan(1e-2);
    expect(Math.abs(there.metrics.probe.after - here.metrics.probe.after)).toBeLessThan(1e-2);
  });

  it('stops before an update that is not finite, and writes nothing', { timeout: 300_000 }, async () => {
    const { result, wrote } = await train(device, true);
    expect((result as Error).message).toMatch(
      /^Step 3 of stage pretrain \(aligned\) produced a NaN: .* the batch's pixels/,
    );
    expect(wrote).toBe(0);
  });
});
