// Rounds end where the recipe says: at multiples of roundSteps, at the named steps, at the end.

import { describe, expect, it } from 'vitest';
import { planOf, recipeSchema } from './index.ts';

const recipe = (stage: object) =>
  recipeSchema.parse({
    name: 'plan',
    data: { kind: 'emoji-world' },
    weights: 'builtin:emoji',
    eval: { everyRounds: 100 },
    stages: [{ stage: 'align', lr: 1e-5, roles: ['aligned'], ...stage }],
  });

const ends = (stage: object) =>
  planOf(recipe(stage))
    .get('aligned')
    ?.map(({ firstStep, steps, scored }) => [firstStep + steps, scored]);

describe('the plan of a stage', () => {
  it('has a scored checkpoint at each step that is asked for, once', () => {
    expect(ends({ steps: 700, roundSteps: 300, saveAt: [50, 100, 300, 900] })).toEqual([
      [50, true],
      [100, true],
      [300, true],
      [600, false],
      [700, true],
    ]);
    expect(ends({ steps: 200, roundSteps: 100 })).toEqual([
      [100, false],
      [200, true],
    ]);
  });
});
