// From a function to a runnable program: record it, lower the live nodes to ONNX, open a session. A training step is
// a program whose state goes in and comes out under the same names; its buffers are double and swap, so that a step
// allocates nothing.

import { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node';
import type { Target } from './autocast.ts';
import { cutAtScan } from './cut.ts';
import { type Device, DeviceSession, type OpenOptions, type Precision, type RunnableSession } from './devices.ts';
import { TensorError } from './errors.ts';
import './gradients.ts';
import { Graph, type NumericArray, type Spec, sizeOf, type Value } from './graph.ts';
import { type Opened, openLanes } from './lanes.ts';
import { lowerGraph, type Piece } from './lower.ts';
import { type Mapped, MappedFiles, type MappedWeights } from './mapped.ts';
import { type MemoryReport, memoryReport } from './memory.ts';
import { mapValues, prefixed, recordGraph, valueBehind } from './recorder.ts';
import { simplify } from './simplify.ts';
import { allocate, type CarriedState, DeviceState, HostState } from './state.ts';
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
  /** A scalar output that must be finite for the state to advance; where it is not, the state stays as it was. */
  guard?: string;
  /** State that advances even then, such as a loss scale. */
  unguarded?: string[];
}

export type StepFunction = (inputs: NamedTensors, state: NamedTensors, constants: NamedTensors) => StepResult;

export interface CompileOptions {
  /** Threads inside one operation. @default 1 */
  threads?: number;
  /** Where onnxruntime writes its profile, a path prefix; it is complete once the program is disposed of. */
  profile?: string;
  /** Whether mapped weights are packed for speed or kept in their files' pages. @default 'pack' */
  mappedWeights?: MappedWeights;
  /** Where it runs; a device that is missing is an error, never a fall to the CPU. @default 'cpu' */
  device?: Device;
  /** Precision of the matrix products, as PyTorch's autocast; everything else and the state stay fp32. @default 'fp32' */
  precision?: Precision;
}

/** What a compiled program is made of; sizes in bytes. */
export interface ProgramReport extends MemoryReport {
  nodes: number;
  constantBytes: number;
  stateBytes: number;
  traceMs: number;
  sessionMs: number;
}

/** A function as a simplified graph. */
interface Recorded {
  graph: Graph;
  results: Record<string, Value>;
  guard: Guard;
  files: MappedFiles;
}

function record(fn: StepFunction, signature: Signature): Recorded {
  const graph = new Graph();
  const files = new MappedFiles(signature.constants);
  const guard: Guard = { output: null, unguarded: new Set() };
  const state = signature.state ?? {};
  const inputs = { ...signature.inputs, ...prefixed(STATE, state) };
  const named = recordGraph(graph, inputs, files.constants, (given, frozen) => {
    const pick = (names: string[], prefix = '') => Object.fromEntries(names.map((n) => [n, given[prefix + n]]));
    const result = fn(pick(Object.keys(signature.inputs)), pick(Object.keys(state), STATE), frozen);
    const next = result.state ?? {};
    guard.output = result.guard ?? null;
    guard.unguarded = new Set(result.unguarded);
    if (guard.output !== null && !(guard.output in result.outputs))
      throw new TensorError(`The step is guarded by "${guard.output}", which it does not output.`);
    for (const name of Object.keys(state)) {
      if (!(name in next)) throw new TensorError(`The step does not return the state "${name}" that it was given.`);
    }
    return {
      ...mapValues(result.outputs, valueBehind),
      ...prefixed(NEXT, mapValues(next, valueBehind)),
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
  return { graph, results: mapValues(named, simplify(graph)), guard, files };
}

/** Records `fn` once and lowers it to the bytes of one ONNX model. */
export function lowerToOnnx(
  fn: StepFunction,
  signature: Signature,
  target: Target = { device: 'cpu', precision: 'fp32' },
): { bytes: Uint8Array; nodes: number; memory: MemoryReport } {
  const recorded = record(fn, signature);
  const { bytes, nodes, workBytes } = lowerGraph(recorded, target);
  return { bytes, nodes, memory: { ...memoryReport(recorded, signature.constants ?? {}), workBytes } };
}

/** What must be finite for the state to advance, and what advances all the same. */
export interface Guard {
  output: string | null;
  unguarded: ReadonlySet<string>;
}

/** A compiled program: run it, or read and set the state that it carries. */
export class Program {
  readonly report: ProgramReport;
  readonly #session: RunnableSession;
  readonly #signature: Signature;
  readonly #fetches: Record<string, OrtTensor> = {};
  readonly #state: CarriedState;
  readonly #guard: Guard;
  readonly #held: ReadonlySet<string>;

  constructor(
    session: RunnableSession,
    signature: Signature,
    outputs: Record<string, Spec>,
    guard: Guard,
    report: ProgramReport,
  ) {
    this.#session = session;
    this.#signature = signature;
    this.#guard = guard;
    this.report = report;
    const state = signature.state ?? {};
    this.#state = session.device === 'webgpu' ? new DeviceState(state) : new HostState(state);
    this.#held = new Set(Object.keys(state).filter((name) => !guard.unguarded.has(name)));
    for (const [name, spec] of Object.entries(outputs)) {
      if (!name.startsWith(NEXT)) this.#fetches[name] = allocate(spec);
    }
  }

  /**
   * One run. Returned arrays are the program's own buffers and are overwritten by the next run: copy what must last.
   * Where the step's guard is not finite, the state stays as it was but for what is unguarded.
   * Throws a {@link TensorError} that names an input which is missing or has the wrong size, and at the first run one
   * that says so if the device did not do the work.
   */
  async run(inputs: Record<string, NumericArray>): Promise<Record<string, NumericArray>> {
    const feeds: Record<string, OrtTensor> = {};
    for (const [name, spec] of Object.entries(this.#signature.inputs)) feeds[name] = feed(name, spec, inputs[name]);
    Object.assign(feeds, prefixed(STATE, this.#state.feeds()));
    const fetches = { ...this.#fetches, ...prefixed(NEXT, this.#state.fetches()) };
    const results = (await this.#session.run(feeds, fetches)) as Record<string, OrtTensor>;
    const next = Object.fromEntries(Object.keys(this.#signature.state ?? {}).map((n) => [n, results[NEXT + n]]));
    const { output } = this.#guard;
    const good = output === null || Number.isFinite((results[output].data as NumericArray)[0]);
    this.#state.advance(next, good ? NONE : this.#held);
    return Object.fromEntries(Object.keys(this.#fetches).map((name) => [name, results[name].data as NumericArray]));
  }

  /** Operations by provider and type, as the accelerator's first run proved them; null on the CPU and before that run. */
  get placement() {
    return this.#session.placement;
  }

  /** Brings state that a device keeps to the host, where {@link getState} reads it. At once where it lives there. */
  settle(): Promise<void> {
    return this.#state.settle();
  }

  /** A copy of one carried tensor; on a device that keeps its state, await {@link settle} first. */
  getState(name: string): NumericArray {
    return this.#state.get(name);
  }

  /** Replaces carried tensors by copies of the given arrays. */
  setState(values: Record<string, NumericArray>): void {
    this.#state.set(values);
  }

  async dispose(): Promise<void> {
    await this.#state.release();
    await this.#session.release();
  }
}

const NONE: ReadonlySet<string> = new Set();

/** More frozen weights than this are not copied for a second lane. */
const MOST_COPIED = 2 ** 28;

/** Records, lowers and opens `fn`. Throws a {@link TensorError} where the device or its precision cannot be used. */
export async function compile(fn: StepFunction, signature: Signature, options: CompileOptions = {}): Promise<Program> {
  const { device = 'cpu', precision = 'fp32', threads = 1, mappedWeights, profile } = options;
  const started = performance.now();
  const recorded = record(fn, signature);
  const { graph, results, guard, files } = recorded;
  const memory = memoryReport(recorded, signature.constants ?? {});
  const isCuttable = device === 'cpu' && memory.frozenBytes <= MOST_COPIED;
  const cut = isCuttable ? cutAtScan(graph, results, memory.activationBytes) : null;
  const resident = Object.keys(results).filter((name) => name.startsWith(NEXT));
  const wanted = { device, precision, threads, files, mappedWeights, profile, resident };
  const { session, nodes, workBytes, lowered } = await (cut ? openLanes(cut, wanted) : openWhole(recorded, wanted));
  const bytesOf = (specs: Record<string, Spec> = {}) =>
    Object.values(specs).reduce((sum, s) => sum + 4 * sizeOf(s.shape), 0);
  return new Program(session, signature, results, guard, {
    ...memory,
    workBytes,
    nodes,
    constantBytes: bytesOf(signature.constants),
    stateBytes: bytesOf(signature.state),
    traceMs: lowered - started,
    sessionMs: performance.now() - lowered,
  });
}

async function openWhole(piece: Piece, wanted: OpenOptions): Promise<Opened> {
  const { bytes, ...about } = lowerGraph(piece, wanted);
  const lowered = performance.now();
  return { session: await DeviceSession.open(bytes, wanted), ...about, lowered };
}

function feed(name: string, { shape, dtype }: Spec, data: NumericArray | undefined): OrtTensor {
  if (data === undefined) throw new TensorError(`The program needs the input "${name}" of shape [${shape}].`);
  if (data.length !== sizeOf(shape))
    throw new TensorError(
      `The input "${name}" has ${data.length} elements; its shape [${shape}] needs ${sizeOf(shape)}.`,
    );
  return new OrtTensor(dtype as 'float32', data as Float32Array, shape);
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
