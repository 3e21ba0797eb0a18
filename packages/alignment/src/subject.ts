// A checkpoint as something that can be judged: compiled image and text towers that give unit-length features, and
// pictures reconstructed under its condition.

import { decodeSafetensors, readCheckpoint, type Store } from '@fovea/artifacts';
import { sample } from '@fovea/diffusion';
import { bagsOf, l2Normalise, mergeLora, type ParamSpecs, type Weights } from '@fovea/models';
import type { Recipe } from '@fovea/recipe';
import {
  compile,
  type Device,
  type Frozen,
  type Program,
  type Signature,
  type StepFunction,
  type Tensor,
  tf,
} from '@fovea/tensor';
import { fillNormal } from '@fovea/tensor/random';
import { recipeLora } from './model.ts';
import { builtinNetworks, type Networks } from './networks.ts';
import { decodeWeights, type WeightFile } from './weights.ts';

const CHUNK = 128;

/** Reads a checkpoint's weights, their moving average where its stage keeps one, with its adapters merged in. */
export async function checkpointWeights(store: Store, id: string, recipe: Recipe): Promise<WeightFile> {
  const manifest = await readCheckpoint(store, id);
  const file = decodeWeights(await store.get(manifest.weights.sha256), `checkpoint ${id.slice(0, 12)}`);
  const hasAverage = recipe.stages.some(({ stage, ema }) => stage === manifest.stage && ema !== null);
  if (hasAverage && manifest.optimizer) {
    const { tensors } = decodeSafetensors(await store.get(manifest.optimizer.sha256), `the optimiser of ${id}`);
    for (const [name, { shape, data }] of tensors)
      if (name.startsWith('ema/')) file.weights[name.slice(4)] = { shape, data: data as Float32Array };
  }
  const lora = recipeLora(recipe);
  return lora ? { ...file, weights: mergeLora(file.weights, lora) } : file;
}

const frozen = (weights: Weights, specs: ParamSpecs): Record<string, Frozen> =>
  Object.fromEntries(Object.keys(specs).map((name) => [name, { ...weights[name], dtype: 'float32' }]));

/** The image tower as a function and its signature: pixels [batch, 3, H, W], RGB in [0, 1] -> unit features [batch, D]. */
export function imageTower(
  weights: Weights,
  { encoder }: Networks,
  batch = CHUNK,
): [StepFunction, Signature & { constants: Record<string, Frozen> }] {
  const { height, width } = encoder.shape.imageSize;
  return [
    ({ pixels }, _state, p) => ({ outputs: { features: l2Normalise(encoder.encode(p, pixels).embeds) } }),
    {
      inputs: { pixels: { shape: [batch, 3, height, width], dtype: 'float32' } },
      constants: frozen(weights, encoder.specs),
    },
  ];
}

/** A judged encoder. Features are of unit length; rows do not depend on what else is in the batch. */
export class EncoderSubject {
  readonly dim: number;
  /** Side of the pictures it takes. */
  readonly imageSize: number;
  readonly vocabulary: string[];
  readonly #images: Program;
  readonly #file: WeightFile;
  readonly #networks: Networks;

  private constructor(images: Program, file: WeightFile, networks: Networks) {
    this.#images = images;
    this.#file = file;
    this.#networks = networks;
    this.dim = networks.encoder.shape.projection;
    this.imageSize = networks.imageSize;
    this.vocabulary = file.vocabulary;
  }

  /** Always in fp32, whatever the encoder was trained in: a score must not depend on that. */
  static async open(
    file: WeightFile,
    recipe: Recipe,
    options: { threads?: number; device?: Device } = {},
  ): Promise<EncoderSubject> {
    const networks = builtinNetworks(recipe, file.vocabulary.length);
    return new EncoderSubject(await compile(...imageTower(file.weights, networks), options), file, networks);
  }

  /** pixels [n, 3, H, W], RGB in [0, 1] -> [n, dim]. */
  async imageFeatures(pixels: Float32Array, n: number): Promise<Float32Array> {
    const size = pixels.length / n;
    const out = new Float32Array(n * this.dim);
    const chunk = new Float32Array(CHUNK * size);
    for (let first = 0; first < n; first += CHUNK) {
      const rows = Math.min(CHUNK, n - first);
      chunk.fill(0).set(pixels.subarray(first * size, (first + rows) * size));
      const { features } = await this.#images.run({ pixels: chunk });
      out.set((features as Float32Array).subarray(0, rows * this.dim), first * this.dim);
    }
    return out;
  }

  /** Class names -> [names.length, dim]. */
  async textFeatures(names: string[]): Promise<Float32Array> {
    const { vocabulary, weights } = this.#file;
    const { text } = this.#networks;
    const program = await compile(
      ({ bags }, _state, p) => ({ outputs: { features: l2Normalise(text.encode(p, bags)) } }),
      {
        inputs: { bags: { shape: [names.length, vocabulary.length], dtype: 'float32' } },
        constants: frozen(weights, text.specs),
      },
    );
    const { features } = await program.run({ bags: bagsOf(names, vocabulary) });
    const copy = (features as Float32Array).slice();
    await program.dispose();
    return copy;
  }

  dispose(): Promise<void> {
    return this.#images.dispose();
  }
}

export interface ReconstructionOptions {
  steps: number;
  seed: number;
  threads: number;
  /** @default 'cpu' */
  device?: Device;
}

/**
 * Pictures drawn from noise by the checkpoint's denoiser under its encoder's condition of `pixels` [n, 3, H, W]; the
 * noise belongs to (seed, row), so two checkpoints start from the same. Values are clamped to [0, 1].
 */
export async function reconstruct(
  { weights, vocabulary }: WeightFile,
  recipe: Recipe,
  pixels: Float32Array,
  n: number,
  options: ReconstructionOptions,
): Promise<Float32Array> {
  const { encoder, connector, denoiser } = builtinNetworks(recipe, vocabulary.length);
  const { imageSize } = recipe.data;
  const picture = { shape: [n, 3, imageSize, imageSize], dtype: 'float32' as const };
  const program = await compile(
    ({ pixels: source, x, t }, _state, p) => {
      const condition = connector.connect(p, encoder.encode(p, source));
      const times = tf.broadcastTo(t, [n]) as Tensor;
      return { outputs: { prediction: denoiser.predict(p, x, times, condition) } };
    },
    {
      inputs: { pixels: picture, x: picture, t: { shape: [1], dtype: 'float32' } },
      constants: frozen(weights, { ...encoder.specs, ...connector.specs, ...denoiser.specs }),
    },
    { threads: options.threads, device: options.device },
  );
  const noise = new Float32Array(pixels.length);
  const size = pixels.length / n;
  for (let i = 0; i < n; i++) fillNormal(noise, i * size, size, options.seed, 'reconstruct', 0, i);
  const network = async (x: Float32Array, t: number) =>
    (await program.run({ pixels, x, t: Float32Array.of(t) })).prediction as Float32Array;
  const { target } = recipe.diffusion;
  const out = await sample(network, noise, { steps: options.steps, target, prediction: denoiser.prediction });
  await program.dispose();
  return out.map((value) => Math.min(1, Math.max(0, (value + 1) / 2)));
}
