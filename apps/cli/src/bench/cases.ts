// What is timed: four computations, each as one function of (inputs, state, constants) with the weights and the batch
// that every peer is given. The peers' own versions of them are in ../../bench/*.py, in the order of this file.

import {
  imageTower,
  inputSpecs,
  noiseFor,
  openNetworks,
  readWeightFile,
  type StepContext,
  stepScalars,
  timestepsOf,
  trainableSpecs,
  trainStep,
} from '@fovea/alignment';
import { frame, squareFraming } from '@fovea/data';
import {
  encoderLayer,
  encoderLayerSpecs,
  initialise,
  readUnetConfig,
  unet,
  unetSpecs,
  type Weights,
} from '@fovea/models';
import { type AlignStage, loadRecipe, type Recipe } from '@fovea/recipe';
import {
  mapValues,
  microBatches,
  type NumericArray,
  prefixed,
  type StepFunction,
  sizeOf,
  sliceCount,
  type Tensor,
  tf,
  valueAndGrads,
} from '@fovea/tensor';
import { philox } from '@fovea/tensor/random';

export const CASES = ['align-step', 'vit-stack', 'unet-stack', 'encoder-inference', 'encoder-pictures'] as const;
export type CaseName = (typeof CASES)[number];

export interface Given {
  shape: number[];
  data: NumericArray;
}

/** Tensors of a case by role: given anew at every step, carried from step to step, frozen. */
export interface CaseData {
  inputs: Record<string, Given>;
  state: Record<string, Given>;
  constants: Record<string, Given>;
}

export interface Case {
  name: CaseName;
  /** Samples per step. */
  batch: number;
  /** What the peers must know besides the tensors. */
  settings: Record<string, unknown>;
  fn: StepFunction;
  data: CaseData;
  /** What a step does to its inputs before `fn` sees them; nothing where it is left out. */
  before?: (inputs: CaseData['inputs']) => () => CaseData['inputs'];
}

/**
 * Builds a case; the same name gives the same numbers in every process. `slices` are what the batch is cut into: what
 * serves the compiled engine by default, 1 for an eager one, which only loses by it.
 */
export function openCase(name: CaseName, slices?: number): Promise<Case> {
  return OPEN[name](slices);
}

const OPEN: Record<CaseName, (slices?: number) => Promise<Case>> = {
  'align-step': alignStep,
  'vit-stack': vitStack,
  'unet-stack': unetStack,
  'encoder-inference': encoderInference,
  'encoder-pictures': encoderPictures,
};

/** Classes of the made-up batch; with the weights' words they set the size of the image–text term. */
const CLASSES = 144;
/** Pictures of one chunk of an evaluation. */
const PICTURES = 64;

const uniform = (shape: number[], stream: string): Given => {
  const rng = philox(0, `bench/${stream}`);
  return { shape, data: Float32Array.from({ length: sizeOf(shape) }, () => rng.uniform()) };
};

const normal = (shape: number[], stream: string): Given => {
  const rng = philox(0, `bench/${stream}`);
  return { shape, data: Float32Array.from({ length: sizeOf(shape) }, () => rng.normal()) };
};

const zeros = ({ shape }: { shape: number[] }): Given => ({ shape, data: new Float32Array(sizeOf(shape)) });

/** The default recipe's align step, role `aligned`, on the shipped weights and a made-up batch of the recipe's size. */
async function alignStep(slices?: number): Promise<Case> {
  const { recipe, recipeDir } = await loadRecipe('emoji');
  const stage = recipe.stages.find((each): each is AlignStage => each.stage === 'align') as AlignStage;
  const { weights, vocabulary } = await readWeightFile(recipe.weights as string, recipeDir);
  const networks = await openNetworks(recipe, recipeDir, vocabulary);
  const trainable = mapValues(trainableSpecs(stage, networks), (_, name) => weights[name]);
  const frozen = Object.fromEntries(Object.entries(weights).filter(([name]) => !(name in trainable)));
  const context: StepContext = { stage, role: 'aligned', recipe, networks, slices };
  const { batch } = stage;
  const { imageSize } = recipe.data;
  const { draws } = recipe.diffusion;
  const specs = inputSpecs(batch, draws, networks);
  const query = { seed: 0, stream: 'bench', first: 0, pictures: batch, draws, size: 3 * imageSize ** 2 };
  const rng = philox(0, 'bench/classes');
  const words = vocabulary.length;
  return {
    name: 'align-step',
    batch,
    settings: { ...sizesOf(recipe), prediction: recipe.denoiser.prediction, stage, draws },
    fn: trainStep(context),
    data: {
      inputs: {
        pixels: uniform(specs.pixels.shape, 'pixels'),
        labels: { shape: [batch], data: Int32Array.from({ length: batch }, () => rng.int(CLASSES)) },
        ...mapValues(noiseFor(query, recipe, timestepsOf(recipe, stage)), (data, name) => ({
          shape: specs[name].shape,
          data,
        })),
        // The first step's bias corrections at the peak learning rate, so that a wrong update would show.
        scalars: { shape: [3], data: stepScalars(0, stage.steps, { ...stage, warmup: 0 }) },
      },
      state: {
        ...prefixed('p/', trainable),
        ...prefixed('m/', mapValues(trainable, zeros)),
        ...prefixed('v/', mapValues(trainable, zeros)),
      },
      constants: { ...frozen, names: bags(words) },
    },
  };
}

/** Sizes of the built-in networks, as the peers read them. */
const sizesOf = ({ data: { imageSize }, encoder, denoiser }: Recipe) => ({
  vision: { imageSize, ...encoder },
  denoiser: { imageSize, ...denoiser },
});

function bags(words: number): Given {
  const rng = philox(0, 'bench/bags');
  const data = new Float32Array(CLASSES * words);
  for (let row = 0; row < CLASSES; row++) for (let i = 0; i < 2; i++) data[row * words + rng.int(words)] += 0.5;
  return { shape: [CLASSES, words], data };
}

/** CLIP's blocks at ViT-Ti's width: mean square of the output, and its gradient by every parameter and the input. */
async function vitStack(given?: number): Promise<Case> {
  const size = { width: 192, layers: 6, heads: 3, mlpRatio: 4 };
  const block = { ...size, hidden: size.mlpRatio * size.width, activation: 'quick_gelu', epsilon: 1e-5 } as const;
  const [batch, tokens] = [16, 65];
  const slices = given ?? sliceCount(batch, 4 * tokens * size.mlpRatio * size.width, 2 ** 21);
  const names = Array.from({ length: size.layers }, (_, i) => `layers.${i}`);
  const weights = names.reduce<Weights>(
    (all, name) => Object.assign(all, initialise(encoderLayerSpecs(name, block), 0)),
    {},
  );
  return {
    name: 'vit-stack',
    batch,
    settings: size,
    fn: ({ x, ...weights }) => {
      const forward = ({ x, ...p }: Record<string, Tensor>) => ({
        value: tf.mean(tf.square(names.reduce((y, name) => encoderLayer(p, name, y, block), x))) as Tensor,
      });
      const { mean, rows } = microBatches(slices, { x }, (slice) => {
        const { value, grads } = valueAndGrads(forward, { ...weights, x: slice.x });
        const { x: input, ...own } = grads;
        return { mean: { loss: value, ...prefixed('grad/', own) }, rows: { 'grad/x': input } };
      });
      return { outputs: { ...mean, 'grad/x': tf.div(rows['grad/x'], slices) } };
    },
    data: { inputs: { ...weights, x: normal([batch, tokens, size.width], 'x') }, state: {}, constants: {} },
  };
}

/** A frozen U-Net: its error, and that error's gradient by the noisy picture and the condition, as alignment needs it. */
async function unetStack(given?: number): Promise<Case> {
  const config = readUnetConfig(
    {
      block_out_channels: [64, 128],
      down_block_types: ['CrossAttnDownBlock2D', 'CrossAttnDownBlock2D'],
      up_block_types: ['CrossAttnUpBlock2D', 'CrossAttnUpBlock2D'],
      layers_per_block: 1,
      attention_head_dim: [2, 4],
      cross_attention_dim: 256,
      use_linear_projection: true,
    },
    'of the bench',
  );
  const [batch, side] = [4, 32];
  const picture = [batch, config.inChannels, side, side];
  const slices = given ?? sliceCount(batch, 4 * side * side * config.blockOutChannels[0] * 4);
  const times = Float32Array.from({ length: batch }, (_, i) => 100 + 200 * i);
  return {
    name: 'unet-stack',
    batch,
    settings: { ...config },
    fn: (inputs, _state, p) => {
      const { mean, rows } = microBatches(slices, inputs, ({ x, condition, t, target }) => {
        const forward = (given: Record<string, Tensor>) => ({
          value: tf.mean(tf.squaredDifference(unet(p, given.x, t, given.condition, config), target)) as Tensor,
        });
        const { value, grads } = valueAndGrads(forward, { x, condition });
        return { mean: { loss: value }, rows: prefixed('grad/', grads) };
      });
      return { outputs: { ...mean, ...mapValues(rows, (grad) => tf.div(grad, slices)) } };
    },
    data: {
      inputs: {
        x: normal(picture, 'x'),
        condition: normal([batch, 77, config.crossAttentionDim], 'condition'),
        t: { shape: [batch], data: times },
        target: normal(picture, 'target'),
      },
      state: {},
      constants: initialise(unetSpecs(config), 0),
    },
  };
}

/** The evaluator's image tower on the shipped weights, at the evaluator's batch. */
async function encoderInference(batch?: number): Promise<Case> {
  const { recipe, recipeDir } = await loadRecipe('emoji');
  const { weights, vocabulary } = await readWeightFile(recipe.weights as string, recipeDir);
  const networks = await openNetworks(recipe, recipeDir, vocabulary);
  const [fn, { inputs, constants }] = imageTower(weights, networks, batch);
  const { shape } = inputs.pixels;
  return {
    name: 'encoder-inference',
    batch: shape[0],
    settings: sizesOf(recipe),
    fn,
    data: { inputs: { pixels: uniform(shape, 'pixels') }, state: {}, constants: { ...constants } },
  };
}

/** Pictures as an evaluation shows them at once: each framed from its bytes, then encoded. */
async function encoderPictures(): Promise<Case> {
  const whole = await encoderInference(PICTURES);
  const [, , side] = whole.data.inputs.pixels.shape;
  const rng = philox(0, 'bench/pictures');
  const shape = [PICTURES, side, side, 3];
  const bytes = Int32Array.from({ length: sizeOf(shape) }, () => rng.int(256));
  const data = { ...whole.data, inputs: { pictures: { shape, data: bytes } } };
  return { ...whole, name: 'encoder-pictures', data, before: framing };
}

/** As a subject of an evaluation does it. */
const framing: Case['before'] = ({ pictures: { shape, data } }) => {
  const [count, side] = shape;
  const size = 3 * side * side;
  const shown = Array.from({ length: count }, (_, i) => ({
    width: side,
    height: side,
    data: Uint8Array.from((data as Int32Array).subarray(i * size, (i + 1) * size)),
  }));
  const rule = squareFraming(side, null);
  return () => {
    const pixels = new Float32Array(count * size);
    shown.forEach((picture, i) => {
      pixels.set(frame(picture, rule), i * size);
    });
    return { pixels: { shape: [count, 3, side, side], data: pixels } };
  };
};
