// Visual contrastive decoding (Leng et al., CVPR 2024, arXiv 2311.16922) as pure functions: the noised picture, and the
// logits that come of a picture's and a noised picture's. Who reads both, and chooses, is not known here.

import type { Rng } from '@fovea/tensor/random';

/** alpha 0 and beta 0 leave logits as they are. */
export interface ContrastOptions {
  /** How far the noised picture's logits are subtracted. */
  alpha: number;
  /** Tokens with less than this share of the best one's probability are not chosen; 0 to 1. */
  beta: number;
}

/** `vcd-repo-cli` and `vcd-repo-script` are the published code's own two settings; `t` is the step of noise, 0 to 999. */
export const VCD_PRESETS = {
  'vcd-repo-cli': { alpha: 1, beta: 0.1, t: 500 },
  'vcd-repo-script': { alpha: 1, beta: 0.2, t: 500 },
  'vcd-999': { alpha: 1, beta: 0.1, t: 999 },
} as const;

/** (1 + α)·ℓ − α·ℓ′, and −∞ where ℓ is less than its largest plus ln β. */
export function contrasted(
  seen: ArrayLike<number>,
  noised: ArrayLike<number>,
  { alpha, beta }: ContrastOptions,
): Float64Array {
  let top = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < seen.length; i++) top = Math.max(top, seen[i]);
  const cut = top + Math.log(beta);
  return Float64Array.from({ length: seen.length }, (_, i) =>
    seen[i] < cut ? Number.NEGATIVE_INFINITY : (1 + alpha) * seen[i] - alpha * noised[i],
  );
}

const STEPS = 1000;

/** Share of the picture's variance that is left at step t: ᾱ_t of β_i = σ(−6 … 6)·(0.005 − 1e-5) + 1e-5. */
export function signalLeft(t: number): number {
  let left = 1;
  for (let i = 0; i <= t; i++) {
    const beta = (0.005 - 1e-5) / (1 + Math.exp(6 - (12 * i) / (STEPS - 1))) + 1e-5;
    left *= 1 - beta;
  }
  return left;
}

/** √ᾱ_t · x + √(1 − ᾱ_t) · ε over normalised pixels; give `rng` per run and question, so that order changes nothing. */
export function noised(pixels: Float32Array, t: number, rng: Rng): Float32Array {
  const left = signalLeft(t);
  const [keep, add] = [Math.sqrt(left), Math.sqrt(1 - left)];
  return pixels.map((x) => keep * x + add * rng.normal());
}
