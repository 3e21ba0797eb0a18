// A run for tests: the smallest recipe that has a trunk and two roles, in a store of its own.

import { openStore, type Store } from '@fovea/artifacts';
import { type Recipe, recipeHash, recipeSchema } from '@fovea/recipe';
import { createRun } from '../src/runs.ts';
import type { RoundMetrics, RunRecord } from '../src/schemas.ts';

export const RECIPE_TEXT = `name: tiny
seed: 3
data: { kind: emoji-world }
stages:
  - { stage: pretrain, steps: 10, roundSteps: 10, lr: 0.001 }
  - { stage: projector, steps: 10, roundSteps: 10, lr: 0.001 }
  - { stage: align, steps: 20, roundSteps: 10, lr: 0.001, roles: [aligned, control] }
eval: { suites: [retention] }
engine: { hangTimeout: 2 }
`;

export const recipe: Recipe = recipeSchema.parse({
  name: 'tiny',
  seed: 3,
  data: { kind: 'emoji-world' },
  stages: [
    { stage: 'pretrain', steps: 10, roundSteps: 10, lr: 0.001 },
    { stage: 'projector', steps: 10, roundSteps: 10, lr: 0.001 },
    { stage: 'align', steps: 20, roundSteps: 10, lr: 0.001, roles: ['aligned', 'control'] },
  ],
  eval: { suites: ['retention'] },
  engine: { hangTimeout: 2 },
});

export async function testRun(
  dir: string,
  at = new Date('2026-11-01T10:20:30Z'),
): Promise<{ store: Store; run: RunRecord }> {
  const store = await openStore(dir);
  const about = {
    recipe,
    recipeHash: recipeHash(recipe),
    recipeDir: dir,
    recipeText: RECIPE_TEXT,
    recipeSource: 'tiny.yaml',
  };
  return { store, run: await createRun(store, about, at) };
}

export const metrics: RoundMetrics = {
  steps: 2,
  seconds: 1,
  imagesPerSecond: 128,
  loss: [2, 1],
  terms: { flow: [2, 1] },
  gradNorm: { encoder: 1 },
  probe: { before: 2, after: 1, gap: null },
};
