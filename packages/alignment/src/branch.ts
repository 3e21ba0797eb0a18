// A branch: one stage on one track of one run, with its networks opened, its step compiled and its probe ready. All its
// rounds share them; the weights come and go as the program's state.

import { readCheckpoint, type Store } from '@fovea/artifacts';
import type { Dataset } from '@fovea/data';
import type { ParamSpecs, Weights } from '@fovea/models';
import { compile, mapValues, type NumericArray, type Program, type Spec } from '@fovea/tensor';
import { explainDivergence } from './divergence.ts';
import { withLatents } from './latents.ts';
import { trainableSpecs } from './model.ts';
import { type Constants, type Networks, openNetworks } from './networks.ts';
import { Probe, type ProbeResult } from './probe.ts';
import { type RoundRequest, roleOf } from './round.ts';
import { type Base, loadBase } from './round-state.ts';
import { NAMES, REFERENCE, type StepContext, stepSignature, trainStep } from './step.ts';

/** Names a branch, so that a process can tell whether it has it. */
export const branchKey = ({ runId, round }: Pick<RoundRequest, 'runId' | 'round'>): string =>
  `${runId}/${round.track}/${round.stageIndex}`;

export class Branch {
  readonly key: string;
  readonly context: StepContext;
  /** What the stage trains. */
  readonly specs: ParamSpecs;
  /** Everything that its step carries. */
  readonly stateSpecs: Record<string, Spec>;
  readonly #store: Store;
  #program: Program | null = null;
  #probe: Probe | null = null;

  private constructor(key: string, context: StepContext, store: Store) {
    this.key = key;
    this.context = context;
    this.specs = trainableSpecs(context.stage, context.networks);
    this.#store = store;
    this.stateSpecs = this.#signature().state ?? {};
  }

  static async open(
    store: Store,
    { recipe, recipeDir, ...request }: Pick<RoundRequest, 'runId' | 'recipe' | 'recipeDir' | 'round'>,
    base: Base,
    dataset: Dataset,
  ): Promise<Branch> {
    const stage = recipe.stages[request.round.stageIndex];
    const opened = await openNetworks(recipe, recipeDir, base.file.vocabulary);
    const networks: Networks = await withLatents(store, dataset, recipe, opened);
    return new Branch(branchKey(request), { stage, role: roleOf(request.round), recipe, networks }, store);
  }

  /** Compiles what is not yet: the probe, and the step where it is to train. */
  async prepare(base: Base, dataset: Dataset, trains: boolean): Promise<void> {
    if (this.#probe && (this.#program || !trains)) return;
    const { threads, device, precision } = this.context.recipe.engine;
    const constants = await this.#constants(base, dataset);
    if (trains)
      this.#program ??= await compile(
        trainStep(this.context),
        { ...this.#signature(), constants },
        { threads, device, precision },
      );
    this.#probe ??= await Probe.open(this.context, this.#trainable(), constants, dataset, { threads, device });
  }

  get program(): Program {
    if (!this.#program) throw new Error('the branch was not prepared for training');
    return this.#program;
  }

  /** The stage's objective on the fixed batch, under the trained parameters that `read` gives. */
  probe(read: (name: string) => NumericArray): Promise<ProbeResult> {
    if (!this.#probe) throw new Error('the branch was not prepared');
    return this.#probe.run(read);
  }

  /** The error of a step whose numbers went bad; the program still has the state before it. */
  async explain(step: number, batch: Record<string, NumericArray>, base: Base, dataset: Dataset) {
    return explainDivergence({
      context: this.context,
      step,
      trainable: this.#trainable(),
      constants: await this.#constants(base, dataset),
      batch,
      state: (name) => this.program.getState(name),
    });
  }

  async dispose(): Promise<void> {
    await this.#program?.dispose();
    await this.#probe?.dispose();
    this.#program = null;
    this.#probe = null;
  }

  #trainable(): Record<string, Spec> {
    return mapValues(this.specs, ({ shape }) => ({ shape, dtype: 'float32' as const }));
  }

  #signature() {
    const { stage, recipe, networks } = this.context;
    return stepSignature(stage, recipe, this.#trainable(), networks);
  }

  /** Frozen tensors of a step: what the stage does not train, the class names' bags, and the starting encoder for retention. */
  async #constants(base: Base, dataset: Dataset): Promise<Constants> {
    const { stage, networks } = this.context;
    const frozen: Constants = { ...networks.frozen };
    const add = (name: string, { shape, data }: Weights[string]) => {
      frozen[name] = { shape, dtype: 'float32', data };
    };
    for (const [name, weight] of Object.entries(base.file.weights)) if (!(name in this.specs)) add(name, weight);
    if (networks.text) frozen[NAMES] = networks.text.describe(dataset.classes);
    if (stage.stage === 'align' && stage.retention > 0) {
      const start = await startOfBranch(this.#store, base);
      for (const [name, weight] of Object.entries(start))
        if (name in networks.encoder.specs) add(REFERENCE + name, weight);
    }
    return frozen;
  }
}

/** Weights of the checkpoint before the base's stage: where the branch began. */
async function startOfBranch(store: Store, base: Base): Promise<Weights> {
  let { id, manifest } = base;
  while (manifest.stage === 'align' && manifest.parent) {
    id = manifest.parent;
    manifest = await readCheckpoint(store, id);
  }
  return id === base.id ? base.file.weights : (await loadBase(store, id)).file.weights;
}
