// The pre-norm transformer that CLIP and SigLIP share, picture and text towers alike, under Hugging Face's names:
// `${name}.layers.{i}.{layer_norm1,self_attn,layer_norm2,mlp}`. DINOv2 names and scales its parts otherwise; see dinov2.ts.

import { layerNorm, type NamedTensors, type Tensor, tf } from '@fovea/tensor';
import { ACTIVATIONS, type ActivationName } from './config.ts';
import {
  attentionSpecs,
  layerNormSpecs,
  linear,
  linearSpecs,
  type ParamSpecs,
  patchify,
  selfAttention,
} from './params.ts';

export interface TransformerConfig {
  width: number;
  layers: number;
  heads: number;
  /** Width inside the MLP. */
  hidden: number;
  activation: ActivationName;
  /** Of the layer norms. */
  epsilon: number;
}

/** Layer norm of x [..., D] by `${name}.weight` and `${name}.bias`. */
export function norm(p: NamedTensors, name: string, x: Tensor, epsilon?: number): Tensor {
  return layerNorm(x, p[`${name}.weight`], p[`${name}.bias`], epsilon);
}

type MlpConfig = Pick<TransformerConfig, 'width' | 'layers' | 'hidden'>;

export function mlpSpecs(name: string, { width, layers, hidden }: MlpConfig): ParamSpecs {
  return {
    ...linearSpecs(`${name}.fc1`, width, hidden),
    ...linearSpecs(`${name}.fc2`, hidden, width, 1 / Math.sqrt(2 * layers * width)),
  };
}

export function mlp(p: NamedTensors, name: string, x: Tensor, activation: ActivationName): Tensor {
  return linear(p, `${name}.fc2`, ACTIVATIONS[activation](linear(p, `${name}.fc1`, x)));
}

export function encoderLayerSpecs(layer: string, c: MlpConfig): ParamSpecs {
  return {
    ...layerNormSpecs(`${layer}.layer_norm1`, c.width),
    ...attentionSpecs(`${layer}.self_attn`, c.width, c.layers),
    ...layerNormSpecs(`${layer}.layer_norm2`, c.width),
    ...mlpSpecs(`${layer}.mlp`, c),
  };
}

type LayerConfig = Pick<TransformerConfig, 'heads' | 'activation' | 'epsilon'>;

/** One block: x [B, T, D] -> [B, T, D]. Causal: a token attends to itself and those in front of it. */
export function encoderLayer(p: NamedTensors, layer: string, x: Tensor, c: LayerConfig, causal = false): Tensor {
  const attended = norm(p, `${layer}.layer_norm1`, x, c.epsilon);
  const y = tf.add(x, selfAttention(p, `${layer}.self_attn`, attended, c.heads, { causal }));
  return tf.add(y, mlp(p, `${layer}.mlp`, norm(p, `${layer}.layer_norm2`, y, c.epsilon), c.activation));
}

export function encoderSpecs(name: string, c: TransformerConfig): ParamSpecs {
  const layers = Array.from({ length: c.layers }, (_, i) => encoderLayerSpecs(`${name}.layers.${i}`, c));
  return Object.assign({}, ...layers);
}

/** All blocks: x [B, T, D] -> [B, T, D], not normed. */
export function encoder(p: NamedTensors, name: string, x: Tensor, c: TransformerConfig, causal = false): Tensor {
  for (let i = 0; i < c.layers; i++) x = encoderLayer(p, `${name}.layers.${i}`, x, c, causal);
  return x;
}

/**
 * A Conv2d [D, 3, P, P] of stride P without padding, as one matrix product: pixels [B, 3, H, W] -> [B, ⌊H/P⌋·⌊W/P⌋, D].
 * What is left over at the right and bottom is not seen. The bias is optional.
 */
export function patchEmbed(p: NamedTensors, name: string, pixels: Tensor): Tensor {
  const { [`${name}.weight`]: weight, [`${name}.bias`]: bias } = p;
  const [width, , patch] = weight.shape;
  const [rows, columns] = gridOf(pixels, patch);
  const whole = tf.slice(pixels, [0, 0, 0, 0], [-1, -1, rows * patch, columns * patch]);
  const kernel = { 'patch.weight': tf.reshape(weight, [width, -1]), ...(bias ? { 'patch.bias': bias } : {}) };
  return linear(kernel, 'patch', patchify(whole, patch));
}

/** Rows and columns of patches in pixels [B, 3, H, W]. */
export function gridOf(pixels: Tensor, patch: number): [rows: number, columns: number] {
  const [, , height, width] = pixels.shape as number[];
  return [Math.floor(height / patch), Math.floor(width / patch)];
}

/** Row `index` of every sequence: x [B, T, D] -> [B, D]; negative counts from the end. */
export function tokenAt(x: Tensor, index: number): Tensor {
  const [b, t, d] = x.shape;
  return tf.reshape(tf.slice(x, [0, index < 0 ? t + index : index, 0], [-1, 1, -1]), [b, d]);
}

/** A learned token of D numbers in any shape, for each of `batch` pictures: [B, K, D]. */
export function repeatToken(token: Tensor, batch: number, width: number): Tensor {
  const rows = tf.reshape(token, [1, -1, width]);
  return tf.broadcastTo(rows, [batch, token.size / width, width]);
}
