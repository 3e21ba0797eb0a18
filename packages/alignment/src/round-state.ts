// What a round reads of the checkpoint before it, and what it leaves in the store: parameters, and everything that its
// optimiser carries. It commits nothing, so a round that is cut short leaves only garbage.

import {
  type BlobRef,
  type Checkpoint,
  decodeSafetensors,
  encodeSafetensors,
  FoveaError,
  readCheckpoint,
  type Store,
} from '@fovea/artifacts';
import { initialise, type Weights } from '@fovea/models';
import type { Recipe, Round, Stage } from '@fovea/recipe';
import { type NumericArray, type Program, prefixed, sizeOf } from '@fovea/tensor';
import type { Branch } from './branch.ts';
import { decodeDelta, encodeDelta } from './delta.ts';
import { lossScaleStart } from './loss-scale.ts';
import type { ProbeResult } from './probe.ts';
import {
  type DeltaResult,
  type RoundMetrics,
  type RoundResult,
  roleOf,
  type Shard,
  type ShardMetrics,
  WHOLE,
} from './round.ts';
import { scales } from './step.ts';
import { decodeWeights, encodeWeights, type WeightFile } from './weights.ts';

/** A checkpoint that a round starts from. */
export interface Base {
  id: string;
  manifest: Checkpoint;
  file: WeightFile;
}

export async function loadBase(store: Store, id: string): Promise<Base> {
  const manifest = await readCheckpoint(store, id);
  const file = decodeWeights(await store.get(manifest.weights.sha256), `checkpoint ${id.slice(0, 12)}`);
  return { id, manifest, file };
}

/** What a shard's first step is given. */
export interface Start {
  /** The program's state by name. */
  state: Record<string, NumericArray>;
  /** Updates that the moments have taken, by which they are corrected for their start from zero. */
  updates: number;
  /** What the code of the shard's last move rounded away. */
  residual: Weights;
}

/** Names of a step's state: parameters, moments, their moving average, what the delta's code owes. */
const PARAMETER = 'p/';
export const AVERAGE = 'ema/';
const RESIDUAL = 'residual/';

/** Trained parameters as the round begins: the base's, adapters fresh. */
export function startingParameters({ specs }: Branch, base: Base, recipe: Recipe): Weights {
  const fresh = initialise(
    Object.fromEntries(Object.entries(specs).filter(([name]) => !(name in base.file.weights))),
    recipe.seed,
  );
  return Object.fromEntries(Object.keys(specs).map((name) => [name, base.file.weights[name] ?? fresh[name]]));
}

/** State of a shard's first step: parameters as above, moments of the base or zero at a stage's start. */
export async function startOf(
  store: Store,
  branch: Branch,
  base: Base,
  round: Round,
  recipe: Recipe,
  { index }: Shard,
): Promise<Start> {
  const parameters = startingParameters(branch, base, recipe);
  const carried = round.firstStep > 0 ? await carriedBy(store, base, round, index) : null;
  const scaling = scales(recipe) ? lossScaleStart() : {};
  const state: Record<string, NumericArray> = {};
  for (const [name, { shape }] of Object.entries(branch.stateSpecs)) {
    const parameter = name.match(/^(?:p|ema)\/(.*)$/)?.[1];
    const first =
      parameter === undefined ? (scaling[name] ?? new Float32Array(sizeOf(shape))) : parameters[parameter].data;
    state[name] = name.startsWith(PARAMETER) ? first : (carried?.tensors[name]?.data ?? first);
  }
  return { state, updates: carried?.updates ?? 0, residual: under(carried?.tensors ?? {}, RESIDUAL) };
}

interface Carried {
  tensors: Weights;
  updates: number;
}

/** Moments that shard `index` goes on from: its own of the round before, or the whole round's. */
async function carriedBy(store: Store, { id, manifest }: Base, round: Round, index: number): Promise<Carried> {
  const { inner, optimizer } = manifest;
  const own = inner ? inner[index % inner.length] : optimizer;
  if (!own)
    throw new FoveaError(
      `The checkpoint ${id.slice(0, 12)} has no optimiser state, so its stage cannot go on; start the stage anew.`,
    );
  const { tensors, metadata } = await readTensors(store, own, id);
  // A shard averages from the merged average on, as its parameters start from the merged ones.
  const merged =
    inner && optimizer ? prefixed(AVERAGE, under((await readTensors(store, optimizer, id)).tensors, AVERAGE)) : {};
  const updates = Number(metadata.updates ?? round.firstStep);
  return { tensors: { ...tensors, ...merged }, updates: Number.isSafeInteger(updates) ? updates : round.firstStep };
}

/** Every tensor of an optimiser's blob, and its metadata. */
export async function readTensors(
  store: Store,
  { sha256 }: BlobRef,
  checkpoint: string,
): Promise<{ tensors: Weights; metadata: Record<string, string> }> {
  const where = `the optimiser state of ${checkpoint.slice(0, 12)}`;
  const { tensors, metadata } = decodeSafetensors(await store.get(sha256), where);
  return { tensors: Object.fromEntries(tensors) as Weights, metadata };
}

export const under = (tensors: Weights, prefix: string): Weights =>
  Object.fromEntries(
    Object.entries(tensors).flatMap(([name, tensor]) =>
      name.startsWith(prefix) ? [[name.slice(prefix.length), tensor] as const] : [],
    ),
  );

/** Everything that a program carries, copied. */
export const stateOf = (program: Program, { stateSpecs }: Branch): Weights =>
  Object.fromEntries(
    Object.entries(stateSpecs).map(([name, { shape }]) => [
      name,
      { shape, data: program.getState(name) as Float32Array },
    ]),
  );

const momentsOf = (state: Weights): Weights =>
  Object.fromEntries(Object.entries(state).filter(([name]) => !name.startsWith(PARAMETER)));

/** The weights of the base with those trained in the round in their place. */
export const putWeights = (store: Store, { file }: Base, trained: Weights): Promise<BlobRef> =>
  store.put(encodeWeights({ weights: { ...file.weights, ...trained }, vocabulary: file.vocabulary }));

/** What a round that was not cut leaves. */
export async function saveRound(
  store: Store,
  state: Weights,
  base: Base,
  round: Round,
  updates: number,
  metrics: RoundMetrics,
): Promise<RoundResult> {
  // Said only where the stage's steps were not all one optimiser's, so that it changes no bit of ordinary training.
  const said = updates === round.firstStep + round.steps ? {} : { metadata: { updates: `${updates}` } };
  return {
    weights: await putWeights(store, base, under(state, PARAMETER)),
    optimizer: await store.put(encodeSafetensors(new Map(Object.entries(momentsOf(state))), said)),
    step: base.manifest.step + round.steps,
    metrics,
  };
}

/** What one shard of several leaves. Throws a FoveaError where its move is not finite. */
export async function saveShard(
  store: Store,
  state: Weights,
  start: Start,
  { recipe, round, shard = WHOLE }: { recipe: Recipe; round: Round; shard?: Shard },
  updates: number,
  metrics: ShardMetrics,
): Promise<DeltaResult> {
  const delta = Object.fromEntries(
    Object.entries(under(state, PARAMETER)).map(([name, { shape, data }]) => {
      const first = start.state[PARAMETER + name];
      return [name, { shape, data: data.map((x, i) => first[i] - x) }];
    }),
  );
  const where = nameOfShard(round, shard);
  const { bytes, residual } = encodeDelta(delta, recipe.shards.delta, start.residual, where);
  const inner = new Map(Object.entries({ ...momentsOf(state), ...prefixed(RESIDUAL, residual) }));
  return {
    delta: await store.put(bytes),
    inner: await store.put(encodeSafetensors(inner, { metadata: { updates: `${updates}` } })),
    samples: metrics.steps * recipe.stages[round.stageIndex].batch,
    metrics,
  };
}

/** The move of a shard, whose tensors are exactly the trained ones; a FoveaError where it is not. */
export async function readDelta(store: Store, { sha256 }: BlobRef, { specs }: Branch, where: string): Promise<Weights> {
  const delta = decodeDelta(await store.get(sha256), where);
  const wrong = Object.keys({ ...specs, ...delta }).find(
    (name) => !(name in specs) || delta[name]?.shape.join() !== specs[name].shape.join(),
  );
  if (wrong !== undefined)
    throw new FoveaError(`The move of ${where} does not fit the recipe at "${wrong}"; let its shard run again.`);
  return delta;
}

/** A shard as a sentence names it. */
export const nameOfShard = ({ round, track }: Round, { index, of }: Shard): string =>
  `shard ${index + 1} of ${of} of round ${round} of ${track}`;

/** An update can leave weights that are finite and yet give no finite loss; such a round must not become a checkpoint. */
export function checkAfter({ objective }: ProbeResult, round: Round, stage: Stage): void {
  if (Number.isFinite(objective)) return;
  throw new FoveaError(
    `After step ${round.firstStep + round.steps} of stage ${stage.stage} (${roleOf(round)}) the weights give a loss of ${objective} on the fixed batch, so the round is not kept; lower the stage's lr (${stage.lr}) or raise warmup.`,
  );
}
