// How t in [0, 1] is drawn: uniform over a range, uniform over a schedule's steps (DIVA, DCR) and from there towards the
// middle (DEEM), or the sigmoid of a normal (GenHancer; Esser et al. 2024, SD3, "logit-normal").

import type { Rng } from '@fovea/tensor/random';

export type TimestepSampling =
  | { kind: 'uniform'; min: number; max: number }
  /** A whole step of 0 … steps − 1, as step / steps; `remap` moves it afterwards. */
  | { kind: 'discrete'; steps: number; remap?: Remap }
  /** `std` is GenHancer's scale. */
  | { kind: 'sigmoid-normal'; mean: number; std: number };

/** step -> round((step − centre) · scale + centre). */
export interface Remap {
  centre: number;
  scale: number;
}

/** DEEM's consistency loss looks at 200 … 799 of 1000 steps. */
export const DEEM_REMAP: Remap = { centre: 500, scale: 0.6 };

export const remapStep = (step: number, { centre, scale }: Remap): number =>
  Math.round((step - centre) * scale + centre);

/** One draw of t; 0 is the clean picture, 1 pure noise. */
export function drawTimestep(rng: Rng, sampling: TimestepSampling): number {
  switch (sampling.kind) {
    case 'uniform':
      return rng.between(sampling.min, sampling.max);
    case 'discrete': {
      const step = rng.int(sampling.steps);
      return (sampling.remap ? remapStep(step, sampling.remap) : step) / sampling.steps;
    }
    case 'sigmoid-normal':
      return 1 / (1 + Math.exp(-(sampling.mean + sampling.std * rng.normal())));
  }
}
