// One round, or a shard of one: from the checkpoint before to the weights after, optimiser steps of one stage. It writes
// blobs to the store and commits nothing; where it is cut short only garbage is left there, or where it may go on.

import type { Store } from '@fovea/artifacts';
import type { Dataset } from '@fovea/data';
import type { Recipe } from '@fovea/recipe';
import type { NumericArray } from '@fovea/tensor';
import { Branch, branchKey } from './branch.ts';
import { encodeLatents } from './latents.ts';
import { mergeRound } from './merge-round.ts';
import { openNetworks } from './networks.ts';
import { shardRate } from './outer.ts';
import { readPartial, writePartial } from './partial.ts';
import {
  type DeltaResult,
  type MergeRequest,
  type Report,
  type RoundMetrics,
  type RoundRequest,
  type RoundResult,
  stepsOf,
  WHOLE,
} from './round.ts';
import { type Base, checkAfter, loadBase, saveRound, saveShard, startOf, stateOf } from './round-state.ts';
import { metricsOf, noSteps, takeSteps } from './steps.ts';
import { encodeWeights, startingWeights } from './weights.ts';

export interface TrainerOptions {
  store: Store;
  openDataset: (recipe: Recipe, recipeDir: string) => Promise<Dataset>;
  /** Milliseconds; injected so that tests can hold it still. @default performance.now */
  now?: () => number;
}

/** Of a round that trains nothing. */
const NOTHING: RoundMetrics = { ...metricsOf(noSteps(), 0), probe: { before: 0, after: 0, gap: null } };

/** Trains rounds and merges them, and keeps the compiled program of the branch it last worked on. */
export class Trainer {
  readonly #options: Required<TrainerOptions>;
  #branch: Branch | null = null;

  constructor(options: TrainerOptions) {
    this.#options = { now: () => performance.now(), ...options };
  }

  /**
   * Trains a round, or the steps of it that are a shard's. Where the signal is heard between two steps, the state so far
   * is written to the shard's partial ref and the signal's reason is thrown; the next call with the same request goes on
   * from there, to the same bits. Throws a FoveaError where training diverges.
   */
  train(request: RoundRequest & { shard?: undefined }, report: Report, signal: AbortSignal): Promise<RoundResult>;
  train(request: RoundRequest, report: Report, signal: AbortSignal): Promise<RoundResult | DeltaResult>;
  async train(request: RoundRequest, report: Report, signal: AbortSignal): Promise<RoundResult | DeltaResult> {
    const { recipe, recipeDir, round, shard = WHOLE } = request;
    const dataset = await this.#options.openDataset(recipe, recipeDir);
    const trains = round.stage !== 'init' && round.stage !== 'latents';
    if (!trains && shard.of !== 1) throw new Error(`a round of ${round.stage} is not cut into shards`);
    if (round.stage === 'init') return this.#init(recipe, recipeDir, dataset);
    const base = await loadBase(this.#options.store, request.base as string);
    return trains
      ? this.#train(request, base, dataset, report, signal)
      : this.#latents(request, base, dataset, report, signal);
  }

  /** Makes a round's weights of its shards, whichever of them are given. See {@link mergeRound}. */
  async merge(request: MergeRequest, report: Report): Promise<RoundResult> {
    const dataset = await this.#options.openDataset(request.recipe, request.recipeDir);
    const base = await loadBase(this.#options.store, request.base);
    const branch = await this.#open(request, base, dataset, report, false);
    return mergeRound(this.#options.store, branch, base, request, report);
  }

  async dispose(): Promise<void> {
    await this.#branch?.dispose();
    this.#branch = null;
  }

  async #init(recipe: Recipe, recipeDir: string, dataset: Dataset): Promise<RoundResult> {
    const file = await startingWeights(recipe, recipeDir, dataset.classes);
    const weights = await this.#options.store.put(encodeWeights(file));
    return { weights, optimizer: null, step: 0, metrics: NOTHING };
  }

  async #latents(
    { recipe, recipeDir }: RoundRequest,
    { manifest, file }: Base,
    dataset: Dataset,
    report: Report,
    signal: AbortSignal,
  ): Promise<RoundResult> {
    const networks = await openNetworks(recipe, recipeDir, file.vocabulary);
    const say = (step: number, steps: number) => report({ step, steps, text: 'encoding pictures' });
    await encodeLatents(this.#options.store, dataset, recipe, networks, say, signal);
    return { weights: manifest.weights, optimizer: null, step: manifest.step, metrics: NOTHING };
  }

  async #train(
    request: RoundRequest,
    base: Base,
    dataset: Dataset,
    report: Report,
    signal: AbortSignal,
  ): Promise<RoundResult | DeltaResult> {
    const { recipe, round, shard = WHOLE } = request;
    const { store, now } = this.#options;
    const branch = await this.#open(request, base, dataset, report, true);
    const { program, context } = branch;
    const parameter = (name: string): NumericArray => program.getState(`p/${name}`);
    const settled = async () => {
      await program.settle();
      return stateOf(program, branch);
    };
    const start = await startOf(store, branch, base, round, recipe, shard);
    program.setState(start.state);
    const before = shard.of === 1 ? await branch.probe(parameter) : null;
    const stopped = await readPartial(store, request, branch);
    if (stopped)
      program.setState(Object.fromEntries(Object.entries(stopped.state).map(([name, { data }]) => [name, data])));
    const done = stopped?.done ?? noSteps();
    const numbers = stepsOf(round, shard);
    const rate = shardRate(recipe.shards.outer, shard.of);
    await takeSteps(
      {
        ...{ program, context, dataset, numbers, updates: start.updates, rate, report, signal, now },
        onStop: async () => writePartial(store, request, { done, state: await settled() }),
        explain: (step, batch) => branch.explain(step, batch, base, dataset),
      },
      done,
    );
    const state = await settled();
    const after = await branch.probe(parameter);
    checkAfter(after, round, context.stage);
    const metrics = metricsOf(done, context.stage.batch);
    const updates = start.updates + numbers.length;
    if (!before) return saveShard(store, state, start, request, updates, metrics);
    const probe = { before: before.objective, after: after.objective, gap: after.gap };
    return saveRound(store, state, base, round, updates, { ...metrics, probe });
  }

  /** The request's branch, with what is needed of it compiled. */
  async #open(
    request: Omit<RoundRequest, 'shard'>,
    base: Base,
    dataset: Dataset,
    report: Report,
    trains: boolean,
  ): Promise<Branch> {
    if (this.#branch?.key !== branchKey(request)) {
      await this.dispose();
      report({ step: 0, steps: request.round.steps, text: 'compiling the step' });
      this.#branch = await Branch.open(this.#options.store, request, base, dataset);
    }
    await this.#branch.prepare(base, dataset, trains);
    return this.#branch;
  }
}
