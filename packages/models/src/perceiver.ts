// DEEM's way from encoder tokens to 77 condition tokens: learned queries that attend to each other and, in every second
// layer, to the picture (BLIP-2's Q-Former, Li et al. 2023, with layer norm on queries and keys). Names are DEEM's, the
// Q-Former's part of them transformers' `Blip2QFormerModel`. Region masks of its third stage are not here.

import { attention, gelu, layerNorm, type NamedTensors, type Tensor, tf } from '@fovea/tensor';
import { gridOf, projectionSpecs, sincosRows } from './adaln.ts';
import { layerNormSpecs, linear, linearSpecs, normal, type ParamSpecs, splitHeads } from './params.ts';

export interface PerceiverConfig {
  queries: number;
  width: number;
  layers: number;
  heads: number;
  /** Width inside the MLPs. */
  hidden: number;
  /** Every how many layers, the first included, the queries attend to the picture. */
  crossAttentionFrequency: number;
}

/** DEEM's. */
export const PERCEIVER: PerceiverConfig = {
  queries: 77,
  width: 768,
  layers: 12,
  heads: 12,
  hidden: 3072,
  crossAttentionFrequency: 2,
};

const EPSILON = 1e-12;
const INPUT_EPSILON = 1e-6;
/** Side of the grid that positions are made for; others are resized from it. */
const GRID = 16;

function attendSpecs(name: string, width: number, head: number, over: number): ParamSpecs {
  return {
    ...linearSpecs(`${name}.attention.query`, width, width, 0.02),
    ...linearSpecs(`${name}.attention.key`, over, width, 0.02),
    ...linearSpecs(`${name}.attention.value`, over, width, 0.02),
    ...layerNormSpecs(`${name}.attention.q_norm`, head),
    ...layerNormSpecs(`${name}.attention.k_norm`, head),
    ...linearSpecs(`${name}.output.dense`, width, width, 0.02),
    ...layerNormSpecs(`${name}.output.LayerNorm`, width),
  };
}

/** Parameters under `name`; tokens come `from` wide, the condition is `to` wide. */
export function perceiverSpecs(name: string, c: PerceiverConfig, from: number, to: number): ParamSpecs {
  const former = `${name}.perceiver_resampler.blip2qformer`;
  const specs: ParamSpecs = {
    ...projectionSpecs(`${name}.pos_proj`, from, from),
    ...layerNormSpecs(`${name}.pos_ln`, from),
    ...layerNormSpecs(`${name}.post_ln`, from),
    [`${name}.perceiver_resampler.queries`]: normal([1, c.queries, c.width]),
    ...layerNormSpecs(`${former}.layernorm`, c.width),
    ...linearSpecs(`${name}.proj_i`, c.width, to, 1e-3),
  };
  for (let i = 0; i < c.layers; i++) {
    const layer = `${former}.encoder.layer.${i}`;
    const crosses = i % c.crossAttentionFrequency === 0;
    Object.assign(
      specs,
      attendSpecs(`${layer}.attention`, c.width, c.width / c.heads, c.width),
      crosses && attendSpecs(`${layer}.crossattention`, c.width, c.width / c.heads, from),
      linearSpecs(`${layer}.intermediate_query.dense`, c.width, c.hidden, 0.02),
      linearSpecs(`${layer}.output_query.dense`, c.hidden, c.width, 0.02),
      layerNormSpecs(`${layer}.output_query.LayerNorm`, c.width),
    );
  }
  return specs;
}

const norm = (p: NamedTensors, name: string, x: Tensor, epsilon: number) =>
  layerNorm(x, p[`${name}.weight`], p[`${name}.bias`], epsilon);

/** tokens [B, 1 + N, E], class token first, N a square -> condition [B, queries, to]. */
export function perceiver(p: NamedTensors, name: string, tokens: Tensor, c: PerceiverConfig): Tensor {
  const [b, t, e] = tokens.shape;
  const placed = tf.add(
    norm(p, `${name}.pos_ln`, linear(p, `${name}.pos_proj`, tokens), INPUT_EPSILON),
    tf.concat([tf.zeros([1, e]), gridPositions(e, Math.round(Math.sqrt(t - 1)), GRID)], 0),
  );
  const picture = norm(p, `${name}.post_ln`, placed, INPUT_EPSILON); // [B, 1 + N, E]
  const former = `${name}.perceiver_resampler.blip2qformer`;
  let x = norm(p, `${former}.layernorm`, p[`${name}.perceiver_resampler.queries`], EPSILON); // [1, Q, D]
  x = tf.broadcastTo(x, [b, c.queries, c.width]);
  for (let i = 0; i < c.layers; i++) {
    const layer = `${former}.encoder.layer.${i}`;
    x = attend(p, `${layer}.attention`, x, x, c.heads);
    if (i % c.crossAttentionFrequency === 0) x = attend(p, `${layer}.crossattention`, x, picture, c.heads);
    const hidden = gelu(linear(p, `${layer}.intermediate_query.dense`, x)); // [B, Q, hidden]
    x = residual(p, `${layer}.output_query`, hidden, x);
  }
  return linear(p, `${name}.proj_i`, x);
}

/** A layer's last projection, the sum and the norm after it. */
const residual = (p: NamedTensors, name: string, y: Tensor, x: Tensor): Tensor =>
  norm(p, `${name}.LayerNorm`, tf.add(linear(p, `${name}.dense`, y), x), EPSILON);

/** x [B, Q, D] attends to `over` [B, T, E] -> [B, Q, D]. */
function attend(p: NamedTensors, name: string, x: Tensor, over: Tensor, heads: number): Tensor {
  const project = (part: string, y: Tensor) => splitHeads(linear(p, `${name}.attention.${part}`, y), heads);
  const q = norm(p, `${name}.attention.q_norm`, project('query', x), EPSILON); // [B, H, Q, D / H]
  const k = norm(p, `${name}.attention.k_norm`, project('key', over), EPSILON); // [B, H, T, D / H]
  const mixed = tf.transpose(attention(q, k, project('value', over)), [0, 2, 1, 3]);
  return residual(p, `${name}.output`, tf.reshape(mixed, x.shape), x);
}

/** Keys' cubic with PyTorch's a = −0.75, at a distance of less than two pixels. */
function cubic(distance: number): number {
  const x = Math.abs(distance);
  return x <= 1 ? (1.25 * x - 2.25) * x * x + 1 : -0.75 * (((x - 5) * x + 8) * x - 4);
}

/**
 * Sines and cosines of the places of a base × base grid, resized bicubically to side × side as torch.nn.functional.interpolate
 * does: [side², width].
 */
export function gridPositions(width: number, side: number, base: number): Tensor {
  const places = Array.from({ length: base }, (_, i) => i);
  const table = sincosRows(width / 2, places);
  if (side === base) return gridOf(table, table);
  const resized = Array.from({ length: side }, (_, i) => {
    const at = ((i + 0.5) * base) / side - 0.5;
    const taps = [-1, 0, 1, 2].map((tap) => Math.floor(at) + tap);
    const near = taps.map((tap) => ({ row: table[Math.min(base - 1, Math.max(0, tap))], share: cubic(at - tap) }));
    return table[0].map((_, j) => near.reduce((sum, { row, share }) => sum + share * row[j], 0));
  });
  return gridOf(resized, resized);
}
