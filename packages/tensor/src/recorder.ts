// A tfjs backend that records instead of computing: every kernel call, forward or gradient, appends a node to the
// graph that is being recorded. It owns no data but the constants that the model's code makes.

import { TensorError } from './errors.ts';
import { type FileRange, Graph, type NumericArray, type Spec, sizeOf, type Value } from './graph.ts';
import { KERNELS } from './kernels/index.ts';
import type { Tensor, TensorInfo } from './tf.ts';
import tf from './tf.ts';

export const BACKEND = 'fovea-recorder';

let recording: Graph | null = null;
const values = new WeakMap<object, Value>();

/** True while a model's code is being recorded. */
export const isRecording = (): boolean => recording !== null;

class RecorderBackend extends tf.KernelBackend {
  override refCount = () => 1;
  override incRef = () => {};
  override disposeData = () => true;
  override numDataIds = () => 0;
  override memory = () => ({ unreliable: true, reasons: ['nothing is allocated while recording'] });
  override floatPrecision = () => 32 as const;
  override epsilon = () => 1e-7;
  override timerAvailable = () => false;
  override dispose = () => {};

  override write(data: unknown, shape: number[], dtype: string): object {
    const dataId = {};
    const spec = { shape, dtype: knownType(dtype) };
    values.set(dataId, (recording as Graph).constant(constantData(data as ArrayLike<number>, spec), spec));
    return dataId;
  }

  override move(dataId: object, data: unknown, shape: number[], dtype: string): void {
    const spec = { shape, dtype: knownType(dtype) };
    values.set(dataId, (recording as Graph).constant(constantData(data as ArrayLike<number>, spec), spec));
  }

  /** Only constants have numbers, such as the shapes and axes that a converted graph holds as tensors. */
  override readSync(dataId: object): NumericArray {
    const value = values.get(dataId);
    if (value?.data !== undefined) return typeof value.data === 'number' ? spread(value.data, value) : value.data;
    throw new TensorError(
      `A model's code asked for a tensor's numbers while it was being recorded (at ${modelLine()}); a recorded program has no numbers yet, so branch on shapes or constants instead.`,
    );
  }

  override async read(dataId: object): Promise<NumericArray> {
    return this.readSync(dataId);
  }
}

function knownType(dtype: string): Spec['dtype'] {
  if (dtype === 'float32' || dtype === 'int32' || dtype === 'bool') return dtype;
  throw new TensorError(
    `The model makes a tensor of type ${dtype} at ${modelLine()}; only float32, int32 and bool can be recorded.`,
  );
}

function constantData(data: ArrayLike<number>, { shape, dtype }: Spec): NumericArray | number {
  const size = sizeOf(shape);
  const first = Number(data[0]);
  let uniform = size > 0;
  for (let i = 1; i < size && uniform; i++) uniform = Object.is(Number(data[i]), first);
  if (uniform) return first;
  if (dtype === 'float32') return Float32Array.from(data);
  return dtype === 'int32' ? Int32Array.from(data) : Uint8Array.from(data);
}

const ARRAYS = { float32: Float32Array, int32: Int32Array, bool: Uint8Array };

const spread = (data: number, { shape, dtype }: Spec): NumericArray => new ARRAYS[dtype](sizeOf(shape)).fill(data);

/** Where in a model's code the current operation stands: the first stack frame outside tfjs and this package. */
function modelLine(): string {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 60;
  const frames = (new Error().stack ?? '').split('\n').slice(1);
  Error.stackTraceLimit = limit;
  const outside = frames.find((f) => !/node_modules|node:|tfjs-|tensor[\\/]src[\\/](?!.*\.test\.)/.test(f));
  const place = outside?.match(/([^\s(]+:\d+):\d+\)?$/)?.[1].replace(/^file:\/\//, '');
  return place?.split(/[\\/]/).slice(-3).join('/') ?? 'an unknown line';
}

function record(kernel: string, inputs: TensorInfo[], attrs: Record<string, unknown>): TensorInfo[] {
  const graph = recording as Graph;
  const read = inputs.map((info) => values.get(info.dataId as object) as Value);
  if (read.some((value) => value === undefined)) {
    throw new TensorError(
      `The model uses a tensor at ${modelLine()} that was made outside the recorded function; pass it in as an input or a constant.`,
    );
  }
  let specs: Spec[];
  try {
    specs = KERNELS[kernel].infer(read, attrs);
  } catch (error) {
    throw new TensorError(
      `The operation ${kernel} at ${modelLine()} does not take these operands: ${(error as Error).message}.`,
    );
  }
  const outputs = graph.node(kernel, read, attrs, specs);
  if (graph.traced) graph.nodes[graph.nodes.length - 1].line = modelLine();
  return outputs.map((value) => {
    const dataId = {};
    values.set(dataId, value);
    return { dataId, shape: value.shape, dtype: value.dtype } as TensorInfo;
  });
}

function register(): void {
  tf.registerBackend(BACKEND, () => new RecorderBackend(), 0);
  for (const kernelName of Object.keys(KERNELS)) {
    tf.registerKernel({
      kernelName,
      backendName: BACKEND,
      kernelFunc: ({ inputs, attrs }) => {
        const given = Object.entries(inputs).filter(([, x]) => x !== undefined && x !== null);
        const operands = given.map(([name]) => name);
        const optional = KERNELS[kernelName].optional ? { operands } : {};
        const outputs = record(kernelName, given.flatMap(([, x]) => x) as TensorInfo[], { ...attrs, ...optional });
        return outputs.length === 1 ? outputs[0] : outputs;
      },
    });
  }
  for (const { kernelName } of tf.getKernelsForBackend('cpu')) {
    if (kernelName in KERNELS) continue;
    tf.registerKernel({
      kernelName,
      backendName: BACKEND,
      kernelFunc: () => {
        throw new TensorError(
          `The operation ${kernelName}, used at ${modelLine()}, cannot be recorded yet; use another one, or add a rule for it to packages/tensor/src/kernels.`,
        );
      },
    });
  }
}

register();

export interface Recording<T> {
  graph: Graph;
  result: T;
}

/** Runs `fn` with the recorder as the backend. `inputs` become graph inputs; `constants` become frozen weights. */
export function recordGraph<T>(
  graph: Graph,
  inputs: Record<string, Spec>,
  constants: Record<string, Spec & ({ data: NumericArray } | { range: FileRange })>,
  fn: (inputs: Record<string, Tensor>, constants: Record<string, Tensor>) => T,
): T {
  if (recording !== null) throw new TensorError('A program cannot be compiled while another one is being recorded.');
  const before = tf.getBackend();
  recording = graph;
  tf.engine().startScope('recording');
  try {
    if (!tf.setBackend(BACKEND)) throw new Error('the recorder backend did not start');
    const given = mapValues(inputs, (spec, name) => wrap(graph.input(name, spec)));
    const frozen = mapValues(constants, ({ shape, dtype, ...held }, name) => {
      const spec = { shape, dtype };
      return wrap('range' in held ? graph.mapped(held.range, spec, name) : graph.constant(held.data, spec, name));
    });
    return fn(given, frozen);
  } finally {
    tf.engine().endScope();
    recording = null;
    if (before) tf.setBackend(before);
  }
}

/**
 * Records `fn` as a body inside the graph that is being recorded. `inputs` are what it reads anew each time; every other
 * tensor that it uses is captured.
 */
export function recordBody<T>(inputs: Spec[], fn: (inputs: Tensor[]) => T): { graph: Graph; result: T } {
  const outer = recording as Graph;
  const graph = new Graph(outer);
  recording = graph;
  try {
    return { graph, result: fn(inputs.map((spec) => wrap(graph.input(undefined, spec)))) };
  } finally {
    recording = outer;
  }
}

/** A tensor that stands for a graph value. */
function wrap(value: Value): Tensor {
  const dataId = {};
  values.set(dataId, value);
  return tf.engine().makeTensorFromTensorInfo({ dataId, shape: value.shape, dtype: value.dtype } as TensorInfo);
}

/** Notes in the recording, if there is one, that a forward pass ends whose gradient by `trained` comes next. */
export function endForward(trained: Tensor[]): void {
  recording?.endForward(trained.map(valueBehind));
}

/** The graph value behind a tensor made while recording. */
export function valueBehind(tensor: Tensor): Value {
  const value = values.get(tensor.dataId as object);
  if (!value)
    throw new TensorError('A program returned a tensor that it did not compute; return only tensors made inside it.');
  return value;
}

export function mapValues<A, B>(record: Record<string, A>, fn: (value: A, key: string) => B): Record<string, B> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, fn(value, key)]));
}

/** The same record with every key behind `prefix`. */
export function prefixed<T>(prefix: string, record: Record<string, T>): Record<string, T> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [prefix + key, value]));
}
