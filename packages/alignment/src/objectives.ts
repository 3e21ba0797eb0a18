// The terms that stages are made of. Each takes named parameters and a batch and returns a scalar.

import { addNoise, diffusionLoss, unpackCoefficients } from '@fovea/diffusion';
import { clipLogits, denoise, encodeImage, l2Normalise, projectCondition, type VisionOutput } from '@fovea/models';
import type { Recipe } from '@fovea/recipe';
import { crossEntropy, type NamedTensors, type Tensor, tf } from '@fovea/tensor';
import type { ModelConfig } from './model.ts';

/** What a step reads besides parameters; P pictures, N = P · draws noisy versions of them. */
export interface StepInputs extends NamedTensors {
  /** What the encoder sees: [P, 3, H, W], RGB in [0, 1]. */
  pixels: Tensor;
  /** What the denoiser reconstructs under that condition; the same pictures, unless pairs are shuffled. */
  targets: Tensor;
  /** [P] int32 class indices. */
  labels: Tensor;
  /** [N, 3, H, W] standard normal; row i·draws + d belongs to picture i. */
  noise: Tensor;
  /** [N] in [0, 1]. */
  t: Tensor;
  /** [N, 4], see `unpackCoefficients`. */
  coefficients: Tensor;
}

/** Image–text loss: every picture against the features of all class names [C, projection], mean cross entropy. */
export function contrastiveLoss(p: NamedTensors, encoded: VisionOutput, labels: Tensor, texts: Tensor): Tensor {
  return crossEntropy(clipLogits(p, encoded.embeds, texts), labels);
}

/** Mean of 1 − cos(feature, starting feature). */
export function retentionLoss(encoded: VisionOutput, reference: Tensor): Tensor {
  const cosine = tf.sum(tf.mul(l2Normalise(encoded.embeds), l2Normalise(reference)), -1);
  return tf.mean(tf.sub(1, cosine));
}

/** Tokens that the condition is made of: the class token, then evenly spaced patch tokens: [P, K, D]. */
export function selectTokens({ pooled, tokens }: VisionOutput, count: number): Tensor {
  const [batch, patches, width] = tokens.shape;
  const parts: Tensor[] = [tf.reshape(pooled, [batch, 1, width])];
  for (let i = 0; i < Math.min(count - 1, patches); i++) {
    const at = Math.floor(((i + 0.5) * patches) / (count - 1));
    parts.push(tf.slice(tokens, [0, at, 0], [-1, 1, -1]));
  }
  return parts.length === 1 ? parts[0] : tf.concat(parts, 1);
}

/** Row i takes the place of row i + by, cyclically. */
function roll(x: Tensor, by: number): Tensor {
  const [head, tail] = tf.split(x, [x.shape[0] - by, by], 0);
  return tf.concat([tail, head], 0);
}

/** What is reconstructed under each picture's condition, taken from its neighbour: pairs that share nothing but the batch. */
export function shuffledTargets(inputs: StepInputs): Pick<StepInputs, 'targets' | 'noise' | 't' | 'coefficients'> {
  const { targets, noise, t, coefficients } = inputs;
  const draws = noise.shape[0] / targets.shape[0];
  return {
    targets: roll(targets, 1),
    noise: roll(noise, draws),
    t: roll(t, draws),
    coefficients: roll(coefficients, draws),
  };
}

/**
 * The feedback loss: the denoiser's error on the noisy pictures under the condition of `selected` [P, K, D], averaged
 * over all draws. The encoder ran once per picture, however many draws there are.
 */
export function feedbackLoss(
  p: NamedTensors,
  selected: Tensor,
  inputs: StepInputs,
  recipe: Recipe,
  config: ModelConfig,
): Tensor {
  const draws = inputs.noise.shape[0] / inputs.pixels.shape[0];
  const repeat = (x: Tensor): Tensor => {
    if (draws === 1) return x;
    const tiled = tf.tile(tf.expandDims(x, 1), [1, draws, ...x.shape.slice(1).map(() => 1)]);
    return tf.reshape(tiled, [-1, ...x.shape.slice(1)]);
  };
  const clean = repeat(tf.sub(tf.mul(inputs.targets, 2), 1)); // [N, 3, H, W] in [−1, 1]
  const coefficients = unpackCoefficients(inputs.coefficients);
  const noisy = addNoise(clean, inputs.noise, coefficients);
  const { vector, tokens } = projectCondition(p, selected);
  const output = denoise(p, noisy, inputs.t, { vector: repeat(vector), tokens: repeat(tokens) }, config.denoiser);
  return tf.mean(diffusionLoss(output, clean, inputs.noise, coefficients, recipe.denoiser.prediction));
}

export const encode = (p: NamedTensors, pixels: Tensor, config: ModelConfig): VisionOutput =>
  encodeImage(p, pixels, config.vision);
