// Noise schedules of DDPM as diffusers' scheduler_config.json tells them: how much of the picture, ᾱ, is left after each
// step, and what the network that belongs to it predicts. How one samples from it is not read; sampler.ts has its own way.

import { readConfig } from '@fovea/artifacts';
import { z } from 'zod';

export interface BetaSchedule {
  betaStart: number;
  betaEnd: number;
  /** squaredcos_cap_v2 (Nichol & Dhariwal 2021) takes no start and end. */
  betaSchedule: 'linear' | 'scaled_linear' | 'squaredcos_cap_v2';
  steps: number;
  /** Whether the last step is made pure noise (Lin et al. 2023). */
  rescaleZeroSnr: boolean;
}

export interface NoiseSchedule {
  /** ᾱ of every step. */
  alphasCumprod: Float64Array;
  target: 'epsilon' | 'velocity' | 'sample';
}

/** ᾱ of every step. */
export function alphasCumprodOf(schedule: BetaSchedule): Float64Array {
  let product = 1;
  const bars = betasOf(schedule).map((beta) => {
    product *= 1 - beta;
    return product;
  });
  return schedule.rescaleZeroSnr ? endInNoise(bars) : bars;
}

function betasOf({ betaStart, betaEnd, betaSchedule, steps }: BetaSchedule): Float64Array {
  const at = (f: (i: number) => number) => Float64Array.from({ length: steps }, (_, i) => f(i));
  const between = (low: number, high: number, i: number) =>
    steps === 1 ? low : low + ((high - low) * i) / (steps - 1);
  switch (betaSchedule) {
    case 'linear':
      return at((i) => between(betaStart, betaEnd, i));
    case 'scaled_linear':
      return at((i) => between(Math.sqrt(betaStart), Math.sqrt(betaEnd), i) ** 2);
    case 'squaredcos_cap_v2': {
      const bar = (t: number) => Math.cos((((t + 0.008) / 1.008) * Math.PI) / 2) ** 2;
      return at((i) => Math.min(1 - bar((i + 1) / steps) / bar(i / steps), 0.999));
    }
  }
}

/** Moves and stretches √ᾱ so that it ends at zero and starts where it did. */
function endInNoise(bars: Float64Array): Float64Array {
  const [first, last] = [Math.sqrt(bars[0]), Math.sqrt(bars[bars.length - 1])];
  return bars.map((bar) => (((Math.sqrt(bar) - last) * first) / (first - last)) ** 2);
}

export const DDPM_STEPS = 1000;

/** ᾱ of Stable Diffusion: scaled-linear 0.00085 → 0.012, T = 1000 (Rombach et al. 2022). */
export const alphasCumprod: Float64Array = alphasCumprodOf({
  betaStart: 0.00085,
  betaEnd: 0.012,
  betaSchedule: 'scaled_linear',
  steps: DDPM_STEPS,
  rescaleZeroSnr: false,
});

const TARGETS = { epsilon: 'epsilon', v_prediction: 'velocity', sample: 'sample' } as const;

const schema = z.object({
  _class_name: z
    .string()
    .refine((name) => !name.startsWith('FlowMatch'), 'a flow-matching scheduler has no betas; use the flow target')
    .optional(),
  beta_start: z.number().min(0).lt(1).default(0.0001),
  beta_end: z.number().min(0).lt(1).default(0.02),
  beta_schedule: z.enum(['linear', 'scaled_linear', 'squaredcos_cap_v2']).default('linear'),
  num_train_timesteps: z.int().positive().max(100_000).default(1000),
  prediction_type: z.enum(Object.keys(TARGETS) as [keyof typeof TARGETS]).default('epsilon'),
  rescale_betas_zero_snr: z.boolean().default(false),
  trained_betas: z.null({ error: 'betas given one by one are not supported' }).optional(),
});

/** A scheduler_config.json of diffusers. Throws a `FoveaError` that names a field that cannot be used; `where` names the file. */
export function readSchedule(json: unknown, where: string): NoiseSchedule {
  const c = readConfig(schema, json, where);
  return {
    alphasCumprod: alphasCumprodOf({
      betaStart: c.beta_start,
      betaEnd: c.beta_end,
      betaSchedule: c.beta_schedule,
      steps: c.num_train_timesteps,
      rescaleZeroSnr: c.rescale_betas_zero_snr,
    }),
    target: TARGETS[c.prediction_type],
  };
}
