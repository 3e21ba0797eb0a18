// The cases that tensor.py wrote, and how each is run by the engine: shared by the tests of numbers and of graphs.

import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type DecodedTensor, decodeSafetensors } from '@fovea/artifacts';
import * as engine from '@fovea/tensor';
import { type NamedTensors, type NumericArray, type Signature, type Spec, type Tensor, tf } from '@fovea/tensor';
import { crossAttentionBlock, unetResBlock, vitBlock } from './blocks.ts';

const FIXTURES = fileURLToPath(new URL('fixtures', import.meta.url));

export interface Case {
  key: string;
  op: string;
  label: string;
  // biome-ignore lint/suspicious/noExplicitAny: options are as various as the functions; each entry of OPS takes its own.
  options: any;
  inputs: string[];
}

type Op = (inputs: NamedTensors, options: Case['options']) => Tensor;
type Attention = (q: Tensor, k: Tensor, v: Tensor, options: object) => Tensor;

const ids = (x: Tensor) => tf.cast(x, 'int32');
const float = (x: Tensor) => tf.cast(x, 'float32');

const OPS: Record<string, Op> = {
  conv2d: ({ x, w, b }, options) => engine.conv2d(x, w, b, options),
  convTranspose2d: ({ x, w, b }, options) => engine.convTranspose2d(x, w, b, options),
  groupNorm: ({ x, gamma, beta }, { groups }) => engine.groupNorm(x, groups, gamma, beta),
  layerNorm: ({ x, gamma, beta }) => engine.layerNorm(x, gamma, beta),
  rmsNorm: ({ x, gamma }) => engine.rmsNorm(x, gamma),
  batchNormTraining: ({ x, gamma, beta }) => engine.batchNormTraining(x, gamma, beta).y,
  batchNorm: ({ x, gamma, beta, mean, variance }) => engine.batchNorm(x, gamma, beta, mean, variance),
  silu: ({ x }) => engine.silu(x),
  gelu: ({ x }, { approximate }) => engine.gelu(x, approximate),
  quickGelu: ({ x }) => engine.quickGelu(x),
  softmax: ({ x }) => tf.softmax(x),
  logSoftmax: ({ x }) => tf.logSoftmax(x),
  elu: ({ x }) => tf.elu(x),
  selu: ({ x }) => tf.selu(x),
  crossEntropy: ({ x, labels }) => engine.crossEntropy(x, labels),
  interpolate: ({ x }, options) => engine.interpolate(x, options),
  maxPool2d: ({ x }, { kernel, ...options }) => engine.maxPool2d(x, kernel, options),
  avgPool2d: ({ x }, { kernel, ...options }) => engine.avgPool2d(x, kernel, options),
  adaptiveAvgPool2d: ({ x }, { size }) => engine.adaptiveAvgPool2d(x, size),
  embedding: ({ weight, ids: at }) => engine.embedding(weight, at),
  topK: ({ x }, { k }) => engine.topK(x, k).values,
  topKIndices: ({ x }, { k }) => float(engine.topK(x, k).indices),
  argmax: ({ x }, { axis }) => float(tf.argMax(x, axis)),
  einsum: ({ a, b }, { equation }) => engine.einsum(equation, a, b),
  cumsum: ({ x }, { axis }) => tf.cumsum(x, axis),
  where: ({ mask, a, b }) => tf.where(mask, a, b),
  pad: ({ x }, { paddings, value }) => tf.pad(x, paddings, value),
  tile: ({ x }, { reps }) => tf.tile(x, reps),
  concat: ({ a, b }, { axis }) => tf.concat([a, b], axis),
  split: ({ x }, { sizes, axis }) => {
    const parts = tf.split(x, sizes, axis).map((part, i) => tf.mul(part, i + 1));
    return tf.concat(parts.reverse(), axis);
  },
  oneHot: ({ ids: at }, { depth }) => float(tf.oneHot(ids(at) as never, depth)),
  attention: ({ q, k, v, mask }, options) =>
    (engine as unknown as { attention: Attention }).attention(q, k, v, mask ? { ...options, mask } : options),
  vitBlock,
  unetResBlock,
  crossAttentionBlock,
};

const DTYPES: Record<string, Spec['dtype']> = { F32: 'float32', I32: 'int32', BOOL: 'bool' };

/** One file's cases and tensors. */
export function load(file: string): { cases: Case[]; tensors: Map<string, DecodedTensor> } {
  const { tensors, metadata } = decodeSafetensors(readFileSync(`${FIXTURES}/${file}`), file);
  return { cases: JSON.parse(metadata.cases), tensors };
}

export const files: string[] = readdirSync(FIXTURES).filter((file) => file.endsWith('.safetensors'));

/** Why a file's cases cannot be run yet, or null. */
export const missing = (file: string): string | null =>
  file === 'attention.safetensors' && !('attention' in engine)
    ? 'attention is not tested, because @fovea/tensor does not export it'
    : null;

export interface Runnable {
  step: engine.StepFunction;
  signature: Signature;
  values: Record<string, NumericArray>;
}

/** A case as a program whose outputs are `out` and the gradients that PyTorch gives, `grad/<input>`. */
export function runnable({ key, op, options, inputs }: Case, tensors: Map<string, DecodedTensor>): Runnable {
  const given = inputs.map((name) => [name, tensors.get(`${key}/in/${name}`) as DecodedTensor] as const);
  const specs = Object.fromEntries(given.map(([name, { shape, dtype }]) => [name, { shape, dtype: DTYPES[dtype] }]));
  const values = Object.fromEntries(given.map(([name, { data }]) => [name, data as NumericArray]));
  const free = inputs.filter((name) => tensors.has(`${key}/grad/${name}`));
  const step: engine.StepFunction = (all) => {
    if (free.length === 0) return { outputs: { out: OPS[op](all, options) } };
    const parameters = Object.fromEntries(free.map((name) => [name, all[name]]));
    const { grads, aux } = engine.valueAndGrads((p) => {
      const out = OPS[op]({ ...all, ...p }, options);
      const weights = Float32Array.from({ length: out.size }, (_, i) => Math.cos(i));
      return { value: tf.sum(tf.mul(out, tf.tensor(weights, out.shape))), aux: { out } };
    }, parameters);
    return { outputs: { ...aux, ...Object.fromEntries(free.map((name) => [`grad/${name}`, grads[name]])) } };
  };
  return { step, signature: { inputs: specs }, values };
}
