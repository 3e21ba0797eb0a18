// Optimisers as { init, update } pairs over named tensors, in the manner of optax: state in, state out, no hidden
// numbers. What changes with the step (learning rate, bias corrections) is computed outside and fed as scalars, so one
// recorded program serves every step.

import { type NamedTensors, type Spec, type Tensor, tf } from '@fovea/tensor';

export interface OptimiserConfig {
  lr: number;
  warmup: number;
  schedule: 'cosine' | 'constant';
  weightDecay: number;
  betas: readonly [number, number];
  eps: number;
  clip: number;
}

/** Learning rate at a 0-based step: linear warm-up from 0, then constant or a half cosine to 0 at `total`. */
export function learningRate(
  step: number,
  total: number,
  { lr, warmup, schedule }: Pick<OptimiserConfig, 'lr' | 'warmup' | 'schedule'>,
): number {
  if (step < warmup) return (lr * (step + 1)) / warmup;
  if (schedule === 'constant') return lr;
  const progress = (step - warmup) / Math.max(1, total - warmup);
  return lr * 0.5 * (1 + Math.cos(Math.PI * Math.min(1, progress)));
}

/** Scalars that AdamW reads at a 0-based step: [lr, 1 / (1 − β₁ᵗ), 1 / (1 − β₂ᵗ)] with t = step + 1. */
export function adamwScalars(step: number, total: number, config: OptimiserConfig): Float32Array {
  const t = step + 1;
  const [b1, b2] = config.betas;
  return Float32Array.of(learningRate(step, total, config), 1 / (1 - b1 ** t), 1 / (1 - b2 ** t));
}

export interface AdamWState {
  m: NamedTensors;
  v: NamedTensors;
}

/** Moment tensors of AdamW, both starting at zero. */
export function adamwSpecs(params: Record<string, Spec>): Record<string, Spec> {
  const specs: Record<string, Spec> = {};
  for (const [name, spec] of Object.entries(params)) {
    specs[`m/${name}`] = spec;
    specs[`v/${name}`] = spec;
  }
  return specs;
}

/**
 * AdamW (Loshchilov & Hutter 2019). Weight decay is decoupled, scaled by the learning rate as in PyTorch, and leaves
 * tensors of rank below two (biases, norms, scalars) alone.
 */
export function adamw(config: OptimiserConfig) {
  const [b1, b2] = config.betas;
  return {
    update(
      params: NamedTensors,
      grads: NamedTensors,
      state: AdamWState,
      scalars: Tensor,
    ): { params: NamedTensors; state: AdamWState } {
      const [lr, c1, c2] = tf.unstack(scalars);
      const next = { params: {} as NamedTensors, m: {} as NamedTensors, v: {} as NamedTensors };
      for (const [name, p] of Object.entries(params)) {
        const g = grads[name];
        const m = tf.add(tf.mul(state.m[name], b1), tf.mul(g, 1 - b1));
        const v = tf.add(tf.mul(state.v[name], b2), tf.mul(tf.square(g), 1 - b2));
        const step = tf.div(tf.mul(m, tf.mul(lr, c1)), tf.add(tf.sqrt(tf.mul(v, c2)), config.eps));
        const kept = p.rank >= 2 && config.weightDecay > 0 ? tf.mul(p, tf.sub(1, tf.mul(lr, config.weightDecay))) : p;
        next.params[name] = tf.sub(kept, step);
        next.m[name] = m;
        next.v[name] = v;
      }
      return { params: next.params, state: { m: next.m, v: next.v } };
    },
  };
}

/** √Σ‖g‖² over the named tensors: a scalar. */
export function globalNorm(grads: NamedTensors): Tensor {
  const squares = Object.values(grads).map((g) => tf.sum(tf.square(g)));
  return tf.sqrt(squares.length === 1 ? squares[0] : tf.addN(squares));
}

/** Scales all gradients so that their global norm is at most `limit` (0: leave them). */
export function clipByGlobalNorm(grads: NamedTensors, limit: number): NamedTensors {
  if (limit === 0) return grads;
  const factor = tf.minimum(1, tf.div(limit, tf.add(globalNorm(grads), 1e-6)));
  return Object.fromEntries(Object.entries(grads).map(([name, g]) => [name, tf.mul(g, factor)]));
}
