// A run's networks as pure functions over one bag of named weights: what encodes, what turns tokens into a condition, what
// denoises under it. The recipe says which; the training step, the probe, the judge and the export know no family.

import type { EncoderOutput, EncoderShape, ParamSpecs } from '@fovea/models';
import type { Recipe } from '@fovea/recipe';
import type { Frozen, NamedTensors, Signature, Tensor } from '@fovea/tensor';
import type { Rng } from '@fovea/tensor/random';
import { type Feedback, openFeedback } from './feedback.ts';
import { openPictures } from './pictures.ts';

export type Constants = NonNullable<Signature['constants']>;

export interface Encoder {
  specs: ParamSpecs;
  shape: EncoderShape;
  /** Numbers of the widest activation of one picture; the batch is cut into slices by it. */
  widest: number;
  /** pixels [B, 3, S, S], RGB in [0, 1] at the data set's size; resizing and normalisation are inside. */
  encode(p: NamedTensors, pixels: Tensor): EncoderOutput;
  /** Channels of its feature maps from fine to coarse; null where it has none. */
  maps: number[] | null;
  /** Normed tokens into the image–text space; null where there is no such layer. */
  project: ((p: NamedTensors, tokens: Tensor) => Tensor) | null;
}

export interface TextTower {
  specs: ParamSpecs;
  /**
   * Names of classes as the constant that {@link TextTower.encode} reads. `prompt` is put around each.
   * @default "a photo of a {name}.", where the tower reads sentences
   */
  describe(names: readonly string[], prompt?: (name: string) => string): Frozen;
  /** -> features, not normalised [M, projection]. */
  encode(p: NamedTensors, described: Tensor): Tensor;
}

/** What the denoiser is told, every tensor of it [N, ...]. */
export interface Condition {
  /** [N, K, C]. */
  tokens?: Tensor;
  /** [N, V]. */
  vector?: Tensor;
}

/** Beside the encoder's output: what was drawn for each row, where the recipe draws it. */
export interface Drawn {
  /** Indices of random patch tokens, [N, K] int32. */
  tokens?: Tensor;
  /** 1 where the condition is the learned one, [N]. */
  dropped?: Tensor;
}

export interface Connector {
  specs: ParamSpecs;
  /** Patch tokens that are drawn for each row; null where none are. */
  draw: ((rng: Rng) => Int32Array) | null;
  /** Share of rows that get the learned condition. */
  dropout: number;
  /** The encoder's output of B pictures -> the condition of N rows; `repeat` makes N rows of B. */
  connect(p: NamedTensors, output: EncoderOutput, drawn: Drawn, repeat: (x: Tensor) => Tensor): Condition;
  /** What is added to the denoiser's feature maps, the middle's last; see DEEM's dense skips. */
  residuals?(p: NamedTensors, features: Tensor[], output: EncoderOutput): Tensor[];
}

export interface Denoiser {
  specs: ParamSpecs;
  /** Whether it comes from a folder, and is neither trained nor kept in checkpoints. */
  isFrozen: boolean;
  /** noisy [N, C, H, W], t [N] in [0, 1], condition of N rows, the encoder's output -> prediction [N, C, H, W]. */
  predict(p: NamedTensors, noisy: Tensor, t: Tensor, condition: Condition, output: EncoderOutput): Tensor;
  /** What the prediction is read as; see the recipe's `denoiser.prediction`. */
  prediction: 'sample' | 'target';
  /** As the encoder's, of one row. */
  widest: number;
}

export interface Networks extends Feedback {
  encoder: Encoder;
  /** Null for an encoder that has none, such as DINOv2. */
  text: TextTower | null;
  /** Sides of the square pictures. */
  imageSize: number;
  /** Starting weights of what comes from folders and is kept in checkpoints: the encoder and its text tower. */
  start: (() => Promise<Record<string, { shape: number[]; data: Float32Array }>>) | null;
}

/** Opens a recipe's networks. Throws a FoveaError where a folder is not what the recipe says, or parts do not fit. */
export async function openNetworks(
  recipe: Recipe,
  recipeDir: string,
  vocabulary: readonly string[],
): Promise<Networks> {
  const pictures = await openPictures(recipe, recipeDir, vocabulary);
  const feedback = await openFeedback(recipe, recipeDir, pictures.encoder);
  return { ...pictures, ...feedback, imageSize: recipe.data.imageSize };
}
