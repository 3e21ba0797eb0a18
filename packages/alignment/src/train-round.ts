// One round: from the checkpoint before to the weights after, `steps` optimiser steps of one stage. It writes blobs to
// the store and commits nothing; a round that is cut short leaves only garbage there.

import { decodeSafetensors, encodeSafetensors, FoveaError, readCheckpoint, type Store } from '@fovea/artifacts';
import type { Dataset } from '@fovea/data';
import { initialise, type ParamSpecs, type Weights } from '@fovea/models';
import type { Recipe, Role, Round, Stage } from '@fovea/recipe';
import { compile, type NumericArray, type Program, sizeOf } from '@fovea/tensor';
import { stepBatch } from './batch.ts';
import { explainDivergence } from './divergence.ts';
import { encodeLatents, withLatents } from './latents.ts';
import { lossScaleStart, SCALE } from './loss-scale.ts';
import { trainableSpecs } from './model.ts';
import { type Constants, type Networks, openNetworks } from './networks.ts';
import { stepScalars } from './optim.ts';
import { Probe, type ProbeResult } from './probe.ts';
import { NAMES, REFERENCE, type StepContext, scales, stepSignature, trainStep } from './step.ts';
import { decodeWeights, encodeWeights, startingWeights, type WeightFile } from './weights.ts';

export interface RoundRequest {
  runId: string;
  recipe: Recipe;
  recipeDir: string;
  round: Round;
  /** Checkpoint to start from; null for the first of a run. */
  base: string | null;
}

export interface RoundMetrics {
  steps: number;
  seconds: number;
  imagesPerSecond: number;
  /** Objective per step. */
  loss: number[];
  /** Each named term per step. */
  terms: Record<string, number[]>;
  /** Mean gradient norm per module. */
  gradNorm: Record<string, number>;
  /** Objective on a fixed batch before and after, and how much worse shuffled conditions predict it. */
  probe: { before: number; after: number; gap: number | null };
}

export interface RoundResult {
  weights: { sha256: string; size: number };
  optimizer: { sha256: string; size: number } | null;
  /** Optimiser steps since the run's start. */
  step: number;
  metrics: RoundMetrics;
}

export interface RoundProgress {
  step: number;
  steps: number;
  loss?: number;
  imagesPerSecond?: number;
  text?: string;
}

export interface TrainerOptions {
  store: Store;
  openDataset: (recipe: Recipe, recipeDir: string) => Promise<Dataset>;
  /** Milliseconds; injected so that tests can hold it still. @default performance.now */
  now?: () => number;
}

const PROGRESS_MS = 400;

/** Of a round that trains nothing. */
const NOTHING: RoundMetrics = {
  steps: 0,
  seconds: 0,
  imagesPerSecond: 0,
  loss: [],
  terms: {},
  gradNorm: {},
  probe: { before: 0, after: 0, gap: null },
};

interface Prepared {
  key: string;
  networks: Networks;
  program: Program;
  probe: Probe;
}

/** Trains rounds and keeps the compiled program of the branch it last worked on. */
export class Trainer {
  readonly #options: Required<TrainerOptions>;
  #prepared: Prepared | null = null;

  constructor(options: TrainerOptions) {
    this.#options = { now: () => performance.now(), ...options };
  }

  async train(
    request: RoundRequest,
    report: (progress: RoundProgress) => void,
    signal: AbortSignal,
  ): Promise<RoundResult> {
    const { recipe, recipeDir, round } = request;
    const dataset = await this.#options.openDataset(recipe, recipeDir);
    if (round.stage === 'init') return this.#init(recipe, recipeDir, dataset);
    const base = await this.#load(request.base as string);
    const stage = recipe.stages[round.stageIndex];
    if (round.stage === 'latents') return this.#latents(base, dataset, request, report, signal);
    const { networks, program, probe } = await this.#prepare(request, stage, base, dataset, report);
    const specs = trainableSpecs(stage, networks);
    const start = await startOfStage(specs, base, round, recipe, networks);
    program.setState(start);
    const before = await probe.run((name) => program.getState(`p/${name}`));
    const explain = async (step: number, batch: Record<string, NumericArray>) =>
      explainDivergence({
        context: { stage, role: roleOf(round), recipe, networks },
        step,
        trainable: asTensors(specs),
        constants: await this.#constants(stage, networks, specs, base, dataset),
        batch,
        state: (name) => program.getState(name),
      });
    const metrics = await this.#loop(program, dataset, request, stage, networks, report, signal, explain);
    await program.settle();
    const after = await probe.run((name) => program.getState(`p/${name}`));
    checkAfter(after, round, stage);
    return this.#save(program, recipe, networks, specs, base, round, metrics, before, after);
  }

  async #init(recipe: Recipe, recipeDir: string, dataset: Dataset): Promise<RoundResult> {
    const file = await startingWeights(recipe, recipeDir, dataset.classes);
    const weights = await this.#options.store.put(encodeWeights(file));
    return { weights, optimizer: null, step: 0, metrics: NOTHING };
  }

  async #latents(
    { manifest, file }: Base,
    dataset: Dataset,
    { recipe, recipeDir }: RoundRequest,
    report: (progress: RoundProgress) => void,
    signal: AbortSignal,
  ): Promise<RoundResult> {
    const networks = await openNetworks(recipe, recipeDir, file.vocabulary);
    const say = (step: number, steps: number) => report({ step, steps, text: 'encoding pictures' });
    await encodeLatents(this.#options.store, dataset, recipe, networks, say, signal);
    return { weights: manifest.weights, optimizer: null, step: manifest.step, metrics: NOTHING };
  }

  async #load(id: string) {
    const manifest = await readCheckpoint(this.#options.store, id);
    const file = decodeWeights(await this.#options.store.get(manifest.weights.sha256), `checkpoint ${id.slice(0, 12)}`);
    return { id, manifest, file, moments: () => this.#moments(manifest.optimizer, id) };
  }

  async #moments(optimizer: { sha256: string } | null, id: string): Promise<Record<string, Float32Array>> {
    if (!optimizer)
      throw new FoveaError(
        `The checkpoint ${id.slice(0, 12)} has no optimiser state, so its stage cannot go on; start the stage anew.`,
      );
    const { tensors } = decodeSafetensors(
      await this.#options.store.get(optimizer.sha256),
      `the optimiser state of ${id.slice(0, 12)}`,
    );
    return Object.fromEntries([...tensors].map(([name, { data }]) => [name, data as Float32Array]));
  }

  async #prepare(
    request: RoundRequest,
    stage: Stage,
    base: Base,
    dataset: Dataset,
    report: (progress: RoundProgress) => void,
  ): Promise<Prepared> {
    const { recipe, recipeDir, round } = request;
    const key = `${request.runId}/${round.track}/${round.stageIndex}`;
    if (this.#prepared?.key === key) return this.#prepared;
    await this.#prepared?.program.dispose();
    await this.#prepared?.probe.dispose();
    this.#prepared = null;
    report({ step: 0, steps: round.steps, text: 'compiling the step' });
    const opened = await openNetworks(recipe, recipeDir, base.file.vocabulary);
    const networks = await withLatents(this.#options.store, dataset, recipe, opened);
    const specs = trainableSpecs(stage, networks);
    const context: StepContext = { stage, role: roleOf(round), recipe, networks };
    const constants = await this.#constants(stage, networks, specs, base, dataset);
    const trainable = asTensors(specs);
    const { threads, device, precision } = recipe.engine;
    const program = await compile(
      trainStep(context),
      { ...stepSignature(stage, recipe, trainable, networks), constants },
      { threads, device, precision },
    );
    const probe = await Probe.open(context, trainable, constants, dataset, { threads, device });
    this.#prepared = { key, networks, program, probe };
    return this.#prepared;
  }

  /** Frozen tensors of a step: what the stage does not train, the class names' bags, and the starting encoder for retention. */
  async #constants(stage: Stage, networks: Networks, specs: ParamSpecs, base: Base, dataset: Dataset) {
    const frozen: Constants = { ...networks.frozen };
    const add = (name: string, { shape, data }: Weights[string]) => {
      frozen[name] = { shape, dtype: 'float32', data };
    };
    for (const [name, weight] of Object.entries(base.file.weights)) if (!(name in specs)) add(name, weight);
    if (networks.text) frozen[NAMES] = networks.text.describe(dataset.classes);
    if (stage.stage === 'align' && stage.retention > 0) {
      const start = await this.#startOf(base);
      for (const [name, weight] of Object.entries(start))
        if (name in networks.encoder.specs) add(REFERENCE + name, weight);
    }
    return frozen;
  }

  /** Weights of the checkpoint before the base's stage: where the branch began. */
  async #startOf(base: Base): Promise<Weights> {
    let { id, manifest } = base;
    while (manifest.stage === 'align' && manifest.parent) {
      id = manifest.parent;
      manifest = await readCheckpoint(this.#options.store, id);
    }
    return id === base.id ? base.file.weights : (await this.#load(id)).file.weights;
  }

  async #loop(
    program: Program,
    dataset: Dataset,
    request: RoundRequest,
    stage: Stage,
    networks: Networks,
    report: (progress: RoundProgress) => void,
    signal: AbortSignal,
    explain: (step: number, batch: Record<string, NumericArray>) => Promise<FoveaError>,
  ) {
    const { recipe, round } = request;
    const loss: number[] = [];
    const terms: Record<string, number[]> = {};
    const norms: Record<string, number> = {};
    const started = this.#options.now();
    let reported = started;
    let next = stepBatch(dataset, recipe, stage, round.firstStep, networks);
    for (let i = 0; i < round.steps; i++) {
      signal.throwIfAborted();
      const step = round.firstStep + i;
      const batch = await next;
      if (i + 1 < round.steps) next = stepBatch(dataset, recipe, stage, step + 1, networks);
      next.catch(() => {});
      const out = await program.run({ ...batch, scalars: stepScalars(step, stage.steps, stage) });
      if (!Number.isFinite(out.health[0])) {
        await program.settle();
        // In fp16 an overflowing gradient is the scale's to mend; a loss that overflows is not.
        const mends = scales(recipe) && Number.isFinite(out.loss[0]) && program.getState(SCALE)[0] >= 1;
        if (!mends) throw await explain(step, batch);
      }
      loss.push(out.loss[0]);
      for (const [name, value] of Object.entries(out)) {
        if (name.startsWith('term/')) (terms[name.slice(5)] ??= []).push(value[0]);
        if (name.startsWith('norm/') && Number.isFinite(value[0]))
          norms[name.slice(5)] = (norms[name.slice(5)] ?? 0) + value[0] / round.steps;
      }
      const now = this.#options.now();
      if (now - reported >= PROGRESS_MS || i + 1 === round.steps) {
        reported = now;
        report({
          step: i + 1,
          steps: round.steps,
          loss: out.loss[0],
          imagesPerSecond: ((i + 1) * stage.batch * 1000) / (now - started),
        });
      }
    }
    const seconds = (this.#options.now() - started) / 1000;
    return {
      steps: round.steps,
      seconds,
      imagesPerSecond: (round.steps * stage.batch) / seconds,
      loss,
      terms,
      gradNorm: norms,
    };
  }

  async #save(
    program: Program,
    recipe: Recipe,
    networks: Networks,
    specs: ParamSpecs,
    base: Base,
    round: Round,
    metrics: Omit<RoundMetrics, 'probe'>,
    before: ProbeResult,
    after: ProbeResult,
  ): Promise<RoundResult> {
    const weights: Weights = { ...base.file.weights };
    const moments = new Map<string, { shape: number[]; data: Float32Array }>();
    const { state = {} } = stepSignature(recipe.stages[round.stageIndex], recipe, asTensors(specs), networks);
    for (const [name, { shape }] of Object.entries(state)) {
      const tensor = { shape, data: program.getState(name) as Float32Array };
      if (name.startsWith('p/')) weights[name.slice(2)] = tensor;
      else moments.set(name, tensor);
    }
    const { store } = this.#options;
    return {
      weights: await store.put(encodeWeights({ weights, vocabulary: base.file.vocabulary })),
      optimizer: await store.put(encodeSafetensors(moments)),
      step: base.manifest.step + round.steps,
      metrics: { ...metrics, probe: { before: before.objective, after: after.objective, gap: after.gap } },
    };
  }

  async dispose(): Promise<void> {
    await this.#prepared?.program.dispose();
    await this.#prepared?.probe.dispose();
    this.#prepared = null;
  }
}

interface Base {
  id: string;
  manifest: Awaited<ReturnType<typeof readCheckpoint>>;
  file: WeightFile;
  moments: () => Promise<Record<string, Float32Array>>;
}

const roleOf = (round: Round): Role => (round.track === 'trunk' ? 'aligned' : round.track);

/** An update can leave weights that are finite and yet give no finite loss; such a round must not become a checkpoint. */
function checkAfter({ objective }: ProbeResult, round: Round, stage: Stage): void {
  if (Number.isFinite(objective)) return;
  throw new FoveaError(
    `After step ${round.firstStep + round.steps} of stage ${stage.stage} (${roleOf(round)}) the weights give a loss of ${objective} on the fixed batch, so the round is not kept; lower the stage's lr (${stage.lr}) or raise warmup.`,
  );
}

const asTensors = (specs: ParamSpecs) =>
  Object.fromEntries(Object.entries(specs).map(([name, { shape }]) => [name, { shape, dtype: 'float32' as const }]));

/** State of the first step: parameters of the base (adapters fresh), moments of the base or zero at a stage's start. */
async function startOfStage(
  specs: ParamSpecs,
  base: Base,
  round: Round,
  recipe: Recipe,
  networks: Networks,
): Promise<Record<string, NumericArray>> {
  const fresh = initialise(
    Object.fromEntries(Object.entries(specs).filter(([name]) => !(name in base.file.weights))),
    recipe.seed,
  );
  const moments = round.firstStep > 0 ? await base.moments() : null;
  const scaling = scales(recipe) ? lossScaleStart() : {};
  const dataOf = (name: string) => (base.file.weights[name] ?? fresh[name]).data;
  const state: Record<string, NumericArray> = {};
  const { state: wanted = {} } = stepSignature(recipe.stages[round.stageIndex], recipe, asTensors(specs), networks);
  for (const [name, { shape }] of Object.entries(wanted)) {
    const parameter = name.match(/^(?:p|ema)\/(.*)$/)?.[1];
    const first = parameter === undefined ? (scaling[name] ?? new Float32Array(sizeOf(shape))) : dataOf(parameter);
    state[name] = name.startsWith('p/') ? first : (moments?.[name] ?? first);
  }
  return state;
}
