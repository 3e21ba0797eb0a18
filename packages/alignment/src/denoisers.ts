// The denoisers of diffusers behind one function each: what a network of that configuration takes as its condition, and
// its prediction. Times come in [0, 1], 1 pure noise.

import { FoveaError } from '@fovea/artifacts';
import { DDPM_STEPS } from '@fovea/diffusion';
import {
  dit,
  ditSpecs,
  ditWidth,
  flux,
  fluxSpecs,
  type ParamSpecs,
  readDitConfig,
  readFluxConfig,
  readUnetConfig,
  unet,
  unetSkipShapes,
  unetSpecs,
} from '@fovea/models';
import { type NamedTensors, type Tensor, tf } from '@fovea/tensor';
import type { Condition } from './networks.ts';

export interface DenoiserFamily {
  specs: ParamSpecs;
  /** What a folder of it holds, where that is more: a DiT's table of classes, which a vector replaces. */
  stored?: ParamSpecs;
  /** Width of the condition's tokens; null where it takes none. */
  tokenWidth: number | null;
  /** Width of the condition's vector; null where it takes none. */
  vectorWidth: number | null;
  /** Channels and sides of the feature maps that take residuals, the middle's last; null where there are none. */
  features: number[][] | null;
  widest: number;
  /** `residualsOf` is called where the family has features, and may give none. */
  predict(
    p: NamedTensors,
    noisy: Tensor,
    t: Tensor,
    condition: Condition,
    residualsOf: (features: Tensor[]) => Tensor[],
  ): Tensor;
}

const FLUX_GUIDANCE = 4; // GenHancer's constant, train_OpenAICLIP_stage1.py

export function familyOf(
  kind: 'unet' | 'flux' | 'dit',
  json: unknown,
  where: string,
  [channels, height, width]: number[],
): DenoiserFamily {
  const fits = (wanted: number) => {
    if (wanted !== channels)
      throw new FoveaError(
        `The denoiser ${where} takes ${wanted} channels, but what it is to denoise has ${channels}; give the autoencoder that belongs to it.`,
      );
  };
  if (kind === 'unet') {
    const c = readUnetConfig(json, where);
    fits(c.inChannels);
    const { skips, mid } = unetSkipShapes(c, height, width);
    return {
      specs: unetSpecs(c),
      tokenWidth: c.crossAttentionDim,
      vectorWidth: c.classWidth,
      features: [...skips, mid],
      widest: 4 * Math.max(...skips.map(([d, h, w]) => d * h * w)),
      predict: (p, noisy, t, { tokens, vector }, residualsOf) =>
        unet(p, noisy, steps(t), tokens as Tensor, c, { classLabels: vector, residualsOf }),
    };
  }
  if (kind === 'flux') {
    const c = readFluxConfig(json, where);
    fits(c.inChannels / 4);
    return {
      specs: fluxSpecs(c),
      tokenWidth: c.jointAttentionDim,
      vectorWidth: c.pooledProjectionDim,
      features: null,
      widest: ((height * width) / 4 + 1) * 5 * c.numAttentionHeads * c.attentionHeadDim,
      predict(p, noisy, t, condition) {
        const guidance = c.guidanceEmbeds ? (tf.fill([noisy.shape[0]], FLUX_GUIDANCE) as Tensor) : undefined;
        return flux(p, noisy, t, condition as Required<Condition>, c, guidance);
      },
    };
  }
  const c = readDitConfig(json, where);
  fits(c.inChannels);
  return {
    specs: ditSpecs(c, 'vector'),
    stored: ditSpecs(c, 'label'),
    tokenWidth: null,
    vectorWidth: ditWidth(c),
    features: null,
    widest: ((height * width) / c.patchSize ** 2) * 4 * ditWidth(c),
    predict(p, noisy, t, { vector }) {
      const out = dit(p, noisy, steps(t), { vector: vector as Tensor }, c);
      return tf.slice(out, [0, 0, 0, 0], [-1, channels, -1, -1]); // without a learned variance
    },
  };
}

/** The step of DDPM that t is in, 0 … 999, as diffusion's `stepOf` has it. */
const steps = (t: Tensor): Tensor => tf.minimum(tf.floor(tf.add(tf.mul(t, DDPM_STEPS), 1e-4)), DDPM_STEPS - 1);
