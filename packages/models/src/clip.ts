// A CLIP-style dual encoder (Radford et al. 2021): a pre-norm ViT with a class token and quick-GELU, and a small text
// tower. Vision parameter names and shapes are Hugging Face's `CLIPVisionModelWithProjection`, so its files load there.

import { layerNorm, type NamedTensors, quickGelu, type Tensor, tf } from '@fovea/tensor';
import type { EncoderOutput } from './encoder.ts';
import {
  attentionSpecs,
  constant,
  l2Normalise,
  layerNormSpecs,
  linear,
  linearSpecs,
  normal,
  type ParamSpecs,
  patchify,
  selfAttention,
} from './params.ts';

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

const LAYER = (i: number) => `vision_model.encoder.layers.${i}`;

export function visionSpecs(c: VisionConfig): ParamSpecs {
  const tokens = (c.imageSize / c.patchSize) ** 2 + 1;
  const specs: ParamSpecs = {
    'vision_model.embeddings.class_embedding': normal([c.width]),
    'vision_model.embeddings.patch_embedding.weight': normal(
      [c.width, 3, c.patchSize, c.patchSize],
      1 / Math.sqrt(3 * c.patchSize ** 2),
    ),
    'vision_model.embeddings.position_embedding.weight': normal([tokens, c.width]),
    ...layerNormSpecs('vision_model.pre_layrnorm', c.width),
    ...layerNormSpecs('vision_model.post_layernorm', c.width),
    'visual_projection.weight': normal([c.projection, c.width], 1 / Math.sqrt(c.width)),
  };
  for (let i = 0; i < c.layers; i++) Object.assign(specs, encoderLayerSpecs(LAYER(i), c));
  return specs;
}

export function encoderLayerSpecs(layer: string, c: Pick<VisionConfig, 'width' | 'layers' | 'mlpRatio'>): ParamSpecs {
  const hidden = Math.round(c.width * c.mlpRatio);
  return {
    ...layerNormSpecs(`${layer}.layer_norm1`, c.width),
    ...attentionSpecs(`${layer}.self_attn`, c.width, c.layers),
    ...layerNormSpecs(`${layer}.layer_norm2`, c.width),
    ...linearSpecs(`${layer}.mlp.fc1`, c.width, hidden),
    ...linearSpecs(`${layer}.mlp.fc2`, hidden, c.width, 1 / Math.sqrt(2 * c.layers * c.width)),
  };
}

const norm = (p: NamedTensors, name: string, x: Tensor) => layerNorm(x, p[`${name}.weight`], p[`${name}.bias`]);

/** One pre-norm block under the name `layer`: x [B, T, D] -> [B, T, D]. */
export function encoderLayer(p: NamedTensors, layer: string, x: Tensor, heads: number): Tensor {
  const y = tf.add(x, selfAttention(p, `${layer}.self_attn`, norm(p, `${layer}.layer_norm1`, x), heads));
  const hidden = quickGelu(linear(p, `${layer}.mlp.fc1`, norm(p, `${layer}.layer_norm2`, y))); // [B, T, 4D]
  return tf.add(y, linear(p, `${layer}.mlp.fc2`, hidden));
}

/** pixels [B, 3, H, W], RGB in [0, 1] -> tokens and features. */
export function encodeImage(p: NamedTensors, pixels: Tensor, c: VisionConfig): EncoderOutput {
  const [b] = pixels.shape;
  const normalised = tf.div(tf.sub(pixels, PIXEL_MEAN), PIXEL_STD);
  const kernel = tf.reshape(p['vision_model.embeddings.patch_embedding.weight'], [c.width, -1]);
  const patches = linear({ 'patch.weight': kernel }, 'patch', patchify(normalised, c.patchSize)); // [B, N, D]
  const cls = tf.broadcastTo(tf.reshape(p['vision_model.embeddings.class_embedding'], [1, 1, c.width]), [
    b,
    1,
    c.width,
  ]);
  let x: Tensor = tf.concat([cls, patches], 1); // [B, 1 + N, D]
  x = tf.add(x, p['vision_model.embeddings.position_embedding.weight']);
  x = norm(p, 'vision_model.pre_layrnorm', x);
  for (let i = 0; i < c.layers; i++) x = encoderLayer(p, LAYER(i), x, c.heads);
  const pooled = norm(p, 'vision_model.post_layernorm', tf.reshape(tf.slice(x, [0, 0, 0], [-1, 1, -1]), [b, c.width]));
  const normed = norm(p, 'vision_model.post_layernorm', x);
  return { hidden: x, normed, pooled, embeds: linear(p, 'visual_projection', pooled) };
}

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
