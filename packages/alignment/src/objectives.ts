// The terms that stages are made of. Each takes named parameters and a batch and returns a scalar.

import { addNoise, diffusionLoss, noiseContrast, unpackCoefficients } from '@fovea/diffusion';
import { clipLogits, type EncoderOutput, l2Normalise } from '@fovea/models';
import type { Recipe } from '@fovea/recipe';
import { crossEntropy, type NamedTensors, type Tensor, tf } from '@fovea/tensor';
import type { Condition, Networks } from './networks.ts';

/** What a step reads besides parameters; P pictures, N = P · draws noisy versions of them. */
export interface StepInputs extends NamedTensors {
  /** What the encoder sees: [P, 3, H, W], RGB in [0, 1]. */
  pixels: Tensor;
  /** What the denoiser reconstructs under that condition; the same pictures, unless pairs are shuffled. */
  targets: Tensor;
  /** [P] int32 class indices. */
  labels: Tensor;
  /** [N, C, H, W], as what is denoised, standard normal; row i·draws + d belongs to picture i. */
  noise: Tensor;
  /** [N] in [0, 1]. */
  t: Tensor;
  /** [N, 4], see `unpackCoefficients`. */
  coefficients: Tensor;
}

/** Image–text loss: every picture against the features of all class names [C, projection], mean cross entropy. */
export function contrastiveLoss(p: NamedTensors, encoded: EncoderOutput, labels: Tensor, texts: Tensor): Tensor {
  return crossEntropy(clipLogits(p, encoded.embeds, texts), labels);
}

/** Mean of 1 − cos(feature, starting feature). */
export function retentionLoss(encoded: EncoderOutput, reference: Tensor): Tensor {
  const cosine = tf.sum(tf.mul(l2Normalise(encoded.embeds), l2Normalise(reference)), -1);
  return tf.mean(tf.sub(1, cosine));
}

/** Row i takes the place of row i + by, cyclically. */
function roll(x: Tensor, by: number): Tensor {
  const [head, tail] = tf.split(x, [x.shape[0] - by, by], 0);
  return tf.concat([tail, head], 0);
}

/** What is reconstructed under each picture's condition, taken from its neighbour: pairs that share nothing but the batch. */
export function shuffledTargets(inputs: StepInputs): NamedTensors {
  const { targets, noise, t, coefficients, latentNoise } = inputs;
  const draws = noise.shape[0] / targets.shape[0];
  return {
    targets: roll(targets, 1),
    noise: roll(noise, draws),
    t: roll(t, draws),
    coefficients: roll(coefficients, draws),
    ...(latentNoise && { latentNoise: roll(latentNoise, 1) }),
  };
}

/**
 * The feedback loss: the denoiser's error on the noisy pictures under the condition that the encoder's `output` gives,
 * averaged over all draws. The encoder ran once per picture, however many draws there are.
 */
export function feedbackLoss(
  p: NamedTensors,
  output: EncoderOutput,
  inputs: StepInputs,
  { connector, denoiser, clean: cleanOf }: Networks,
  loss: Recipe['diffusion']['loss'],
): Tensor {
  const draws = inputs.noise.shape[0] / inputs.pixels.shape[0];
  const repeat = (x: Tensor): Tensor => {
    if (draws === 1) return x;
    const tiled = tf.tile(tf.expandDims(x, 1), [1, draws, ...x.shape.slice(1).map(() => 1)]);
    return tf.reshape(tiled, [-1, ...x.shape.slice(1)]);
  };
  const clean = repeat(cleanOf(p, inputs.targets, inputs.latentNoise)); // [N, C, H, W]
  const coefficients = unpackCoefficients(inputs.coefficients);
  const noisy = addNoise(clean, inputs.noise, coefficients);
  const condition = connector.connect(p, output, { tokens: inputs.tokens, dropped: inputs.dropped }, repeat);
  const predict = (x: Tensor, t: Tensor, told: Condition, seen: EncoderOutput) => denoiser.predict(p, x, t, told, seen);
  if (loss.kind === 'mse') {
    const predicted = predict(noisy, inputs.t, condition, repeatOutput(output, repeat));
    return tf.mean(diffusionLoss(predicted, clean, inputs.noise, coefficients, denoiser.prediction));
  }
  const n = noisy.shape[0];
  const rows = (x: Tensor) =>
    tf.reshape(tf.tile(tf.expandDims(x, 1), [1, n, ...Array(x.rank - 1).fill(1)]), [n * n, ...x.shape.slice(1)]); // each n times
  const cycles = (x: Tensor) => tf.tile(x, [n, ...Array(x.rank - 1).fill(1)]); // all, n times over
  const every = mapTensors(condition, cycles);
  const predicted = predict(
    rows(noisy),
    rows(inputs.t),
    every,
    repeatOutput(output, (x) => cycles(repeat(x))),
  );
  const target = tf.add(tf.mul(clean, coefficients.x), tf.mul(inputs.noise, coefficients.e)) as Tensor;
  const { temperature } = loss;
  return noiseContrast(tf.reshape(predicted, [n, n, ...clean.shape.slice(1)]), target, { temperature });
}

const mapTensors = ({ tokens, vector }: Condition, fn: (x: Tensor) => Tensor): Condition => ({
  ...(tokens && { tokens: fn(tokens) }),
  ...(vector && { vector: fn(vector) }),
});

/** An encoder's output with as many rows as something makes of it. */
export const repeatOutput = (output: EncoderOutput, repeat: (x: Tensor) => Tensor): EncoderOutput => ({
  hidden: repeat(output.hidden),
  normed: repeat(output.normed),
  pooled: repeat(output.pooled),
  embeds: repeat(output.embeds),
  ...(output.maps && { maps: output.maps.map(repeat) }),
});
