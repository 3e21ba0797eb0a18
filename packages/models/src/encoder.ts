// What every image encoder gives, whatever its family: the methods choose their condition from it, the benchmarks score
// by it. What nobody reads is not computed, so a family gives all that it has.

import type { Tensor } from '@fovea/tensor';

export type { Preprocessing } from '@fovea/artifacts';

export interface EncoderOutput {
  /** The last layer's tokens, before the final norm, class token first where the family has one: [B, T, D]. */
  hidden: Tensor;
  /** The same after the final norm: [B, T, D]. */
  normed: Tensor;
  /** One vector a picture, as the family pools it: [B, D]. */
  pooled: Tensor;
  /** In the image–text space, not normalised: [B, P]. The pooled vector in a family without a projection. */
  embeds: Tensor;
  /** Feature maps from fine to coarse, where the family has several: each [B, C, H, W]. */
  maps?: Tensor[];
}

/** What the methods must know of an encoder before it runs. */
export interface EncoderShape {
  /** Sides of the picture it takes, in pixels. */
  imageSize: { height: number; width: number };
  /** Patch tokens, without a class token. */
  patches: number;
  /** Tokens in front of the patches: the class token, and registers. */
  prefix: number;
  /** Width of tokens and of the pooled vector. */
  width: number;
  /** Width of the image–text space; `width` in a family without one. */
  projection: number;
}
