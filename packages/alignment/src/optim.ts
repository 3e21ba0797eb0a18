// Optimisers as { init, update } pairs over named tensors, in the manner of optax: state in, state out, no hidden
// numbers. What changes with the step (learning rate, bias corrections) is computed outside and fed as scalars, so one
// recorded program serves every step.

import { mapValues, type NamedTensors, prefixed, type Spec, type Tensor, tf } from '@fovea/tensor';

export interface OptimiserConfig {
  optimizer: 'adamw' | 'sgd';
  lr: number;
  warmup: number;
  schedule: 'cosine' | 'constant';
  weightDecay: number;
  /** AdamW's. */
  betas: readonly [number, number];
  /** AdamW's. */
  eps: number;
  /** SGD's. */
  momentum: number;
  clip: number;
  /** Decay of an exponential moving average of the parameters; null for none. */
  ema: number | null;
}

/** What a parameter's group says of it. */
export interface Rate {
  /** Learning rate as a multiple of the stage's. */
  scale: number;
  weightDecay: number;
}

/** State in, state out; `state` holds everything of {@link Optimiser.specs} by name. */
export interface Optimiser {
  /** Tensors that it carries beside the parameters; they start at zero, those under `ema/` as the parameters. */
  specs(params: Record<string, Spec>): Record<string, Spec>;
  update(
    params: NamedTensors,
    grads: NamedTensors,
    state: NamedTensors,
    scalars: Tensor,
  ): { params: NamedTensors; state: NamedTensors };
}

/** A stage's optimiser; `rateOf` tells a parameter's group. */
export function optimiserOf(config: OptimiserConfig, rateOf: (name: string) => Rate): Optimiser {
  const inner = config.optimizer === 'sgd' ? sgd(config, rateOf) : adamw(config, rateOf);
  return config.ema === null ? inner : withEma(inner, config.ema);
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

/**
 * What an update reads of a 0-based step: [lr, 1 / (1 − β₁ᵗ), 1 / (1 − β₂ᵗ)]; SGD only the first. t counts the updates that
 * the moments have taken, this one among them: step + 1, but for a shard, whose moments see some of the steps only.
 */
export function stepScalars(step: number, total: number, config: OptimiserConfig, updates = step): Float32Array {
  const t = updates + 1;
  const [b1, b2] = config.betas;
  return Float32Array.of(learningRate(step, total, config), 1 / (1 - b1 ** t), 1 / (1 - b2 ** t));
}

/** The next parameter and buffers of one group, from its own and its gradient. */
type Step = (tensors: { p: Tensor; g: Tensor } & Record<string, Tensor>, rate: Rate) => Record<string, Tensor>;

/**
 * AdamW (Loshchilov & Hutter 2019). Weight decay is decoupled, scaled by the learning rate as in PyTorch, and leaves
 * tensors of rank below two (biases, norms, scalars) alone.
 */
function adamw({ betas: [b1, b2], eps }: OptimiserConfig, rateOf: (name: string) => Rate): Optimiser {
  return elementwise(['m', 'v'], rateOf, (scalars) => {
    // p ← p·(1 − lr·λ) − (lr·c1/√c2) · m / (√v + ε/√c2), with all that is the same for every element outside.
    const [lr, c1, c2] = tf.unstack(scalars);
    const root = tf.sqrt(c2);
    const rate = tf.div(tf.mul(lr, c1), root);
    const floor = tf.div(eps, root);
    return ({ p, g, m, v }, { scale, weightDecay }) => {
      const nextM = tf.add(tf.mul(m, b1), tf.mul(g, 1 - b1));
      const nextV = tf.add(tf.mul(v, b2), tf.mul(tf.square(g), 1 - b2));
      const move = tf.mul(tf.div(nextM, tf.add(tf.sqrt(nextV), floor)), tf.mul(rate, scale));
      const kept = weightDecay > 0 ? tf.mul(p, tf.sub(1, tf.mul(lr, scale * weightDecay))) : p;
      return { p: tf.sub(kept, move), m: nextM, v: nextV };
    };
  });
}

/** SGD with momentum as PyTorch has it: the decay is part of the gradient, and the buffer is not dampened. */
function sgd({ momentum }: OptimiserConfig, rateOf: (name: string) => Rate): Optimiser {
  return elementwise(['m'], rateOf, (scalars) => {
    const [lr] = tf.unstack(scalars);
    return ({ p, g, m }, { scale, weightDecay }) => {
      const pulled = weightDecay > 0 ? tf.add(g, tf.mul(p, weightDecay)) : g;
      const next = tf.add(tf.mul(m, momentum), pulled);
      return { p: tf.sub(p, tf.mul(next, tf.mul(lr, scale))), m: next };
    };
  });
}

/** The parameters' average beside them, under `ema/`: e ← d·e + (1 − d)·p. */
function withEma(inner: Optimiser, decay: number): Optimiser {
  return {
    specs: (params) => ({ ...inner.specs(params), ...prefixed('ema/', params) }),
    update(params, grads, state, scalars) {
      const next = inner.update(params, grads, state, scalars);
      const average = (p: Tensor, name: string) => tf.add(tf.mul(state[`ema/${name}`], decay), tf.mul(p, 1 - decay));
      return { params: next.params, state: { ...next.state, ...prefixed('ema/', mapValues(next.params, average)) } };
    },
  };
}

/** An optimiser whose buffers have the parameters' shapes; small tensors of one group are updated as one vector. */
function elementwise(
  buffers: readonly string[],
  rateOf: (name: string) => Rate,
  prepare: (scalars: Tensor) => Step,
): Optimiser {
  return {
    specs: (params) => Object.assign({}, ...buffers.map((buffer) => prefixed(`${buffer}/`, params))),
    update(params, grads, state, scalars) {
      const step = prepare(scalars);
      const rate = (name: string): Rate => ({
        ...rateOf(name),
        ...(params[name].rank < 2 && { weightDecay: 0 }),
      });
      const next = { params: {} as NamedTensors, state: {} as NamedTensors };
      for (const names of groups(params, (name) => JSON.stringify(rate(name)))) {
        const flat = (of: (name: string) => Tensor) => joinFlat(names.map(of));
        const held = Object.fromEntries(buffers.map((b) => [b, flat((name) => state[`${b}/${name}`])]));
        const given = { p: flat((name) => params[name]), g: flat((name) => grads[name]), ...held };
        const moved = step(given, rate(names[0]));
        const shapes = names.map((name) => params[name].shape);
        for (const [key, joined] of Object.entries(moved)) {
          for (const [i, part] of splitFlat(joined, shapes).entries()) {
            if (key === 'p') next.params[names[i]] = part;
            else next.state[`${key}/${names[i]}`] = part;
          }
        }
      }
      return next;
    },
  };
}

/** Elements up to which tensors are updated as one vector: below this an operation costs more than its numbers. */
const SMALL = 4096;

/** Names of large tensors alone, those of small ones together where `kindOf` is the same. */
function groups(tensors: NamedTensors, kindOf: (name: string) => string): string[][] {
  const out: string[][] = [];
  const small = new Map<string, string[]>();
  for (const [name, { size }] of Object.entries(tensors)) {
    const kind = kindOf(name);
    const group = size > SMALL ? undefined : small.get(kind);
    if (group) group.push(name);
    else {
      out.push([name]);
      if (size <= SMALL) small.set(kind, out[out.length - 1]);
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
  const squares = groups(grads, () => '').map((names) => tf.sum(tf.square(joinFlat(names.map((name) => grads[name])))));
  return tf.sqrt(squares.length === 1 ? squares[0] : tf.addN(squares));
}

/** Scales all gradients so that their global norm is at most `limit` (0: leave them). */
export function clipByGlobalNorm(grads: NamedTensors, limit: number): NamedTensors {
  if (limit === 0) return grads;
  const factor = tf.minimum(1, tf.div(limit, tf.add(globalNorm(grads), 1e-6)));
  return Object.fromEntries(Object.entries(grads).map(([name, g]) => [name, tf.mul(g, factor)]));
}
