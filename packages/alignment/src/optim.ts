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
      // p ← p·(1 − lr·λ) − (lr·c1/√c2) · m / (√v + ε/√c2), with all that is the same for every element outside.
      const [lr, c1, c2] = tf.unstack(scalars);
      const root = tf.sqrt(c2);
      const rate = tf.div(tf.mul(lr, c1), root);
      const floor = tf.div(config.eps, root);
      const kept = tf.sub(1, tf.mul(lr, config.weightDecay));
      const step = (p: Tensor, g: Tensor, m: Tensor, v: Tensor, decays: boolean) => {
        const nextM = tf.add(tf.mul(m, b1), tf.mul(g, 1 - b1));
        const nextV = tf.add(tf.mul(v, b2), tf.mul(tf.square(g), 1 - b2));
        const move = tf.mul(tf.div(nextM, tf.add(tf.sqrt(nextV), floor)), rate);
        return { p: tf.sub(decays ? tf.mul(p, kept) : p, move), m: nextM, v: nextV };
      };
      const next = { params: {} as NamedTensors, m: {} as NamedTensors, v: {} as NamedTensors };
      for (const { names, decays } of groups(params, config.weightDecay > 0)) {
        const flat = (tensors: NamedTensors) => joinFlat(names.map((name) => tensors[name]));
        const moved = step(flat(params), flat(grads), flat(state.m), flat(state.v), decays);
        const shapes = names.map((name) => params[name].shape);
        const [p, m, v] = [moved.p, moved.m, moved.v].map((joined) => splitFlat(joined, shapes));
        for (const [i, name] of names.entries()) [next.params[name], next.m[name], next.v[name]] = [p[i], m[i], v[i]];
      }
      return { params: next.params, state: { m: next.m, v: next.v } };
    },
  };
}

/** Elements up to which tensors are updated as one vector: below this an operation costs more than its numbers. */
const SMALL = 4096;

interface Group {
  names: string[];
  decays: boolean;
}

/** Large tensors alone, small ones together with those that decay alike. */
function groups(params: NamedTensors, decay: boolean): Group[] {
  const out: Group[] = [];
  const small = new Map<boolean, Group>();
  for (const [name, p] of Object.entries(params)) {
    const decays = decay && p.rank >= 2;
    const group = p.size > SMALL ? undefined : small.get(decays);
    if (group) group.names.push(name);
    else {
      out.push({ names: [name], decays });
      if (p.size <= SMALL) small.set(decays, out[out.length - 1]);
    }
  }
  return out;
}

const joinFlat = (parts: Tensor[]): Tensor =>
  parts.length === 1 ? parts[0] : tf.concat(parts.map((x) => tf.reshape(x, [x.size])));

function splitFlat(joined: Tensor, shapes: number[][]): Tensor[] {
  if (shapes.length === 1) return [joined];
  const sizes = shapes.map((shape) => shape.reduce((a, b) => a * b, 1));
  return tf.split(joined, sizes).map((part, i) => tf.reshape(part, shapes[i]));
}

/** √Σ‖g‖² over the named tensors: a scalar. */
export function globalNorm(grads: NamedTensors): Tensor {
  const squares = groups(grads, false).map(({ names }) =>
    tf.sum(tf.square(joinFlat(names.map((name) => grads[name])))),
  );
  return tf.sqrt(squares.length === 1 ? squares[0] : tf.addN(squares));
}

/** Scales all gradients so that their global norm is at most `limit` (0: leave them). */
export function clipByGlobalNorm(grads: NamedTensors, limit: number): NamedTensors {
  if (limit === 0) return grads;
  const factor = tf.minimum(1, tf.div(limit, tf.add(globalNorm(grads), 1e-6)));
  return Object.fromEntries(Object.entries(grads).map(([name, g]) => [name, tf.mul(g, factor)]));
}
