// How t in [0, 1] is drawn: uniform over a range (DDPM, DEEM's [200, 799] remap) or the sigmoid of a normal
// (GenHancer; Esser et al. 2024, SD3, "logit-normal").

import type { Rng } from '@fovea/tensor/random';

export type TimestepSampling =
  | { kind: 'uniform'; min: number; max: number }
  | { kind: 'sigmoid-normal'; mean: number; std: number };

/** One draw of t; 0 is the clean picture, 1 pure noise. */
export function drawTimestep(rng: Rng, sampling: TimestepSampling): number {
  if (sampling.kind === 'uniform') return rng.between(sampling.min, sampling.max);
  return 1 / (1 + Math.exp(-(sampling.mean + sampling.std * rng.normal())));
}
