// The tensors that a program carries from run to run. On the host they live in two sets of buffers that swap, so a run
// allocates nothing and a run whose result is refused costs nothing: its buffers are simply not swapped in. On a device
// that keeps its outputs (WebGPU) the next state stays there and comes to the host only when it is asked for.

import { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node';
import { sessionOptions } from './devices.ts';
import { TensorError } from './errors.ts';
import { type NumericArray, type Spec, sizeOf } from './graph.ts';
import { encodeModel } from './onnx-proto.ts';
import { prefixed } from './recorder.ts';

type Tensors = Record<string, OrtTensor>;

export interface CarriedState {
  /** Tensors to feed, by state name. */
  feeds(): Tensors;
  /** Buffers for the next state; null where the device makes its own. */
  fetches(): Record<string, OrtTensor | null>;
  /** Takes a run's results as the state, but for the names in `except`, which stay as they were. */
  advance(next: Tensors, except: ReadonlySet<string>): void;
  /** The host's copy of one tensor. Throws a {@link TensorError} while the device's is newer. */
  get(name: string): NumericArray;
  set(values: Record<string, NumericArray>): void;
  /** Brings the device's state to the host. */
  settle(): Promise<void>;
  release(): Promise<void>;
}

export function allocate({ shape, dtype }: Spec): OrtTensor {
  const size = sizeOf(shape);
  if (dtype === 'float32') return new OrtTensor('float32', new Float32Array(size), shape);
  if (dtype === 'int32') return new OrtTensor('int32', new Int32Array(size), shape);
  return new OrtTensor('bool', new Uint8Array(size), shape);
}

const allocateAll = (specs: Record<string, Spec>): Tensors =>
  Object.fromEntries(Object.entries(specs).map(([name, spec]) => [name, allocate(spec)]));

function tensorOf(tensors: Tensors, name: string): OrtTensor {
  if (!(name in tensors)) throw new TensorError(`The program carries no state "${name}".`);
  return tensors[name];
}

function copyInto(tensors: Tensors, values: Record<string, NumericArray>): void {
  for (const [name, data] of Object.entries(values)) {
    const tensor = tensorOf(tensors, name);
    if (tensor.size !== data.length)
      throw new TensorError(`The state "${name}" has ${tensor.size} elements, not ${data.length}.`);
    (tensor.data as NumericArray).set(data);
  }
}

/** State in host memory, in two sets of buffers. */
export class HostState implements CarriedState {
  #now: Tensors;
  #next: Tensors;

  constructor(specs: Record<string, Spec>) {
    this.#now = allocateAll(specs);
    this.#next = allocateAll(specs);
  }

  feeds = () => this.#now;
  fetches = () => this.#next;

  advance(_next: Tensors, except: ReadonlySet<string>): void {
    const swapped = Object.keys(this.#now).filter((name) => !except.has(name));
    for (const name of swapped) [this.#now[name], this.#next[name]] = [this.#next[name], this.#now[name]];
  }

  get = (name: string) => (tensorOf(this.#now, name).data as NumericArray).slice();
  set = (values: Record<string, NumericArray>) => copyInto(this.#now, values);
  settle = async () => {};
  release = async () => {};
}

/** State that stays in the buffers of a WebGPU device. */
export class DeviceState implements CarriedState {
  readonly #specs: Record<string, Spec>;
  readonly #host: Tensors;
  #device: Tensors = {};
  /** Names whose device copy is newer than the host's. */
  readonly #newer = new Set<string>();
  #reader: InferenceSession | null = null;

  constructor(specs: Record<string, Spec>) {
    this.#specs = specs;
    this.#host = allocateAll(specs);
  }

  feeds = () => ({ ...this.#host, ...this.#device });
  fetches = () => Object.fromEntries(Object.keys(this.#specs).map((name) => [name, null]));

  advance(next: Tensors, except: ReadonlySet<string>): void {
    for (const [name, tensor] of Object.entries(next)) {
      if (except.has(name)) {
        tensor.dispose();
        continue;
      }
      this.#device[name]?.dispose();
      this.#device[name] = tensor;
      this.#newer.add(name);
    }
  }

  get(name: string): NumericArray {
    const tensor = tensorOf(this.#host, name);
    if (this.#newer.has(name))
      throw new TensorError(`The state "${name}" is on the device; await the program's settle() before reading it.`);
    return (tensor.data as NumericArray).slice();
  }

  set(values: Record<string, NumericArray>): void {
    copyInto(this.#host, values);
    for (const name of Object.keys(values)) this.#drop(name);
  }

  // The runtime's own getData() on a device buffer ends the process (1.30), so a program of identities reads instead.
  async settle(): Promise<void> {
    if (this.#newer.size === 0) return;
    this.#reader ??= await openReader(this.#specs);
    const read = await this.#reader.run(prefixed('in/', this.feeds()));
    for (const name of this.#newer)
      (this.#host[name].data as NumericArray).set(read[`out/${name}`].data as Float32Array);
    this.#newer.clear();
  }

  async release(): Promise<void> {
    for (const name of Object.keys(this.#device)) this.#drop(name);
    await this.#reader?.release();
    this.#reader = null;
  }

  #drop(name: string): void {
    this.#device[name]?.dispose();
    delete this.#device[name];
    this.#newer.delete(name);
  }
}

function openReader(specs: Record<string, Spec>): Promise<InferenceSession> {
  const named = (prefix: string) =>
    Object.entries(specs).map(([name, { shape, dtype }]) => ({ name: prefix + name, type: dtype, shape }));
  const model = encodeModel({
    name: 'reader',
    initializers: [],
    inputs: named('in/'),
    outputs: named('out/'),
    nodes: Object.keys(specs).map((name) => ({ op: 'Identity', inputs: [`in/${name}`], outputs: [`out/${name}`] })),
  });
  return InferenceSession.create(model, sessionOptions('webgpu', 1));
}
