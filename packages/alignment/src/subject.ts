// A checkpoint as something that can be judged: compiled image and text towers that give unit-length features, and
// pictures reconstructed under its condition.

import { decodeSafetensors, FoveaError, readCheckpoint, type Store } from '@fovea/artifacts';
import { sample } from '@fovea/diffusion';
import { l2Normalise, mergeLora, type ParamSpecs, unknownWords, type Weights } from '@fovea/models';
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
import { fillNormal, philox } from '@fovea/tensor/random';
import { recipeLora } from './model.ts';
import { type Networks, openNetworks, type TextTower } from './networks.ts';
import { openPretrained } from './pictures.ts';
import { decodeWeights, type WeightFile } from './weights.ts';

const CHUNK = 128;

/** Reads a checkpoint's weights as they were trained, their moving average where its stage keeps one, adapters beside. */
export async function trainedWeights(store: Store, id: string, recipe: Recipe): Promise<WeightFile> {
  const manifest = await readCheckpoint(store, id);
  const file = decodeWeights(await store.get(manifest.weights.sha256), `checkpoint ${id.slice(0, 12)}`);
  const hasAverage = recipe.stages.some(({ stage, ema }) => stage === manifest.stage && ema !== null);
  if (hasAverage && manifest.optimizer) {
    const { tensors } = decodeSafetensors(await store.get(manifest.optimizer.sha256), `the optimiser of ${id}`);
    for (const [name, { shape, data }] of tensors)
      if (name.startsWith('ema/')) file.weights[name.slice(4)] = { shape, data: data as Float32Array };
  }
  return file;
}

/** Reads a checkpoint's weights, their moving average where its stage keeps one, with its adapters merged in. */
export async function checkpointWeights(store: Store, id: string, recipe: Recipe): Promise<WeightFile> {
  const file = await trainedWeights(store, id, recipe);
  const lora = recipeLora(recipe);
  return lora ? { ...file, weights: mergeLora(file.weights, lora) } : file;
}

/** The checkpoint that the align stage began with; `id` itself where it is none of that stage's. */
export async function startOfAlign(store: Store, id: string): Promise<string> {
  const { stage, parent } = await readCheckpoint(store, id);
  return stage === 'align' && parent !== null ? startOfAlign(store, parent) : id;
}

const frozen = (weights: Weights, specs: ParamSpecs): Record<string, Frozen> =>
  Object.fromEntries(Object.keys(specs).map((name) => [name, { ...weights[name], dtype: 'float32' }]));

/** The image tower as a function and its signature: pixels [batch, 3, H, W], RGB in [0, 1] -> unit features [batch, D]. */
export function imageTower(
  weights: Weights,
  { encoder }: Pick<Networks, 'encoder'>,
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

/** What a judged encoder needs of a run's networks. */
type Seeing = Pick<Networks, 'encoder' | 'text' | 'imageSize'>;

export interface SubjectOptions {
  threads?: number;
  device?: Device;
  /** Put around every text, see {@link TextTower.describe}; the identity where a benchmark brings its own. */
  prompt?: (name: string) => string;
  /** Pictures that are encoded together; fewer are padded. @default 128 */
  batch?: number;
}

/** A judged encoder. Features are of unit length; rows do not depend on what else is in the batch. */
export class EncoderSubject {
  readonly dim: number;
  /** Side of the pictures it takes. */
  readonly imageSize: number;
  /** Pictures that are encoded together. */
  readonly batch: number;
  readonly vocabulary: string[];
  readonly #images: Program;
  readonly #file: WeightFile;
  readonly #networks: Seeing;
  readonly #prompt?: (name: string) => string;

  private constructor(images: Program, file: WeightFile, networks: Seeing, { batch = CHUNK, prompt }: SubjectOptions) {
    this.#images = images;
    this.batch = batch;
    this.#file = file;
    this.#networks = networks;
    this.#prompt = prompt;
    this.dim = networks.encoder.shape.projection;
    this.imageSize = networks.imageSize;
    this.vocabulary = file.vocabulary;
  }

  /** Always in fp32, whatever the encoder was trained in: a score must not depend on that. */
  static async open(
    file: WeightFile,
    recipe: Recipe,
    recipeDir: string,
    options: SubjectOptions = {},
  ): Promise<EncoderSubject> {
    return EncoderSubject.#of(file, await openNetworks(recipe, recipeDir, file.vocabulary), options);
  }

  /** The encoder of a folder as `from_pretrained` takes it, or an open_clip one, in fp32 and at its own size. */
  static async pretrained(folder: string, options: SubjectOptions = {}): Promise<EncoderSubject> {
    const { encoder, text, start } = await openPretrained(folder);
    const { height, width } = encoder.shape.imageSize;
    if (height !== width)
      throw new FoveaError(`The encoder "${folder}" sees ${width} × ${height} pixels, and only squares can be judged.`);
    const file = { weights: (await start()) as Weights, vocabulary: [] };
    return EncoderSubject.#of(file, { encoder, text, imageSize: height }, options);
  }

  static async #of(file: WeightFile, networks: Seeing, options: SubjectOptions) {
    const { threads, device, batch } = options;
    const images = await compile(...imageTower(file.weights, networks, batch), { threads, device });
    return new EncoderSubject(images, file, networks, options);
  }

  /** What cosines are multiplied by: exp(logit_scale), 100 where the weights have none. */
  get logitScale(): number {
    const scale = this.#file.weights.logit_scale?.data[0];
    return scale === undefined ? 100 : Math.exp(scale);
  }

  /** pixels [n, 3, H, W], RGB in [0, 1] -> [n, dim]. */
  async imageFeatures(pixels: Float32Array, n: number): Promise<Float32Array> {
    const size = pixels.length / n;
    const out = new Float32Array(n * this.dim);
    const chunk = new Float32Array(this.batch * size);
    for (let first = 0; first < n; first += this.batch) {
      const rows = Math.min(this.batch, n - first);
      chunk.fill(0).set(pixels.subarray(first * size, (first + rows) * size));
      const { features } = await this.#images.run({ pixels: chunk });
      out.set((features as Float32Array).subarray(0, rows * this.dim), first * this.dim);
    }
    return out;
  }

  /** Class names -> [names.length, dim]. */
  async textFeatures(names: string[]): Promise<Float32Array> {
    const text = this.#networks.text as TextTower;
    const described = text.describe(names, this.#prompt);
    const program = await compile(
      ({ given }, _state, p) => ({ outputs: { features: l2Normalise(text.encode(p, given)) } }),
      { inputs: { given: described }, constants: frozen(this.#file.weights, text.specs) },
    );
    const { features } = await program.run({ given: described.data });
    const copy = (features as Float32Array).slice();
    await program.dispose();
    return copy;
  }

  /** Class names, or words of them, that the text tower cannot read; all of them where there is no text tower. */
  unreadable(names: readonly string[]): string[] {
    if (this.#networks.text === null) return [...names];
    return this.vocabulary.length === 0 ? [] : unknownWords([...names], this.vocabulary);
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
 * noise belongs to (seed, row), so two checkpoints start from the same. Values are clamped to [0, 1]. Null for a denoiser of
 * latents or of smaller pictures.
 */
export async function reconstruct(
  { weights, vocabulary }: WeightFile,
  recipe: Recipe,
  recipeDir: string,
  pixels: Float32Array,
  n: number,
  options: ReconstructionOptions,
): Promise<Float32Array | null> {
  const networks = await openNetworks(recipe, recipeDir, vocabulary);
  const shown = [3, recipe.data.imageSize, recipe.data.imageSize];
  if (networks.latent.join() !== shown.join()) return null;
  const { encoder, connector, denoiser } = networks;
  const { imageSize } = recipe.data;
  const picture = { shape: [n, 3, imageSize, imageSize], dtype: 'float32' as const };
  const chosen = Array.from({ length: n }, (_, i) =>
    connector.draw?.(philox(options.seed, 'reconstruct/tokens', 0, i)),
  );
  const tokens = Int32Array.from(chosen.flatMap((each) => [...(each ?? [])]));
  const drawn: Signature['inputs'] = connector.draw
    ? { tokens: { shape: [n, tokens.length / n], dtype: 'int32' } }
    : {};
  const program = await compile(
    ({ pixels: source, x, t, ...given }, _state, p) => {
      const seen = encoder.encode(p, source);
      const condition = connector.connect(p, seen, given, (rows) => rows);
      const times = tf.broadcastTo(t, [n]) as Tensor;
      return { outputs: { prediction: denoiser.predict(p, x, times, condition, seen) } };
    },
    {
      inputs: { pixels: picture, x: picture, t: { shape: [1], dtype: 'float32' }, ...drawn },
      constants: {
        ...frozen(weights, { ...encoder.specs, ...connector.specs, ...(!denoiser.isFrozen && denoiser.specs) }),
        ...networks.frozen,
      },
    },
    { threads: options.threads, device: options.device },
  );
  const noise = new Float32Array(pixels.length);
  const size = pixels.length / n;
  for (let i = 0; i < n; i++) fillNormal(noise, i * size, size, options.seed, 'reconstruct', 0, i);
  const network = async (x: Float32Array, t: number) =>
    (await program.run({ pixels, x, t: Float32Array.of(t), ...(connector.draw && { tokens }) }))
      .prediction as Float32Array;
  const { target } = recipe.diffusion;
  const out = await sample(network, noise, { steps: options.steps, target, prediction: denoiser.prediction });
  await program.dispose();
  return out.map((value) => Math.min(1, Math.max(0, (value + 1) / 2)));
}
