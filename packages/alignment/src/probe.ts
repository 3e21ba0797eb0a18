// Health of a stage, measured on one fixed batch with fixed noise: the objective before and after a round, and the
// condition gap (loss under another picture's condition minus loss under the own one; above 0 the condition is used).

import type { Dataset } from '@fovea/data';
import { type CompileOptions, compile, mapValues, type NumericArray, type Program, type Spec } from '@fovea/tensor';
import { drawsFor, timestepsOf } from './batch.ts';
import type { Constants } from './networks.ts';
import { probeObjective, probeSignature, probeStep, type StepContext } from './step.ts';

const PICTURES = 64;
const CHUNKS = 4;

export interface ProbeResult {
  objective: number;
  /** Null for a stage without a denoiser. */
  gap: number | null;
}

export class Probe {
  readonly #context: StepContext;
  readonly #program: Program;
  readonly #batches: Record<string, NumericArray>[];
  readonly #names: string[];

  private constructor(
    context: StepContext,
    program: Program,
    batches: Record<string, NumericArray>[],
    names: string[],
  ) {
    this.#context = context;
    this.#program = program;
    this.#batches = batches;
    this.#names = names;
  }

  static async open(
    context: StepContext,
    trainable: Record<string, Spec>,
    constants: Constants,
    dataset: Dataset,
    options: CompileOptions,
  ): Promise<Probe> {
    const { recipe, stage, networks } = context;
    const program = await compile(
      probeStep(context),
      { ...probeSignature(PICTURES, trainable, networks), constants },
      options,
    );
    const batches: Record<string, NumericArray>[] = [];
    for (let i = 0; i < CHUNKS; i++) {
      const query = {
        seed: recipe.seed,
        stream: `${stage.stage}/probe`,
        first: i * PICTURES,
        pictures: PICTURES,
        draws: 1,
      };
      const { pixels, labels } = await dataset.trainBatch({ ...query, size: PICTURES });
      batches.push({ pixels, labels, ...drawsFor(query, recipe, networks, timestepsOf(recipe, stage)) });
    }
    return new Probe(context, program, batches, Object.keys(trainable));
  }

  /** Mean terms over the fixed pictures under the parameters that `read` gives by name. */
  async run(read: (name: string) => NumericArray): Promise<ProbeResult> {
    const params = Object.fromEntries(this.#names.map((name) => [`p/${name}`, read(name)]));
    const sums: Record<string, number> = {};
    for (const batch of this.#batches) {
      const out = await this.#program.run({ ...batch, ...params });
      for (const [name, value] of Object.entries(out)) sums[name] = (sums[name] ?? 0) + value[0];
    }
    const terms = mapValues(sums, (sum) => sum / CHUNKS);
    const gap = terms.matched === undefined ? null : terms.shuffled - terms.matched;
    return { objective: probeObjective(this.#context, terms), gap };
  }

  dispose(): Promise<void> {
    return this.#program.dispose();
  }
}
