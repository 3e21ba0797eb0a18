// The small CLIP that recipes train from nothing (after Radford et al. 2021): the picture tower of clip-vit.ts with its
// pixel statistics inside, and a text tower that reads bags of words. Published CLIPs are clip-vit.ts and clip-text.ts.

import { type NamedTensors, quickGelu, type Tensor, tf } from '@fovea/tensor';
import { type ClipVitConfig, clipVit, clipVitSpecs } from './clip-vit.ts';
import type { EncoderOutput } from './encoder.ts';
import { constant, l2Normalise, linear, linearSpecs, normal, type ParamSpecs } from './params.ts';

export interface VisionConfig {
  imageSize: number;
  patchSize: number;
  width: number;
  layers: number;
  heads: number;
  mlpRatio: number;
  /** Width of the shared image–text space. */
  projection: number;
}

/** Pixel statistics that the encoder normalises by, inside the model: pictures travel as RGB in [0, 1]. */
export const PIXEL_MEAN = 0.6;
export const PIXEL_STD = 0.3;

/** The tower in front of which those statistics stand, in Hugging Face's terms. */
const vitOf = (c: VisionConfig): ClipVitConfig => ({
  ...c,
  hidden: Math.round(c.width * c.mlpRatio),
  activation: 'quick_gelu',
  epsilon: 1e-5,
});

export const visionSpecs = (c: VisionConfig): ParamSpecs => clipVitSpecs(vitOf(c));

/** pixels [B, 3, H, W], RGB in [0, 1]. */
export const encodeImage = (p: NamedTensors, pixels: Tensor, c: VisionConfig): EncoderOutput =>
  clipVit(p, tf.div(tf.sub(pixels, PIXEL_MEAN), PIXEL_STD), vitOf(c));

export interface TextConfig {
  vocabulary: number;
  width: number;
  projection: number;
}

/** Mean of word embeddings and a residual two-layer MLP: enough for names of a few words. */
export function textSpecs(c: TextConfig): ParamSpecs {
  return {
    'text_model.token_embedding.weight': normal([c.vocabulary, c.width], 1 / Math.sqrt(c.width)),
    ...linearSpecs('text_model.mlp.fc1', c.width, 2 * c.width),
    ...linearSpecs('text_model.mlp.fc2', 2 * c.width, c.width),
    'text_projection.weight': normal([c.projection, c.width], 1 / Math.sqrt(c.width)),
    logit_scale: constant([], Math.log(10)),
  };
}

/** bags [M, vocabulary], each row the mean of its words' one-hot vectors -> text features, not normalised [M, projection]. */
export function encodeText(p: NamedTensors, bags: Tensor): Tensor {
  const words = tf.matMul(bags as never, p['text_model.token_embedding.weight'] as never) as Tensor; // [M, D]
  const hidden = quickGelu(linear(p, 'text_model.mlp.fc1', words));
  return linear(p, 'text_projection', tf.add(words, linear(p, 'text_model.mlp.fc2', hidden)));
}

/** Cosine similarities times the learned scale (at most 100, as in CLIP): [B, projection] × [M, projection] -> [B, M]. */
export function clipLogits(p: NamedTensors, images: Tensor, texts: Tensor): Tensor {
  const scale = tf.exp(tf.minimum(p.logit_scale, Math.log(100)));
  const cosines = tf.matMul(l2Normalise(images) as never, l2Normalise(texts) as never, false, true) as Tensor;
  return tf.mul(cosines, scale);
}
