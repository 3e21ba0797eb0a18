// What the tests of rounds share: a world and networks that train in milliseconds, and one round trained and committed
// as the train worker does it, without the queue.

import { type Store, writeCheckpoint } from '@fovea/artifacts';
import type { Dataset } from '@fovea/data';
import { type Recipe, type Round, recipeSchema } from '@fovea/recipe';
import { philox } from '@fovea/tensor/random';
import type { DeltaResult, MergeRequest, RoundMetrics, RoundResult, Shard } from './round.ts';
import type { Trainer } from './train-round.ts';

export const CLASSES = ['red ball', 'blue ball', 'red cube'];

/** Pictures of noise around a colour per class: enough to train on, and a function of (seed, stream, index) alone. */
export const dataset: Dataset = {
  kind: 'emoji-world',
  classes: CLASSES,
  imageSize: 8,
  trainSize: Number.POSITIVE_INFINITY,
  async trainBatch({ seed, stream, first, size }) {
    const labels = new Int32Array(size);
    const pixels = new Float32Array(size * 192);
    for (let i = 0; i < size; i++) {
      const rng = philox(seed, `test/${stream}`, 0, first + i);
      labels[i] = rng.int(3);
      for (let j = 0; j < 192; j++)
        pixels[i * 192 + j] = 0.3 * rng.uniform() + 0.3 * (Math.floor(j / 64) === labels[i] ? 1 : 0);
    }
    return { pixels, labels, samples: [...labels].map((label) => ({ label, style: 'test', factors: null })) };
  },
};

export const small = { width: 8, layers: 1, heads: 2 };
export const optimiser = { batch: 4, lr: 3e-3, warmup: 2, roundSteps: 4 };
export const recipeOf = (stages: unknown[], extra: object = {}): Recipe =>
  recipeSchema.parse({
    name: 'test',
    data: { kind: 'emoji-world', imageSize: 8 },
    encoder: { patchSize: 4, projection: 6, ...small },
    denoiser: { patchSize: 4, ...small },
    engine: { threads: 1 },
    stages,
    ...extra,
  });

export interface TrainedRound {
  /** The checkpoint. */
  id: string;
  stage: Round['stage'];
  metrics: RoundMetrics;
}

/** Commits what a round gave, as the merge job does. */
export const commit = (store: Store, { seed }: Recipe, round: Round, base: string | null, result: RoundResult) =>
  writeCheckpoint(store, {
    version: 1,
    parent: base,
    track: round.track,
    stage: round.stage,
    round: round.round,
    step: result.step,
    weights: result.weights,
    optimizer: result.optimizer,
    ...(result.inner && { inner: result.inner }),
    cursor: { step: round.firstStep + round.steps },
    seed,
    recipe: 'a'.repeat(64),
  });

export async function trainAndCommit(
  trainer: Trainer,
  store: Store,
  given: { recipe: Recipe; recipeDir: string; round: Round; base: string | null },
): Promise<TrainedRound> {
  const { recipe, round, base } = given;
  const result = await trainer.train({ runId: 'run', ...given }, () => {}, new AbortController().signal);
  const id = await commit(store, recipe, round, base, result);
  return { id, stage: round.stage, metrics: result.metrics };
}

/** Computes a round in `of` shards on one trainer and merges them; a round that trains nothing stays whole. */
export async function trainShards(
  trainer: Trainer,
  store: Store,
  given: { runId: string; recipe: Recipe; recipeDir: string; round: Round; base: string },
  of: number,
): Promise<TrainedRound & { parts: MergeRequest['shards'] }> {
  const { recipe, round, base } = given;
  const parts: (Shard & { result: DeltaResult })[] = [];
  for (let index = 0; index < of; index++) {
    const result = await trainer.train({ ...given, shard: { index, of } }, () => {}, new AbortController().signal);
    parts.push({ index, of, result: result as DeltaResult });
  }
  const merged = await trainer.merge({ ...given, shards: parts }, () => {});
  const id = await commit(store, recipe, round, base, merged);
  return { id, stage: round.stage, metrics: merged.metrics, parts };
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
