// The engines that can run one function: ours, which compiles it, and eager tfjs on whatever backend is installed. The
// eager ones are the debugger and the oracle; the tests and the bench run over this list.

import { compile, type Signature, type StepFunction } from './compile.ts';
import { TensorError } from './errors.ts';
import type { NumericArray } from './graph.ts';
import { mapValues } from './recorder.ts';
import { loadTensorFlow } from './tensorflow.ts';
import type { NamedTensors } from './tf.ts';
import tf from './tf.ts';

export type Values = Record<string, NumericArray>;

export interface Engine {
  name: string;
  /** One run of `fn`: outputs, and the next state under `state/<name>`. */
  run(fn: StepFunction, signature: Signature, inputs: Values, state?: Values): Promise<Values>;
  /** What this engine is known to lack where a run failed with such an error; null is a fault. */
  limitOf?(error: Error): string | null;
}

/** Our compiled engine, as a one-shot. */
export const compiledEngine: Engine = {
  name: 'onnxruntime-node (compiled)',
  async run(fn, signature, inputs, state = {}) {
    const program = await compile(fn, signature);
    program.setState(state);
    const outputs = mapValues(await program.run(inputs), (data) => data.slice());
    const next = Object.fromEntries(
      Object.keys(signature.state ?? {}).map((name) => [`state/${name}`, program.getState(name)]),
    );
    await program.dispose();
    return { ...outputs, ...next };
  },
};

const eagerEngine = (backend: string, name: string): Engine => ({
  name,
  async run(fn, signature, inputs, state = {}) {
    await tf.setBackend(backend);
    const tensors = (specs: Signature['inputs'], values: Values): NamedTensors =>
      mapValues(specs, ({ shape, dtype }, key) => tf.tensor(values[key] as Float32Array, shape, dtype));
    const result = tf.tidy(() => {
      const constants = mapValues(signature.constants ?? {}, (constant, key) => {
        if (!('data' in constant))
          throw new TensorError(
            `The constant "${key}" is mapped from a file, which ${name} cannot do; copy it instead.`,
          );
        return tf.tensor(constant.data as Float32Array, constant.shape, constant.dtype);
      });
      const { outputs, state: next = {} } = fn(
        tensors(signature.inputs, inputs),
        tensors(signature.state ?? {}, state),
        constants,
      );
      const named = Object.fromEntries(Object.entries(next).map(([key, value]) => [`state/${key}`, value]));
      return { ...outputs, ...named };
    });
    const values = mapValues(result, (tensor) => tensor.dataSync().slice() as NumericArray);
    tf.dispose(result as never);
    return values;
  },
});

/** tfjs in plain JavaScript: slow, everywhere, and the reference for every kernel and gradient. */
export const jsEngine = eagerEngine('cpu', 'tfjs cpu (eager)');

/** What tfjs-node 4.22 refuses although tfjs takes it. */
const TFJS_NODE_LIMITS: [RegExp, string][] = [
  [/supports only 'valid' and 'same' padding/, 'tfjs-node pads convolutions and pools only by "same" and "valid"'],
];

/**
 * The optional eager engines, or why each is missing. They share this process with onnxruntime.
 *
 * @param threads threads inside one operation, fixed by the first call in a process. @default all cores
 */
export function nativeEngines(threads?: number): { name: string; engine: Engine | null; reason: string }[] {
  return ['@tensorflow/tfjs-node-gpu', '@tensorflow/tfjs-node'].map((name) => {
    try {
      const { device } = loadTensorFlow(name, threads);
      const limitOf = ({ message }: Error) => TFJS_NODE_LIMITS.find(([pattern]) => pattern.test(message))?.[1] ?? null;
      const engine = { ...eagerEngine('tensorflow', `${name} (eager, ${device})`), limitOf };
      return { name, engine, reason: '' };
    } catch (error) {
      if (!(error instanceof TensorError)) throw error;
      return { name, engine: null, reason: error.message };
    }
  });
}
