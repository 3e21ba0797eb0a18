// `fovea bench`: the step that this project exists for, compiled, beside the same step run eagerly by tfjs on every
// backend that is installed. Runs are interleaved, so that a noisy machine is noisy for all; ratios are paired.

import {
  adamwScalars,
  inputSpecs,
  modelConfig,
  modelSpecs,
  noiseFor,
  type StepContext,
  stepSignature,
  trainableSpecs,
  trainStep,
} from '@fovea/alignment';
import { FoveaError } from '@fovea/artifacts';
import { initialise } from '@fovea/models';
import { type AlignStage, loadRecipe, type Recipe } from '@fovea/recipe';
import { compile, type Engine, jsEngine, mapValues, type NumericArray, nativeEngines, sizeOf } from '@fovea/tensor';
import { philox } from '@fovea/tensor/random';
import { defineCommand } from 'citty';
import { wholeNumber } from '../arguments.ts';
import { table } from '../summary.ts';

/** Classes and words of the made-up batch; they set the size of the image–text term. */
const CLASSES = 144;
const WORDS = 196;

export default defineCommand({
  meta: { name: 'bench', description: 'Time one align step, compiled, beside eager tfjs' },
  args: {
    recipe: {
      type: 'string',
      default: 'emoji',
      valueHint: 'NAME|FILE',
      description: 'Recipe whose align step is timed',
    },
    batch: {
      type: 'string',
      default: '4',
      valueHint: 'N',
      description: 'Pictures per step (eager tfjs in plain JavaScript is slow)',
    },
    pairs: { type: 'string', default: '3', valueHint: 'N', description: 'Interleaved repetitions' },
    json: { type: 'boolean', description: 'Print one JSON document' },
  },
  async run({ args }) {
    const batch = wholeNumber('--batch', args.batch, 1, 4096);
    const pairs = wholeNumber('--pairs', args.pairs, 1, 1000);
    const { recipe } = await loadRecipe(args.recipe);
    const step = alignStep(recipe, batch);
    const native = nativeEngines(recipe.engine.threads);
    const engines = [jsEngine, ...native.flatMap(({ engine }) => (engine ? [engine] : []))];
    const result = await measure(step, engines, pairs, recipe.engine.threads);
    const absent = native.filter(({ engine }) => engine === null);
    if (args.json) {
      console.log(
        JSON.stringify(
          {
            recipe: recipe.name,
            batch,
            pairs,
            ...result,
            absent: absent.map(({ name, reason }) => ({ name, reason })),
          },
          null,
          2,
        ),
      );
      return;
    }
    console.log(
      `align step of ${recipe.name}, ${batch} pictures of ${recipe.data.imageSize} px, ${recipe.engine.threads} threads, ${pairs} interleaved repetitions`,
    );
    const rows = result.engines.map(({ name, ms, ratio }) => [
      name,
      ms.toFixed(1),
      ((1000 * batch) / ms).toFixed(1),
      ratio ? `${ratio.median.toFixed(1)} [${ratio.low.toFixed(1)}, ${ratio.high.toFixed(1)}]` : '1',
    ]);
    console.log(table(['engine', 'median ms', 'images/s', 'its time / ours [spread]'], rows));
    for (const { name, reason } of absent) console.log(`${name}: ${reason}`);
  },
});

/** The align step of a recipe on made-up weights and pictures. */
function alignStep(recipe: Recipe, pictures: number) {
  const found = recipe.stages.find((each): each is AlignStage => each.stage === 'align');
  if (!found)
    throw new FoveaError(
      `The recipe "${recipe.name}" has no align stage, and that is the step that is timed; give another recipe.`,
    );
  const stage = { ...found, batch: pictures };
  const config = modelConfig(recipe, WORDS);
  const weights = initialise(modelSpecs(config), 0);
  const trainable = mapValues(trainableSpecs(stage, config), ({ shape }) => ({ shape, dtype: 'float32' as const }));
  const frozen = Object.fromEntries(Object.entries(weights).filter(([name]) => !(name in trainable)));
  const constants = mapValues(
    {
      ...frozen,
      bags: {
        shape: [CLASSES, WORDS],
        data: Float32Array.from({ length: CLASSES * WORDS }, (_, i) => (i % WORDS === (i / WORDS) >> 0 ? 1 : 0)),
      },
    },
    ({ shape, data }) => ({ shape, data, dtype: 'float32' as const }),
  );
  const context: StepContext = { stage, role: 'aligned', recipe, config };
  const signature = { ...stepSignature(stage, recipe, trainable), constants };
  const specs = inputSpecs(pictures, recipe.diffusion.draws, recipe.data.imageSize);
  const rng = philox(0, 'bench');
  const size = 3 * recipe.data.imageSize ** 2;
  const inputs: Record<string, NumericArray> = {
    pixels: Float32Array.from({ length: pictures * size }, () => rng.uniform()),
    labels: Int32Array.from({ length: specs.labels.shape[0] }, () => rng.int(CLASSES)),
    ...noiseFor({ seed: 0, stream: 'bench', first: 0, pictures, draws: recipe.diffusion.draws, size }, recipe),
    scalars: adamwScalars(0, stage.steps, stage),
  };
  const state = mapValues(signature.state ?? {}, ({ shape }, name): NumericArray => {
    const given = name.startsWith('p/') ? weights[name.slice(2)]?.data : undefined;
    return given ?? new Float32Array(sizeOf(shape));
  });
  return { fn: trainStep(context), signature, inputs, state };
}

async function measure(
  { fn, signature, inputs, state }: ReturnType<typeof alignStep>,
  engines: Engine[],
  pairs: number,
  threads: number,
) {
  const program = await compile(fn, signature, { threads });
  program.setState(state);
  await program.run(inputs);
  const ours: number[] = [];
  const theirs: number[][] = engines.map(() => []);
  for (let i = 0; i < pairs; i++) {
    ours.push(await timed(() => program.run(inputs)));
    for (const [e, engine] of engines.entries())
      theirs[e].push(await timed(() => engine.run(fn, signature, inputs, state)));
  }
  await program.dispose();
  const others = engines.map(({ name }, e) => {
    const ratios = theirs[e].map((ms, i) => ms / ours[i]).sort((a, b) => a - b);
    return {
      name,
      ms: median(theirs[e]),
      ratio: { median: median(ratios), low: ratios[0], high: ratios[ratios.length - 1] },
    };
  });
  return {
    compile: program.report,
    engines: [{ name: 'fovea (compiled, onnxruntime-node)', ms: median(ours), ratio: null }, ...others],
  };
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await work();
  return performance.now() - started;
}

const median = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
};
