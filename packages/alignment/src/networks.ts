// A run's networks as pure functions over one bag of named weights: what encodes, what turns tokens into a condition, what
// denoises under it. The recipe says which; the training step, the probe, the judge and the export know no family.

import {
  type Condition,
  denoise,
  denoiserSpecs,
  type EncoderOutput,
  type EncoderShape,
  encodeImage,
  encodeText,
  type ParamSpecs,
  projectCondition,
  projectorSpecs,
  textSpecs,
  type VisionConfig,
  visionSpecs,
} from '@fovea/models';
import type { Recipe } from '@fovea/recipe';
import { type NamedTensors, type Tensor, tf } from '@fovea/tensor';

export interface Encoder {
  specs: ParamSpecs;
  shape: EncoderShape;
  /** Numbers of the widest activation of one picture; the batch is cut into slices by it. */
  widest: number;
  /** pixels [B, 3, H, W], RGB in [0, 1] at the encoder's own size; its normalisation is inside. */
  encode(p: NamedTensors, pixels: Tensor): EncoderOutput;
}

export interface TextTower {
  specs: ParamSpecs;
  /** Bags of words [M, vocabulary] -> features, not normalised [M, projection]. */
  encode(p: NamedTensors, bags: Tensor): Tensor;
}

export interface Connector {
  specs: ParamSpecs;
  /** The condition of every picture: all tensors of it [B, ...]. */
  connect(p: NamedTensors, output: EncoderOutput): Condition;
}

export interface Denoiser {
  specs: ParamSpecs;
  /** noisy [N, C, H, W], t [N] in [0, 1], condition of N rows -> prediction [N, C, H, W]. */
  predict(p: NamedTensors, noisy: Tensor, t: Tensor, condition: Condition): Tensor;
  /** What the prediction is read as; see the recipe's `denoiser.prediction`. */
  prediction: 'sample' | 'target';
  /** As the encoder's, of one sample. */
  widest: number;
}

export interface Networks {
  encoder: Encoder;
  text: TextTower;
  connector: Connector;
  denoiser: Denoiser;
  /** Sides of the square pictures. */
  imageSize: number;
}

/** The project's own small networks. `vocabulary` is the number of words that the text tower knows. */
export function builtinNetworks(recipe: Recipe, vocabulary: number): Networks {
  const { imageSize } = recipe.data;
  const vision: VisionConfig = { imageSize, ...recipe.encoder };
  const text = { vocabulary, width: vision.width, projection: vision.projection };
  const denoiser = { imageSize, ...recipe.denoiser };
  const patches = (imageSize / vision.patchSize) ** 2;
  return {
    encoder: {
      specs: visionSpecs(vision),
      shape: {
        imageSize: { height: imageSize, width: imageSize },
        patches,
        prefix: 1,
        width: vision.width,
        projection: vision.projection,
      },
      widest: (patches + 1) * Math.max(3, vision.mlpRatio) * vision.width,
      encode: (p, pixels) => encodeImage(p, pixels, vision),
    },
    text: { specs: textSpecs(text), encode: encodeText },
    connector: {
      specs: projectorSpecs(vision.width, denoiser),
      connect: (p, output) => projectCondition(p, selectTokens(output, denoiser.conditionTokens)),
    },
    denoiser: {
      specs: denoiserSpecs(denoiser),
      predict: (p, noisy, t, condition) => denoise(p, noisy, t, condition, denoiser),
      prediction: denoiser.prediction,
      widest: ((imageSize / denoiser.patchSize) ** 2 + 1 + denoiser.conditionTokens) * 4 * denoiser.width,
    },
    imageSize,
  };
}

/** The pooled vector, then evenly spaced patch tokens of the last layer: [B, count, D]. */
export function selectTokens({ pooled, hidden }: EncoderOutput, count: number): Tensor {
  const [batch, length, width] = hidden.shape;
  const patches = length - 1;
  const parts: Tensor[] = [tf.reshape(pooled, [batch, 1, width])];
  for (let i = 0; i < Math.min(count - 1, patches); i++) {
    const at = 1 + Math.floor(((i + 0.5) * patches) / (count - 1));
    parts.push(tf.slice(hidden, [0, at, 0], [-1, 1, -1]));
  }
  return parts.length === 1 ? parts[0] : tf.concat(parts, 1);
}
