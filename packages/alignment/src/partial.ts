// A shard that was stopped between two steps: its state is written down, and its next start, here or elsewhere, goes on
// from there to the same bits. A partial state that is missing, damaged or of something else is no loss but time.

import {
  decodeSafetensors,
  encodeSafetensors,
  type PartialShard,
  partialRef,
  partialShardSchema,
  type Store,
} from '@fovea/artifacts';
import type { Weights } from '@fovea/models';
import { recipeHash } from '@fovea/recipe';
import type { Branch } from './branch.ts';
import { type RoundRequest, stepsOf, WHOLE } from './round.ts';
import { nameOfShard } from './round-state.ts';
import type { StepsDone } from './steps.ts';

interface Stopped {
  done: StepsDone;
  /** The program's state after those steps. */
  state: Weights;
}

const refOf = ({ runId, round, shard = WHOLE }: RoundRequest) => partialRef(runId, round, shard);
const say = (request: RoundRequest, text: string, error?: unknown) =>
  console.error(
    `the partial state of ${nameOfShard(request.round, request.shard ?? WHOLE)} ${text}${error ? `: ${(error as Error).message}` : ''}`,
  );

/** Writes down where a shard was stopped. Never throws: a stop must not fail. */
export async function writePartial(store: Store, request: RoundRequest, { done, state }: Stopped): Promise<void> {
  if (done.loss.length === 0) return;
  try {
    const blob = await store.put(encodeSafetensors(new Map(Object.entries(state))));
    const partial = {
      version: 1 as const,
      base: request.base as string,
      recipe: recipeHash(request.recipe),
      state: blob,
      ...done,
    };
    await store.writeRef(refOf(request), partial satisfies PartialShard);
  } catch (error) {
    say(request, 'could not be written', error);
  }
}

/** Where a shard was stopped when it last started from the same base; null, and a line in the log, where it is of no use. */
export async function readPartial(store: Store, request: RoundRequest, branch: Branch): Promise<Stopped | null> {
  const ignore = (why: string, error?: unknown) => {
    say(request, `${why} and is ignored`, error);
    return null;
  };
  try {
    const value = await store.readRef(refOf(request));
    if (value === null) return null;
    const parsed = partialShardSchema.safeParse(value);
    if (!parsed.success) return ignore('is none of this version of Fovea');
    const { base, recipe, state: blob, seconds, loss, terms, norms } = parsed.data;
    if (base !== request.base || recipe !== recipeHash(request.recipe)) return ignore('is of another start');
    const most = stepsOf(request.round, request.shard ?? WHOLE).length;
    if (loss.length > most) return ignore('has more steps than the shard');
    const { tensors } = decodeSafetensors(await store.get(blob.sha256), 'a partial state');
    const state = Object.fromEntries(tensors) as Weights;
    const wrong = Object.keys({ ...state, ...branch.stateSpecs }).find(
      (name) =>
        !(state[name]?.data instanceof Float32Array) ||
        state[name].shape.join() !== branch.stateSpecs[name]?.shape.join(),
    );
    if (wrong !== undefined) return ignore(`does not fit at "${wrong}"`);
    return { done: { seconds, loss, terms, norms }, state };
  } catch (error) {
    return ignore('cannot be read', error);
  }
}
