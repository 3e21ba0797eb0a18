// The Llama family's decoder (Touvron et al. 2023): pre-norm blocks with RMSNorm, rotary positions, grouped-query attention
// and SwiGLU, as in Llama 2 and 3, SmolLM2, Vicuna, TinyLlama, and with biases on q, k and v in Qwen2. Names and shapes are
// Hugging Face's `LlamaForCausalLM`. Who feeds it tokens one after the other is language-model.ts.

import { attention, embedding, type NamedTensors, rmsNorm, type Tensor, tf } from '@fovea/tensor';
import { z } from 'zod';
import { ACTIVATIONS, type ActivationName, activationName, readConfig, size } from './config.ts';
import { constant, linear, linearSpecs, normal, type ParamSpecs, splitHeads } from './params.ts';

/** How rotary frequencies are bent for contexts longer than those first trained on. */
type RopeScaling =
  | { rope_type: 'default' }
  | { rope_type: 'linear'; factor: number }
  | {
      rope_type: 'llama3';
      factor: number;
      low_freq_factor: number;
      high_freq_factor: number;
      original_max_position_embeddings: number;
    };

export interface LlamaConfig {
  vocabulary: number;
  width: number;
  layers: number;
  heads: number;
  /** Heads of keys and values; each serves `heads / keyHeads` queries. */
  keyHeads: number;
  headWidth: number;
  hidden: number;
  activation: ActivationName;
  epsilon: number;
  /** Longest text it was made for, in tokens. */
  positions: number;
  theta: number;
  scaling: RopeScaling;
  /** Whether the embedding of tokens is also what scores them. */
  tied: boolean;
  biases: { qkv: boolean; out: boolean; mlp: boolean };
}

const factor = z.number().positive();
const scaling = z.discriminatedUnion('rope_type', [
  z.looseObject({ rope_type: z.literal('default') }),
  z.looseObject({ rope_type: z.literal('linear'), factor }),
  z.looseObject({
    rope_type: z.literal('llama3'),
    factor,
    low_freq_factor: factor,
    high_freq_factor: factor,
    original_max_position_embeddings: size,
  }),
]);

/** Files of 2023 say `type`, later ones `rope_type`; those of transformers 5 hold the base beside it. */
const rope = z.preprocess((value) => {
  if (typeof value !== 'object' || value === null) return { rope_type: 'default' };
  const { type = 'default', rope_type = type, ...rest } = value as Record<string, unknown>;
  return { rope_type, ...rest };
}, scaling);

const fields = z
  .object({
    model_type: z.enum(['llama', 'qwen2']).default('llama'),
    vocab_size: size.default(32000),
    hidden_size: size.default(4096),
    intermediate_size: size.default(11008),
    num_hidden_layers: size.default(32),
    num_attention_heads: size.default(32),
    num_key_value_heads: size.nullish(),
    head_dim: size.multipleOf(2).nullish(),
    hidden_act: activationName.default('silu'),
    rms_norm_eps: z.number().positive().default(1e-6),
    max_position_embeddings: size.default(2048),
    rope_theta: z.number().positive().nullish(),
    rope_scaling: rope,
    rope_parameters: z.looseObject({ rope_theta: z.number().positive().default(10_000) }).nullish(),
    tie_word_embeddings: z.boolean().default(false),
    attention_bias: z.boolean().default(false),
    mlp_bias: z.boolean().default(false),
    use_sliding_window: z.literal(false, { error: 'a sliding window cannot be done' }).nullish(),
  })
  .refine((c) => c.num_attention_heads % (c.num_key_value_heads ?? c.num_attention_heads) === 0, {
    path: ['num_key_value_heads'],
    message: 'it must divide num_attention_heads',
  })
  .refine((c) => c.head_dim != null || c.hidden_size % (2 * c.num_attention_heads) === 0, {
    path: ['num_attention_heads'],
    message: 'each head must have an even width',
  });

/** From a config.json of model_type `llama` or `qwen2`. Throws a FoveaError that names what cannot be done. */
export function readLlamaConfig(json: unknown, where: string): LlamaConfig {
  const c = readConfig(fields, json, where);
  const isQwen = c.model_type === 'qwen2';
  const today = c.rope_parameters;
  return {
    vocabulary: c.vocab_size,
    width: c.hidden_size,
    layers: c.num_hidden_layers,
    heads: c.num_attention_heads,
    keyHeads: c.num_key_value_heads ?? c.num_attention_heads,
    headWidth: c.head_dim ?? c.hidden_size / c.num_attention_heads,
    hidden: c.intermediate_size,
    activation: c.hidden_act,
    epsilon: c.rms_norm_eps,
    positions: c.max_position_embeddings,
    theta: today?.rope_theta ?? c.rope_theta ?? 10_000,
    scaling: today ? readConfig(rope, today, where) : c.rope_scaling,
    tied: c.tie_word_embeddings,
    biases: { qkv: isQwen || c.attention_bias, out: !isQwen && c.attention_bias, mlp: !isQwen && c.mlp_bias },
  };
}

function denseSpecs(name: string, from: number, to: number, bias: boolean): ParamSpecs {
  const { [`${name}.bias`]: b, ...weight } = linearSpecs(name, from, to);
  return bias ? { ...weight, [`${name}.bias`]: b } : weight;
}

function layerSpecs(name: string, c: LlamaConfig): ParamSpecs {
  const [queries, keys] = [c.heads * c.headWidth, c.keyHeads * c.headWidth];
  return {
    [`${name}.input_layernorm.weight`]: constant([c.width], 1),
    ...denseSpecs(`${name}.self_attn.q_proj`, c.width, queries, c.biases.qkv),
    ...denseSpecs(`${name}.self_attn.k_proj`, c.width, keys, c.biases.qkv),
    ...denseSpecs(`${name}.self_attn.v_proj`, c.width, keys, c.biases.qkv),
    ...denseSpecs(`${name}.self_attn.o_proj`, queries, c.width, c.biases.out),
    [`${name}.post_attention_layernorm.weight`]: constant([c.width], 1),
    ...denseSpecs(`${name}.mlp.gate_proj`, c.width, c.hidden, c.biases.mlp),
    ...denseSpecs(`${name}.mlp.up_proj`, c.width, c.hidden, c.biases.mlp),
    ...denseSpecs(`${name}.mlp.down_proj`, c.hidden, c.width, c.biases.mlp),
  };
}

const layerName = (i: number) => `model.layers.${i}`;

export function llamaSpecs(c: LlamaConfig): ParamSpecs {
  return {
    'model.embed_tokens.weight': normal([c.vocabulary, c.width]),
    ...Object.assign({}, ...Array.from({ length: c.layers }, (_, i) => layerSpecs(layerName(i), c))),
    'model.norm.weight': constant([c.width], 1),
    ...(c.tied ? {} : { 'lm_head.weight': normal([c.vocabulary, c.width]) }),
  };
}

/** Angle by which each pair of a head turns from one position to the next, in radians: [headWidth / 2]. */
export function rotaryFrequencies({ headWidth, theta, scaling: s }: LlamaConfig): Float32Array {
  const bend = (frequency: number): number => {
    if (s.rope_type === 'default') return frequency;
    if (s.rope_type === 'linear') return frequency / s.factor;
    const turns = (s.original_max_position_embeddings * frequency) / (2 * Math.PI);
    const share = (turns - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
    const kept = Math.min(1, Math.max(0, share));
    return kept * frequency + ((1 - kept) * frequency) / s.factor;
  };
  return Float32Array.from({ length: headWidth / 2 }, (_, i) => bend(theta ** ((-2 * i) / headWidth)));
}

/** Cosines and sines of the first `count` positions: [count, headWidth / 2] each. */
function rotaryTables(c: LlamaConfig, count: number): [cos: Tensor, sin: Tensor] {
  const frequencies = rotaryFrequencies(c);
  const half = frequencies.length;
  const table = (of: (angle: number) => number) =>
    tf.tensor2d(
      Float32Array.from({ length: count * half }, (_, i) =>
        of(Math.fround(Math.floor(i / half) * frequencies[i % half])),
      ),
      [count, half],
    );
  return [table(Math.cos), table(Math.sin)];
}

/** Turns the pairs (i, i + D/2) of x [B, H, T, D] by cos, sin [T, D/2]. */
function rotate(x: Tensor, cos: Tensor, sin: Tensor): Tensor {
  const half = (x.shape[3] as number) / 2;
  const part = (start: number) => tf.slice(x, [0, 0, 0, start], [-1, -1, -1, half]);
  const [a, b] = [part(0), part(half)];
  return tf.concat([tf.sub(tf.mul(a, cos), tf.mul(b, sin)), tf.add(tf.mul(b, cos), tf.mul(a, sin))], 3);
}

/** What was read before: per layer the keys and values [1, keyHeads, C, D], of which the first `length` (int32 [1]) count. */
export interface Past {
  keys: Tensor[];
  values: Tensor[];
  length: Tensor;
}

interface Place {
  cos: Tensor;
  sin: Tensor;
  /** bool [T, C + T]; without a past, attention is causal. */
  mask?: Tensor;
}

const count = (n: number) => tf.range(0, n, 1, 'float32') as Tensor;

function placeOf(c: LlamaConfig, tokens: number, past?: Past): Place {
  if (!past) {
    const [cos, sin] = rotaryTables(c, tokens);
    return { cos, sin };
  }
  const capacity = past.keys[0].shape[2] as number;
  const start = tf.cast(past.length, 'float32') as Tensor; // [1]
  const positions = tf.cast(tf.add(count(tokens), start), 'int32') as Tensor; // [T]
  const [cos, sin] = rotaryTables(c, capacity + tokens).map((table) => embedding(table, positions));
  const before = tf.broadcastTo(tf.expandDims(tf.less(count(capacity), start), 0), [tokens, capacity]) as Tensor;
  const own = tf.greaterEqual(tf.expandDims(count(tokens), 1), count(tokens)) as Tensor; // [T, T]
  return { cos, sin, mask: tf.cast(tf.concat([tf.cast(before, 'float32'), tf.cast(own, 'float32')], 1), 'bool') };
}

export interface LlamaOutput {
  /** After the final norm: [B, T, D]. */
  hidden: Tensor;
  /** Of these tokens, per layer, keys turned to their places: [B, keyHeads, T, headWidth]. */
  keys: Tensor[];
  values: Tensor[];
}

/**
 * Embedded tokens x [B, T, D] -> what the blocks make of them. With a past, B is 1 and T tokens follow its `length`; a row
 * reads none behind it, so what pads the end changes nothing before.
 */
export function llama(p: NamedTensors, x: Tensor, c: LlamaConfig, past?: Past): LlamaOutput {
  const place = placeOf(c, x.shape[1] as number, past);
  const [keys, values]: Tensor[][] = [[], []];
  for (let i = 0; i < c.layers; i++) {
    const name = layerName(i);
    const normed = rmsNorm(x, p[`${name}.input_layernorm.weight`], c.epsilon);
    const before = past && { keys: past.keys[i], values: past.values[i] };
    const attended = selfAttention(p, `${name}.self_attn`, normed, c, place, before);
    keys.push(attended.keys);
    values.push(attended.values);
    x = tf.add(x, attended.y);
    x = tf.add(x, swiGlu(p, `${name}.mlp`, rmsNorm(x, p[`${name}.post_attention_layernorm.weight`], c.epsilon), c));
  }
  return { hidden: rmsNorm(x, p['model.norm.weight'], c.epsilon), keys, values };
}

function selfAttention(
  p: NamedTensors,
  name: string,
  x: Tensor,
  c: LlamaConfig,
  { cos, sin, mask }: Place,
  past?: { keys: Tensor; values: Tensor },
) {
  const [b, t] = x.shape as number[];
  const groups = c.heads / c.keyHeads;
  const project = (part: string, heads: number) => splitHeads(linear(p, `${name}.${part}_proj`, x), heads);
  const q = rotate(project('q', c.heads), cos, sin); // [B, H, T, D]
  const keys = rotate(project('k', c.keyHeads), cos, sin); // [B, K, T, D]
  const values = project('v', c.keyHeads);
  const [allKeys, allValues] = past
    ? [tf.concat([past.keys, keys], 2), tf.concat([past.values, values], 2)]
    : [keys, values];
  const grouped = tf.reshape(q, [b, c.keyHeads, groups * t, c.headWidth]);
  const seen = mask ?? causal(t);
  const mixed = attention(
    grouped,
    allKeys,
    allValues,
    groups === 1 && !mask ? { causal: true } : { mask: tf.tile(seen, [groups, 1]) },
  );
  const joined = tf.transpose(tf.reshape(mixed, [b, c.heads, t, c.headWidth]), [0, 2, 1, 3]); // [B, T, H, D]
  return { y: linear(p, `${name}.o_proj`, tf.reshape(joined, [b, t, -1])), keys, values };
}

const causal = (t: number) => tf.greaterEqual(tf.expandDims(count(t), 1), count(t)) as Tensor;

function swiGlu(p: NamedTensors, name: string, x: Tensor, c: LlamaConfig): Tensor {
  const gate = ACTIVATIONS[c.activation](linear(p, `${name}.gate_proj`, x));
  return linear(p, `${name}.down_proj`, tf.mul(gate, linear(p, `${name}.up_proj`, x)));
}

/** ids int32 [B, T] -> [B, T, D]. */
export const llamaEmbed = (p: NamedTensors, ids: Tensor): Tensor => embedding(p['model.embed_tokens.weight'], ids);

/** Logits of the next token: hidden [..., D] -> [..., vocabulary]. */
export function llamaLogits(p: NamedTensors, hidden: Tensor, c: LlamaConfig): Tensor {
  return linear({ 'lm_head.weight': p[c.tied ? 'model.embed_tokens.weight' : 'lm_head.weight'] }, 'lm_head', hidden);
}
