// The outer optimiser: from a round's start and the mean of its shards' moves to the next checkpoint. DiLoCo (Douillard
// et al. 2023, arXiv 2311.08105), algorithm 1: workers i = 1 … k take H inner steps from θ(t−1) to θᵢ(t); line 12,
// Δ(t) ← (1/k) Σᵢ (θ(t−1) − θᵢ(t)), is the outer gradient; line 14 is θ(t) ← OuterOpt(θ(t−1), Δ(t)). Here the mean is
// weighted by samples. As { init, update } pairs on the host, tensor by tensor, in fp64.

import type { Recipe } from '@fovea/recipe';

type State = Record<string, Float32Array>;

export interface OuterOptimiser {
  /** What it carries from round to round for a parameter of so many elements. */
  init(size: number): State;
  /** The next parameter [N] and state, from the mean move [N] (start minus end). Changes none of what it is given. */
  update(parameter: Float32Array, delta: Float64Array, state: State): { parameter: Float32Array; state: State };
}

/** The mean of the shards' weights, θ ← θ − Δ: DiLoCo's outer SGD with lr 1, FedAvg. */
export const average = (): OuterOptimiser => ({
  init: () => ({}),
  update: (parameter, delta) => ({ parameter: parameter.map((x, i) => x - delta[i]), state: {} }),
});

/**
 * SGD with Nesterov momentum as PyTorch has it: v ← μ·v + Δ, θ ← θ − lr·(Δ + μ·v), v of zero at a stage's start. DiLoCo's
 * choice of OuterOpt, with lr 0.7 and μ 0.9 (section 3.1 of the paper).
 */
export const nesterov = ({ lr, momentum }: { lr: number; momentum: number }): OuterOptimiser => ({
  init: (size) => ({ momentum: new Float32Array(size) }),
  update(parameter, delta, state) {
    const v = state.momentum.map((x, i) => momentum * x + delta[i]);
    return {
      parameter: parameter.map((x, i) => x - lr * (delta[i] + momentum * v[i])),
      state: { momentum: v },
    };
  },
});

/** What a shard's learning rate is multiplied by, beside a round that is not cut. */
export function shardRate(outer: Recipe['shards']['outer'], of: number): number {
  const scale = outer.kind === 'average' ? outer.lrScale : 'none';
  return scale === 'linear' ? of : scale === 'sqrt' ? Math.sqrt(of) : 1;
}

export const outerOf = (config: Recipe['shards']['outer']): OuterOptimiser =>
  config.kind === 'nesterov' ? nesterov(config) : average();
