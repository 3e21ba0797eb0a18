// What the tests of rounds share: one round trained and committed, as the train worker does it without the queue.

import { type Store, writeCheckpoint } from '@fovea/artifacts';
import type { Recipe, Round } from '@fovea/recipe';
import type { RoundMetrics } from './round.ts';
import type { Trainer } from './train-round.ts';

export interface TrainedRound {
  /** The checkpoint. */
  id: string;
  stage: Round['stage'];
  metrics: RoundMetrics;
}

export async function trainAndCommit(
  trainer: Trainer,
  store: Store,
  given: { recipe: Recipe; recipeDir: string; round: Round; base: string | null },
): Promise<TrainedRound> {
  const { recipe, round, base } = given;
  const request = { runId: 'run', ...given };
  const result = await trainer.train(request, () => {}, new AbortController().signal);
  const id = await writeCheckpoint(store, {
    version: 1,
    parent: base,
    track: round.track,
    stage: round.stage,
    round: round.round,
    step: result.step,
    weights: result.weights,
    optimizer: result.optimizer,
    cursor: { step: round.firstStep + round.steps },
    seed: recipe.seed,
    recipe: 'a'.repeat(64),
  });
  return { id, stage: round.stage, metrics: result.metrics };
}

/** Trains the trunk and the aligned branch of a recipe, with a new trainer for each round where `fresh` asks for it. */
export async function trainChain(
  open: () => Trainer,
  store: Store,
  rounds: readonly Round[],
  given: { recipe: Recipe; recipeDir: string; fresh?: boolean },
): Promise<TrainedRound[]> {
  let trainer = open();
  const done: TrainedRound[] = [];
  for (const round of rounds) {
    if (given.fresh) {
      await trainer.dispose();
      trainer = open();
    }
    const { recipe, recipeDir } = given;
    done.push(await trainAndCommit(trainer, store, { recipe, recipeDir, round, base: done.at(-1)?.id ?? null }));
  }
  await trainer.dispose();
  return done;
}
