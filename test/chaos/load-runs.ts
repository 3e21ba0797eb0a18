// Runs with very many committed rounds that nobody has scored, made directly in a store: the queue of a load test. The
// coordinator finds and queues the scores itself.

import { type Store, writeCheckpoint } from '@fovea/artifacts';
import {
  type Control,
  controlRef,
  controlSchema,
  createRun,
  DEFAULT_PRIORITY,
  type Fleet,
  type RunRecord,
  roundRecordSchema,
  roundRef,
  sendControl,
} from '@fovea/jobs';
import { planOf, type Recipe, recipeHash, recipeSchema } from '@fovea/recipe';
import { metrics } from '../../packages/jobs/test-fixtures/run.ts';

/** A recipe whose plan has so many scored rounds, two or more. */
function recipeOf(name: string, seed: number, scored: number): Recipe {
  return recipeSchema.parse({
    name,
    seed,
    data: { kind: 'emoji-world' },
    stages: [
      { stage: 'pretrain', steps: 10, roundSteps: 10, lr: 0.001 },
      { stage: 'projector', steps: 10, roundSteps: 10, lr: 0.001 },
      // The trunk's last checkpoint is scored too.
      { stage: 'align', steps: 10 * (scored - 1), roundSteps: 10, lr: 0.001, roles: ['aligned'] },
    ],
    eval: { suites: ['retention'] },
  });
}

/**
 * Makes runs all of whose rounds are committed; each wants `scored` scores and its report. No coordinator
 * sees them yet. Seeds tell checkpoints apart: one that was scored before would be scored at once.
 */
export async function trainedRuns(
  store: Store,
  { name, runs, scored, firstSeed }: { name: string; runs: number; scored: number; firstSeed: number },
): Promise<RunRecord[]> {
  const made: RunRecord[] = [];
  const weights = await store.put(new TextEncoder().encode('the weights of every checkpoint'));
  for (let i = 0; i < runs; i++) {
    const recipe = recipeOf(`${name}-${i}`, firstSeed + i, scored);
    const about = { recipe, recipeHash: recipeHash(recipe), recipeDir: store.root, recipeText: '', recipeSource: name };
    const run = await createRun(store, about, new Date(), 'submitted');
    await commitAll(store, run, weights);
    made.push(run);
  }
  return made;
}

async function commitAll(store: Store, run: RunRecord, weights: { sha256: string; size: number }): Promise<void> {
  for (const rounds of planOf(run.recipe).values()) {
    // In a chain they would be written one after the other; nobody follows the parents here.
    const commits = rounds.map(async ({ track, round, stage, firstStep, steps }) => {
      const checkpoint = await writeCheckpoint(store, {
        version: 1,
        ...{ parent: null, track, stage, round, step: firstStep + steps, weights, optimizer: null },
        ...{ cursor: { step: firstStep + steps }, seed: run.recipe.seed, recipe: run.recipeHash },
      });
      const record = { checkpoint, step: firstStep + steps, stage, metrics, committedAt: new Date().toISOString() };
      await store.createRef(roundRef(run.id, track, round), roundRecordSchema.parse(record));
    });
    await Promise.all(commits);
  }
}

/** Hands runs to the fleet's coordinator, as `submitRun` does with new ones. */
export async function submitAll(fleet: Fleet, runs: readonly RunRecord[]): Promise<void> {
  const control: Control = { version: 1, wants: 'run', session: 1, priority: DEFAULT_PRIORITY, deadline: null };
  for (const { id } of runs) {
    await fleet.store.writeRef(controlRef(id), controlSchema.parse(control));
    await sendControl(fleet, { type: 'run', run: id });
  }
}
