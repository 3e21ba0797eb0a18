// Normalisations that scale by channel: group and batch norm over [B, C, ...]. The forward pass takes its statistics from
// a fused operation of the runtime and scales and shifts in one pass. The gradient needs two sums per channel, from
// which the gradients of gamma and beta follow at once, and which make the input's an affine form a·dy + b·x + c of
// [B, C]-sized coefficients: few passes over the big tensors (as PyTorch's CPU kernel does).

import type { Emitter, KernelRules } from '../emitter.ts';
import { sizeOf, type Value } from '../graph.ts';

const KEEP = { keepdims: { int: 1 } };
const DROP = { keepdims: { int: 0 } };

/** x · scale + shift in one pass, over the second axis of x [N, K, M]: batch norm with nothing to normalise. */
function scaleShift(e: Emitter, x: string, scale: string, shift: string, channels: number): string {
  const [zeros, ones] = [0, 1].map((v) => e.node('Expand', [e.scalar(v), e.ints([channels])]));
  return e.node('BatchNormalization', [x, scale, shift, zeros, ones], { epsilon: 0 });
}

const spatial = (x: Value): number => sizeOf(x.shape.slice(2));

function checkChannels(x: Value, groups: number, parameters: Value[]): void {
  const [, channels] = x.shape;
  if (x.shape.length < 2 || channels % groups !== 0)
    throw new Error(`the channels of [${x.shape}] do not divide into ${groups} groups`);
  for (const { shape } of parameters) {
    if (shape.length !== 1 || shape[0] !== channels)
      throw new Error(`gamma and beta for [${x.shape}] must be [${channels}], not [${shape}]`);
  }
}

/** How the statistics of a norm lie: sums [N, G, K] hold K channels in each of N · G sets of `count` elements. */
interface Sets {
  n: number;
  g: number;
  k: number;
  count: number;
}

/**
 * The coefficients of dx = a·dy + b·x + c from Σdy and Σdy·x, both [N, G, K]: with m₁ = Σγ·dy / count and
 * m₂ = Σγ·dy·x̂ / count, dx = σ⁻¹ (γ·dy − m₁ − x̂·m₂). a is [N, G, K]; b and c are [N, G, 1].
 */
function coefficients(e: Emitter, s1: string, s2: string, gamma: string, mean: string, rstd: string, sets: Sets) {
  const last = e.ints([2]);
  const inverse = e.scalar(1 / sets.count);
  const m1 = e.node('ReduceSum', [e.node('Mul', [s1, gamma]), last], KEEP);
  const raw = e.node('ReduceSum', [e.node('Mul', [s2, gamma]), last], KEEP);
  const centred = e.node('Sub', [e.node('Mul', [m1, mean]), raw]);
  const scale = e.node('Mul', [rstd, inverse]);
  const b = e.node('Mul', [e.node('Mul', [centred, scale]), e.node('Mul', [rstd, rstd])]);
  const c = e.node('Neg', [e.node('Add', [e.node('Mul', [b, mean]), e.node('Mul', [m1, scale])])]);
  return { a: e.node('Mul', [rstd, gamma]), b, c };
}

/** a·dy + b·x + c: the last two in one pass. */
function affine(e: Emitter, dy: Value, x: Value, by: ReturnType<typeof coefficients>, { n, g, k }: Sets): string {
  const [batch, channels] = x.shape;
  const flat = e.ints([-1]);
  const sets = [batch / n, n * g, k * spatial(x)];
  const shifted = scaleShift(
    e,
    e.node('Reshape', [e.name(x), e.ints(sets)]),
    e.node('Reshape', [by.b, flat]),
    e.node('Reshape', [by.c, flat]),
    sets[1],
  );
  const rows = e.ints([batch, channels, spatial(x)]);
  const scaled = e.node('Mul', [
    e.node('Reshape', [e.name(dy), rows]),
    e.node('Reshape', [by.a, e.ints([n, channels, 1])]),
  ]);
  return e.node('Reshape', [e.node('Add', [scaled, e.node('Reshape', [shifted, rows])]), e.ints(x.shape)]);
}

export const channelNorm: KernelRules = {
  /** x [B, C, ...], gamma [C], beta [C] -> y, mean [B, G, 1], 1/std [B, G, 1] (Wu and He 2018). */
  FoveaGroupNorm: {
    infer: ([x, gamma, beta], { groups }) => {
      checkChannels(x, groups, [gamma, beta]);
      const stats = { shape: [x.shape[0], groups, 1], dtype: x.dtype };
      return [{ shape: x.shape, dtype: x.dtype }, stats, stats];
    },
    lower: (e, { inputs: [x, gamma, beta], attrs: { groups, epsilon } }) => {
      const [batch, channels] = x.shape;
      const set = (channels / groups) * spatial(x);
      const grouped = e.node('Reshape', [e.name(x), e.ints([batch, groups, set])]);
      const ones = e.node('Expand', [e.scalar(1), e.ints([set])]);
      const [normal, mean, rstd] = e.multi('LayerNormalization', [grouped, ones], 3, { axis: { int: -1 }, epsilon });
      const rows = e.node('Reshape', [normal, e.ints([batch, channels, spatial(x)])]);
      const y = scaleShift(e, rows, e.name(gamma), e.name(beta), channels);
      return [e.node('Reshape', [y, e.ints(x.shape)]), mean, rstd];
    },
  },
  /** dy, x [B, C, ...] -> Σ dy and Σ dy·x over the pixels, both [B, C]. */
  FoveaChannelSums: {
    infer: ([dy]) => {
      const sums = { shape: dy.shape.slice(0, 2), dtype: dy.dtype };
      return [sums, sums];
    },
    lower: (e, { inputs: [dy, x] }) => {
      const rows = e.ints([...dy.shape.slice(0, 2), spatial(dy)]);
      const [d, v] = [dy, x].map((value) => e.node('Reshape', [e.name(value), rows]));
      return [d, e.node('Mul', [d, v])].map((sum) => e.node('ReduceSum', [sum, e.ints([2])], DROP));
    },
  },
  /** dy, x, gamma, mean, 1/std and the channel sums -> dx. */
  FoveaGroupNormInputGrad: {
    infer: ([_dy, x]) => [{ shape: x.shape, dtype: x.dtype }],
    lower: (e, { inputs: [dy, x, gamma, mean, rstd, s1, s2], attrs: { groups } }) => {
      const [batch, channels] = x.shape;
      const sets = { n: batch, g: groups, k: channels / groups, count: (channels / groups) * spatial(x) };
      const [t1, t2] = [s1, s2].map((s) => e.node('Reshape', [e.name(s), e.ints([batch, groups, sets.k])]));
      const scale = e.node('Reshape', [e.name(gamma), e.ints([1, groups, sets.k])]);
      const by = coefficients(e, t1, t2, scale, e.name(mean), e.name(rstd), sets);
      return affine(e, dy, x, by, sets);
    },
  },
  /** x [B, C, ...], scale [C], shift [C] -> x · scale + shift by channel. */
  FoveaChannelAffine: {
    infer: ([x, scale, shift]) => {
      checkChannels(x, 1, [scale, shift]);
      return [{ shape: x.shape, dtype: x.dtype }];
    },
    lower: (e, { inputs: [x, scale, shift] }) => {
      const rows = e.node('Reshape', [e.name(x), e.ints([...x.shape.slice(0, 2), spatial(x)])]);
      return e.node('Reshape', [scaleShift(e, rows, e.name(scale), e.name(shift), x.shape[1]), e.ints(x.shape)]);
    },
  },
  /** x [B, C, ...], gamma, beta -> y, mean [1, C, 1], biased variance [1, C, 1] of the batch (Ioffe and Szegedy 2015). */
  FoveaBatchNorm: {
    infer: ([x, gamma, beta]) => {
      checkChannels(x, 1, [gamma, beta]);
      const stats = { shape: [1, x.shape[1], 1], dtype: x.dtype };
      return [{ shape: x.shape, dtype: x.dtype }, stats, stats];
    },
    lower: (e, { inputs: [x, gamma, beta], attrs: { epsilon } }) => {
      const rows = e.node('Reshape', [e.name(x), e.ints([...x.shape.slice(0, 2), spatial(x)])]);
      const axes = e.ints([0, 2]);
      const mean = e.node('ReduceMean', [rows, axes], KEEP);
      const centred = e.node('Sub', [rows, mean]);
      const variance = e.node('ReduceMean', [e.node('Mul', [centred, centred]), axes], KEEP);
      const [m, v] = [mean, variance].map((stat) => e.node('Reshape', [stat, e.ints([-1])]));
      const y = e.node('BatchNormalization', [rows, e.name(gamma), e.name(beta), m, v], { epsilon });
      return [e.node('Reshape', [y, e.ints(x.shape)]), mean, variance];
    },
  },
  /** dy, x, gamma, mean, 1/std [1, C, 1] and the channel sums -> dx. */
  FoveaBatchNormInputGrad: {
    infer: ([_dy, x]) => [{ shape: x.shape, dtype: x.dtype }],
    lower: (e, { inputs: [dy, x, gamma, mean, rstd, s1, s2] }) => {
      const [batch, channels] = x.shape;
      const sets = { n: 1, g: channels, k: 1, count: batch * spatial(x) };
      const total = (sums: Value) =>
        e.node('Reshape', [e.node('ReduceSum', [e.name(sums), e.ints([0])], KEEP), e.ints([1, channels, 1])]);
      const scale = e.node('Reshape', [e.name(gamma), e.ints([1, channels, 1])]);
      return affine(e, dy, x, coefficients(e, total(s1), total(s2), scale, e.name(mean), e.name(rstd), sets), sets);
    },
  },
};
