// From a function to a runnable program: record it, lower the live nodes to ONNX, open a session. A training step is
// a program whose state goes in and comes out under the same names; its buffers are double and swap, so that a step
// allocates nothing.

import { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node';
import { Emitter } from './emitter.ts';
import { TensorError } from './errors.ts';
import './gradients.ts';
import { fuseProducts } from './fuse.ts';
import { Graph, liveNodes, type NumericArray, type Spec, sizeOf, type Value } from './graph.ts';
import { KERNELS } from './kernels/index.ts';
import { type Mapped, MappedFiles, type MappedWeights } from './mapped.ts';
import { type MemoryReport, memoryReport } from './memory.ts';
import { encodeModel, type OnnxValue } from './onnx-proto.ts';
import { mapValues, recordGraph, valueBehind } from './recorder.ts';
import { simplify } from './simplify.ts';
import type { NamedTensors } from './tf.ts';

/** Prefixes of carried tensors among a graph's inputs and outputs; everything else keeps the name it was given. */
const STATE = 'state/';
const NEXT = 'next/';

export interface Frozen extends Spec {
  data: NumericArray;
}

export interface Signature {
  /** Tensors given anew at every run. */
  inputs: Record<string, Spec>;
  /** Tensors carried from run to run, such as parameters and moments. */
  state?: Record<string, Spec>;
  /** Weights baked into the program, or mapped from the files that hold them. */
  constants?: Record<string, Frozen | Mapped>;
}

export interface StepResult {
  outputs: NamedTensors;
  /** The next state, under the same names as the given one. Absent for a pure function. */
  state?: NamedTensors;
}

export type StepFunction = (inputs: NamedTensors, state: NamedTensors, constants: NamedTensors) => StepResult;

export interface CompileOptions {
  /** Threads inside one operation. @default 1 */
  threads?: number;
  /** Where onnxruntime writes its profile, a path prefix; it is complete once the program is disposed of. */
  profile?: string;
  /** Whether mapped weights are packed for speed or kept in their files' pages. @default 'pack' */
  mappedWeights?: MappedWeights;
}

/** What a compiled program is made of; sizes in bytes. */
export interface ProgramReport extends MemoryReport {
  nodes: number;
  constantBytes: number;
  stateBytes: number;
  traceMs: number;
  sessionMs: number;
}

/** Records `fn` once and lowers it to the bytes of one ONNX model. */
export function lowerToOnnx(
  fn: StepFunction,
  signature: Signature,
): { bytes: Uint8Array; outputs: Record<string, Spec>; nodes: number; memory: MemoryReport; files: MappedFiles } {
  const graph = new Graph();
  const files = new MappedFiles(signature.constants);
  const state = signature.state ?? {};
  const inputs = { ...signature.inputs, ...mapKeys(state, (name) => STATE + name) };
  const named = recordGraph(graph, inputs, files.constants, (given, frozen) => {
    const pick = (names: string[], prefix = '') => Object.fromEntries(names.map((n) => [n, given[prefix + n]]));
    const result = fn(pick(Object.keys(signature.inputs)), pick(Object.keys(state), STATE), frozen);
    const next = result.state ?? {};
    for (const name of Object.keys(state)) {
      if (!(name in next)) throw new TensorError(`The step does not return the state "${name}" that it was given.`);
    }
    return {
      ...mapValues(result.outputs, valueBehind),
      ...mapKeys(mapValues(next, valueBehind), (name) => NEXT + name),
    };
  });
  for (const [name, spec] of Object.entries(state)) {
    const got = named[NEXT + name].shape;
    if (got.join() !== spec.shape.join())
      throw new TensorError(`The step returns the state "${name}" as [${got}], but it was given as [${spec.shape}].`);
  }
  const clash = Object.keys(named).find((name) => name in inputs);
  if (clash)
    throw new TensorError(`The program has an input and an output that are both called "${clash}"; rename one.`);
  const lowered = lower(graph, named, signature.constants ?? {});
  return { ...lowered, outputs: mapValues(named, ({ shape, dtype }) => ({ shape, dtype })), files };
}

function lower(
  graph: Graph,
  named: Record<string, Value>,
  frozen: Record<string, Spec>,
): { bytes: Uint8Array; nodes: number; memory: MemoryReport } {
  const resolve = simplify(graph);
  const results = mapValues(named, resolve);
  const emitter = new Emitter(graph, KERNELS);
  const wanted = Object.values(results);
  const live = liveNodes(graph, wanted);
  for (const node of fuseProducts(live, wanted)) emitter.lower(node);
  const outputs: OnnxValue[] = Object.entries(results).map(([name, value]) => {
    emitter.nodes.push({ op: 'Identity', inputs: [emitter.name(value)], outputs: [name] });
    return { name, type: value.dtype, shape: value.shape };
  });
  const bytes = encodeModel({
    name: 'program',
    nodes: emitter.nodes,
    initializers: emitter.initializers,
    inputs: graph.inputs.map((v) => ({ name: v.name as string, type: v.dtype, shape: v.shape })),
    outputs,
  });
  const memory = memoryReport(graph, live, frozen, { ...emitter, outputs: new Set(Object.keys(results)) });
  return { bytes, nodes: emitter.nodes.length, memory };
}

/** A compiled program: run it, or read and set the state that it carries. */
export class Program {
  readonly report: ProgramReport;
  readonly #session: InferenceSession;
  readonly #profiled: boolean;
  readonly #signature: Signature;
  readonly #files: MappedFiles;
  readonly #fetches: Record<string, OrtTensor> = {};
  #state: Record<string, OrtTensor> = {};
  #next: Record<string, OrtTensor> = {};

  constructor(
    session: InferenceSession,
    signature: Signature,
    outputs: Record<string, Spec>,
    report: ProgramReport,
    files: MappedFiles,
    profiled = false,
  ) {
    this.#session = session;
    this.#files = files;
    this.#profiled = profiled;
    this.#signature = signature;
    this.report = report;
    for (const [name, spec] of Object.entries(signature.state ?? {})) {
      this.#state[name] = allocate(spec);
      this.#next[name] = allocate(spec);
    }
    for (const [name, spec] of Object.entries(outputs)) {
      if (!name.startsWith(NEXT)) this.#fetches[name] = allocate(spec);
    }
  }

  /**
   * One run. Returned arrays are the program's own buffers and are overwritten by the next run: copy what must last.
   * Throws a {@link TensorError} that names an input which is missing or has the wrong size.
   */
  async run(inputs: Record<string, NumericArray>): Promise<Record<string, NumericArray>> {
    const feeds: Record<string, OrtTensor> = {};
    for (const [name, spec] of Object.entries(this.#signature.inputs)) feeds[name] = feed(name, spec, inputs[name]);
    const fetches: Record<string, OrtTensor> = {};
    for (const [name, tensor] of Object.entries(this.#fetches)) fetches[name] = tensor;
    for (const name of Object.keys(this.#state)) {
      feeds[STATE + name] = this.#state[name];
      fetches[NEXT + name] = this.#next[name];
    }
    this.#files.check();
    const results = await this.#session.run(feeds, fetches);
    [this.#state, this.#next] = [this.#next, this.#state];
    return Object.fromEntries(Object.keys(this.#fetches).map((name) => [name, results[name].data as NumericArray]));
  }

  /** A copy of one carried tensor. */
  getState(name: string): NumericArray {
    return (this.#state[name].data as NumericArray).slice();
  }

  /** Replaces carried tensors by copies of the given arrays. */
  setState(values: Record<string, NumericArray>): void {
    for (const [name, data] of Object.entries(values)) {
      const tensor = this.#state[name];
      if (!tensor) throw new TensorError(`The program carries no state "${name}".`);
      if (tensor.size !== data.length)
        throw new TensorError(`The state "${name}" has ${tensor.size} elements, not ${data.length}.`);
      (tensor.data as NumericArray).set(data);
    }
  }

  async dispose(): Promise<void> {
    if (this.#profiled) this.#session.endProfiling();
    await this.#session.release();
    this.#files.close();
  }
}

/** Records, lowers and opens `fn` on the CPU. */
export async function compile(fn: StepFunction, signature: Signature, options: CompileOptions = {}): Promise<Program> {
  const started = performance.now();
  const { bytes, outputs, nodes, memory, files } = lowerToOnnx(fn, signature);
  const traced = performance.now();
  const opening = InferenceSession.create(bytes, {
    executionProviders: ['cpu'],
    intraOpNumThreads: options.threads ?? 1,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    graphOptimizationLevel: 'all',
    enableCpuMemArena: true,
    // A pattern is planned in a first run and allocated beside what that run took: twice the memory.
    enableMemPattern: false,
    logSeverityLevel: 3,
    ...(options.profile === undefined ? {} : { enableProfiling: true, profileFilePrefix: options.profile }),
    extra: files.configure(options.mappedWeights, {
      session: { intra_op: { allow_spinning: (options.threads ?? 1) > 1 ? '1' : '0' } },
    }),
  });
  const session = await files.confirm(opening);
  const bytesOf = (specs: Record<string, Spec> = {}) =>
    Object.values(specs).reduce((sum, s) => sum + 4 * sizeOf(s.shape), 0);
  const report = {
    ...memory,
    nodes,
    constantBytes: bytesOf(signature.constants),
    stateBytes: bytesOf(signature.state),
    traceMs: traced - started,
    sessionMs: performance.now() - traced,
  };
  return new Program(session, signature, outputs, report, files, options.profile !== undefined);
}

function allocate({ shape, dtype }: Spec): OrtTensor {
  const size = sizeOf(shape);
  if (dtype === 'float32') return new OrtTensor('float32', new Float32Array(size), shape);
  if (dtype === 'int32') return new OrtTensor('int32', new Int32Array(size), shape);
  return new OrtTensor('bool', new Uint8Array(size), shape);
}

function feed(name: string, { shape, dtype }: Spec, data: NumericArray | undefined): OrtTensor {
  if (data === undefined) throw new TensorError(`The program needs the input "${name}" of shape [${shape}].`);
  if (data.length !== sizeOf(shape))
    throw new TensorError(
      `The input "${name}" has ${data.length} elements; its shape [${shape}] needs ${sizeOf(shape)}.`,
    );
  return new OrtTensor(dtype as 'float32', data as Float32Array, shape);
}

function mapKeys<T>(record: Record<string, T>, rename: (key: string) => string): Record<string, T> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [rename(key), value]));
}

/** Runs a stock ONNX model once, as a user of an exported file would; for checking exports. */
export async function runOnnx(
  model: Uint8Array,
  inputs: Record<string, { data: Float32Array; shape: number[] }>,
): Promise<Record<string, Float32Array>> {
  const session = await InferenceSession.create(model);
  const feeds = mapValues(inputs, ({ data, shape }) => new OrtTensor('float32', data, shape));
  const results = mapValues(await session.run(feeds), (tensor) => tensor.data as Float32Array);
  await session.release();
  return results;
}
