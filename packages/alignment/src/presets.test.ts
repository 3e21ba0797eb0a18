// A tiny version of every published method, trained for a few steps through the very rounds of a run on the emoji world:
// losses fall, what is frozen stays, what learns moves.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { openStore, readCheckpoint, type Store } from '@fovea/artifacts';
import { loadRecipe, planOf, presetNames, type Recipe } from '@fovea/recipe';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openData } from './data.ts';
import { type TrainedRound, trainChain } from './testing.ts';
import { Trainer } from './train-round.ts';
import { decodeWeights } from './weights.ts';

let folder: string;
let store: Store;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'fovea-presets-'));
  store = await openStore(path.join(folder, 'store'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const SHORT = ['projector', 'align'].flatMap((stage) => [
  `stages.${stage}.steps=${stage === 'projector' ? 24 : 6}`,
  `stages.${stage}.roundSteps=24`,
  `stages.${stage}.warmup=2`,
  `stages.${stage}.batch=8`,
  `stages.${stage}.saveAt=[]`,
]);

function train(recipe: Recipe): Promise<TrainedRound[]> {
  const dataset = openData(recipe, { recipeDir: '', cacheDir: path.join(folder, 'cache') });
  const plan = planOf(recipe);
  const rounds = ['trunk', 'aligned'].flatMap((track) => plan.get(track as 'trunk') ?? []);
  return trainChain(() => new Trainer({ store, openDataset: () => dataset }), store, rounds, { recipe, recipeDir: '' });
}

const weightsOf = async (id: string) =>
  decodeWeights(await store.get((await readCheckpoint(store, id)).weights.sha256), id).weights;

describe('tiny presets', async () => {
  const names = (await presetNames()).filter((name) => name.endsWith('-tiny'));

  it('there is one of each published method', () => {
    expect(names).toEqual(['dcr-tiny', 'deem-tiny', 'diva-tiny', 'genhancer-tiny', 'un2clip-tiny']);
  });

  it.each(names)('%s trains', { timeout: 240_000 }, async (name) => {
    const { recipe } = await loadRecipe(name, { set: [...SHORT, 'stages.align.roles=[aligned]', 'data.concepts=6'] });
    const trained = await train(recipe);
    expect(trained.map(({ stage }) => stage)).toEqual(['init', 'projector', 'align']);
    const [, projector, align] = trained;
    expect(projector.metrics.probe.after).toBeLessThan(projector.metrics.probe.before);
    for (const { metrics } of [projector, align]) {
      expect(metrics.loss.every(Number.isFinite)).toBe(true);
      expect(Object.values(metrics.gradNorm).every((norm) => norm > 0)).toBe(true);
    }
    const [before, after] = [await weightsOf(projector.id), await weightsOf(align.id)];
    const moved = Object.keys(after).filter(
      (key) => !before[key] || before[key].data.some((x, i) => x !== after[key].data[i]),
    );
    const also = new Set(recipe.stages.flatMap((stage) => (stage.stage === 'align' ? stage.alsoTrains : [])));
    expect(moved.some((key) => /^vision_model\./.test(key))).toBe(true);
    expect(moved.some((key) => key.startsWith('projector.'))).toBe(also.has('projector'));
    expect(moved.some((key) => key.startsWith('denoiser.') || key.startsWith('text_'))).toBe(false);
  });

  it('give the same checkpoints twice, random tokens and draws and all', { timeout: 240_000 }, async () => {
    const { recipe } = await loadRecipe('diva-tiny', {
      set: [
        ...SHORT,
        'stages.projector.steps=2',
        'stages.align.steps=2',
        'stages.align.roles=[aligned]',
        'data.concepts=6',
      ],
    });
    const ids = async () => (await train(recipe)).map(({ id }) => id);
    expect(await ids()).toEqual(await ids());
  });
});
