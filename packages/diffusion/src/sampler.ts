// From noise to a picture with a trained denoiser: Euler steps for rectified flow and DDIM for DDPM (Song et al. 2021),
// which are the same move, x_s = a_s·x0̂ + b_s·ε̂, under their own schedules.

import { coefficientsAt, type TargetKind } from './process.ts';

export interface SampleOptions {
  steps: number;
  target: TargetKind;
  prediction: 'sample' | 'target';
  /** Of the schedule that the network was trained on. @default Stable Diffusion's */
  alphasCumprod?: Float64Array;
}

/** One evaluation of the network at time t (the same for the whole batch): picture in, prediction out, both flat. */
export type Network = (x: Float32Array, t: number) => Promise<Float32Array>;

/** Starts from standard normal `noise` and returns the clean estimate, in the denoiser's pixel range. */
export async function sample(
  network: Network,
  noise: Float32Array,
  { steps, target, prediction, alphasCumprod }: SampleOptions,
): Promise<Float32Array> {
  const x = noise.slice();
  for (let i = 0; i < steps; i++) {
    const t = 1 - i / steps;
    const now = coefficientsAt(Math.min(t, 0.999), target, alphasCumprod);
    const next = i + 1 < steps ? coefficientsAt(1 - (i + 1) / steps, target, alphasCumprod) : { a: 1, b: 0 };
    const output = await network(x, t);
    for (let j = 0; j < x.length; j++) {
      const { clean, noise: eps } = split(x[j], output[j], now, prediction);
      x[j] = next.a * clean + next.b * eps;
    }
  }
  return x;
}

/** Clean sample and noise that a prediction implies at x_t. */
function split(
  xt: number,
  output: number,
  c: { a: number; b: number; x: number; e: number },
  prediction: 'sample' | 'target',
) {
  if (prediction === 'sample') return { clean: output, noise: (xt - c.a * output) / c.b };
  const clean = (c.e * xt - c.b * output) / (c.e * c.a - c.b * c.x);
  return { clean, noise: (xt - c.a * clean) / c.b };
}
