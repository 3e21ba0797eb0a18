// A child process of memory.test.ts: compiles one program, runs it twice, prints its report and by how many bytes the
// runs raised this process's memory (Linux only).

import { readFileSync, writeFileSync } from 'node:fs';
import { checkpoint } from './checkpoint.ts';
import { compile, type Signature, type StepFunction } from './compile.ts';
import { attention, layerNorm, quickGelu } from './functional/index.ts';
import { valueAndGrads } from './grads.ts';
import { type Spec, sizeOf } from './graph.ts';
import { fillNormal } from './random.ts';
import { mapValues } from './recorder.ts';
import type { NamedTensors, Tensor } from './tf.ts';
import tf from './tf.ts';

const float = (...shape: number[]): Spec => ({ shape, dtype: 'float32' });
const matMul = (a: Tensor, b: Tensor) => tf.matMul(a as never, b as never) as Tensor;

const LAYERS = 12;
const [BATCH, TOKENS, HEADS, WIDTH] = [48, 65, 2, 96];

function block(p: NamedTensors, i: number, x: Tensor): Tensor {
  const product = (y: Tensor, name: string) => {
    const w = p[`${i}/${name}`];
    return tf.reshape(matMul(tf.reshape(y, [BATCH * TOKENS, -1]), w), [BATCH, TOKENS, w.shape[1] as number]);
  };
  const heads = (y: Tensor) => tf.transpose(tf.reshape(y, [BATCH, TOKENS, HEADS, WIDTH / HEADS]), [0, 2, 1, 3]);
  const normal = layerNorm(x, p[`${i}/gamma`], p[`${i}/beta`]);
  const [q, k, v] = ['q', 'k', 'v'].map((name) => heads(product(normal, name)));
  const mixed = tf.reshape(tf.transpose(attention(q, k, v), [0, 2, 1, 3]), [BATCH, TOKENS, WIDTH]);
  const y = tf.add(x, product(mixed, 'out'));
  return tf.add(y, product(quickGelu(product(y, 'up')), 'down'));
}

function blocks(wrap: (fn: (x: Tensor) => Tensor) => (x: Tensor) => Tensor): [StepFunction, Signature] {
  const state: Record<string, Spec> = {};
  for (let i = 0; i < LAYERS; i++) {
    for (const name of ['gamma', 'beta']) state[`${i}/${name}`] = float(WIDTH);
    for (const name of ['q', 'k', 'v', 'out']) state[`${i}/${name}`] = float(WIDTH, WIDTH);
    Object.assign(state, { [`${i}/up`]: float(WIDTH, 4 * WIDTH), [`${i}/down`]: float(4 * WIDTH, WIDTH) });
  }
  const step: StepFunction = ({ x }, params) => {
    const { value, grads } = valueAndGrads((p) => {
      let y = x;
      for (let i = 0; i < LAYERS; i++) y = wrap((z) => block(p, i, z))(y);
      return { value: tf.mean(tf.square(y)) };
    }, params);
    return { outputs: { value }, state: mapValues(params, (w, name) => tf.sub(w, tf.mul(grads[name], 1e-3))) };
  };
  return [step, { inputs: { x: float(BATCH, TOKENS, WIDTH) }, state }];
}

const QUERIES = 4096;

function longAttention(): [StepFunction, Signature] {
  const state = { q: float(1, 8, QUERIES, 64), k: float(1, 8, QUERIES, 64), v: float(1, 8, QUERIES, 64) };
  const step: StepFunction = (_inputs, qkv) => {
    const { value, grads } = valueAndGrads((p) => ({ value: tf.mean(tf.square(attention(p.q, p.k, p.v))) }), qkv);
    return { outputs: { value }, state: mapValues(qkv, (w, name) => tf.sub(w, grads[name])) };
  };
  return [step, { inputs: {}, state }];
}

const tiny = (): [StepFunction, Signature] => [
  ({ x }) => ({ outputs: { value: tf.sum(matMul(x, x)) } }),
  { inputs: { x: float(8, 8) } },
];

const CASES = {
  tiny,
  plain: () => blocks((fn) => fn),
  checkpointed: () => blocks(checkpoint),
  attention: longAttention,
};

const statusBytes = (field: string) =>
  1024 * Number(readFileSync('/proc/self/status', 'utf8').match(new RegExp(`${field}:\\s+(\\d+)`))?.[1]);

const [step, signature] = CASES[process.argv[2] as keyof typeof CASES]();
const noise = (specs: Record<string, Spec> = {}) =>
  mapValues(specs, ({ shape }, name) => {
    const data = new Float32Array(sizeOf(shape));
    fillNormal(data, 0, data.length, 1, name, 0, 0);
    return data.map((x) => 0.1 * x);
  });
const program = await compile(step, signature);
program.setState(noise(signature.state));
const inputs = noise(signature.inputs);
writeFileSync('/proc/self/clear_refs', '5');
const before = statusBytes('VmRSS');
let value = 0;
const runs = process.argv[2] === 'attention' ? 1 : 2;
for (let i = 0; i < runs; i++) [value] = (await program.run(inputs)).value;
console.log(JSON.stringify({ ...program.report, value, raised: statusBytes('VmHWM') - before }));
