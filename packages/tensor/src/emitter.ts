// Collects the ONNX nodes and initializers that a lowering emits, and hands out names. Repeated small constants are
// shared; a constant whose elements are all equal never becomes a dense initializer.

import {
  type FileRange,
  type Graph,
  type GraphNode,
  type NumericArray,
  type Spec,
  sameShape,
  sizeOf,
  type Value,
} from './graph.ts';
import { type Attribute, ElementType, type ElementTypeName, type OnnxNode, type OnnxTensor } from './onnx-proto.ts';

export type AttributeMap = Record<string, Attribute>;

export class Emitter {
  readonly nodes: OnnxNode[] = [];
  readonly initializers: OnnxTensor[] = [];
  /** Shapes and types of the names that hold graph values. */
  readonly specs: Map<string, Spec>;
  readonly #names = new Map<number, string>();
  readonly #emitted = new Map<string, string[]>();
  readonly #shared = new Map<string, string>();
  readonly #rules: KernelRules;
  readonly #parent: Emitter | null;
  #next = 0;

  /** Given an emitter instead of rules, it writes a body inside that one's graph and may read everything that one has. */
  constructor(graph: Graph, given: KernelRules | Emitter) {
    this.#parent = given instanceof Emitter ? given : null;
    this.#rules = given instanceof Emitter ? given.#rules : given;
    this.specs = this.#parent?.specs ?? new Map();
    for (const input of graph.inputs) this.bind(input, input.name ?? this.fresh());
  }

  /** A name that nothing else in the model has. */
  fresh(): string {
    return this.#parent ? this.#parent.fresh() : `%:${this.#next++}`;
  }

  /** Emits what a recorded node becomes. */
  lower(node: GraphNode): void {
    const emitted = [this.#rules[node.kernel].lower(this, node)].flat();
    for (const [i, output] of node.outputs.entries()) this.bind(output, emitted[i]);
  }

  /** Emits one node and returns the name of its first output. */
  node(op: string, inputs: string[], attributes: AttributeMap = {}, domain?: string): string {
    return this.multi(op, inputs, 1, attributes, domain)[0];
  }

  /** Emits one node with several outputs, or finds the equal one that was emitted before. */
  multi(op: string, inputs: string[], outputs: number, attributes: AttributeMap = {}, domain?: string): string[] {
    const isPure = op !== 'Identity' && !('body' in attributes);
    const key = isPure ? `${domain ?? ''}.${op}(${inputs})${outputs}${JSON.stringify(attributes)}` : '';
    const twin = isPure ? this.#emitted.get(key) : undefined;
    if (twin) return twin;
    const names = Array.from({ length: outputs }, () => this.fresh());
    this.nodes.push({ op, inputs, outputs: names, attributes, domain });
    if (isPure) this.#emitted.set(key, names);
    return names;
  }

  /** Says which emitted name holds a graph value. */
  bind(value: Value, name: string): void {
    this.#names.set(value.id, name);
    if (!this.specs.has(name)) this.specs.set(name, { shape: value.shape, dtype: value.dtype });
  }

  /** The name that holds a value; constants are emitted when first asked for. */
  name(value: Value): string {
    let name = this.#names.get(value.id);
    if (name === undefined && this.#parent) return this.#parent.name(value);
    if (name === undefined) {
      if (value.kind !== 'constant') throw new Error(`value ${value.id} was read before it was lowered`);
      name = this.#constant(value);
      this.#names.set(value.id, name);
    }
    return name;
  }

  /** Like {@link name}, but an all-equal constant comes as a scalar where `other` alone already has the output's shape. */
  operand(value: Value, other: Value, outShape: readonly number[]): string {
    const uniform = (x: Value) => x.kind === 'constant' && typeof x.data === 'number';
    if (uniform(value) && !uniform(other) && sameShape(other.shape, outShape)) {
      return this.scalar(value.data as number, value.dtype);
    }
    return this.name(value);
  }

  scalar(value: number, type: 'float32' | 'int32' | 'bool' | 'int64' = 'float32'): string {
    return this.#share(`${type}:${Object.is(value, -0) ? '-0' : value}`, type, [], pack([value], type));
  }

  /** A one-dimensional int64 constant: axes, shapes, permutations. */
  ints(values: readonly number[]): string {
    return this.#share(`ints:${values.join()}`, 'int64', [values.length], pack(values, 'int64'));
  }

  /** A small float constant, such as a matrix that a lowering works out; equal ones are shared. */
  floats(data: Float32Array, shape: readonly number[]): string {
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    return this.#share(`floats:${shape}:${data.join()}`, 'float32', [...shape], bytes);
  }

  #share(key: string, type: ElementTypeName, shape: number[], bytes: Uint8Array): string {
    if (this.#parent) return this.#parent.#share(key, type, shape, bytes);
    let name = this.#shared.get(key);
    if (name === undefined) {
      name = `%:c${this.#shared.size}`;
      this.#shared.set(key, name);
      this.initializers.push({ name, type, shape, bytes });
    }
    return name;
  }

  #constant(value: Value): string {
    if (value.range) return this.#mapped(value, value.range);
    if (typeof value.data === 'number') {
      if (value.shape.length === 0) return this.scalar(value.data, value.dtype);
      return this.node('Expand', [this.scalar(value.data, value.dtype), this.ints(value.shape)]);
    }
    const data = value.data as NumericArray;
    const name = value.name ? `%/${value.name}` : `%:k${value.id}`;
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    this.initializers.push({ name, type: value.dtype, shape: value.shape, bytes });
    return name;
  }

  /** An initializer that the runtime maps from its file, widened where it is stored in another type. */
  #mapped({ name, shape, dtype }: Value, { stored, file, offset, length }: FileRange): string {
    const bytes = length === 0 ? new Uint8Array(0) : { location: file, offset, length };
    this.initializers.push({ name: `%/${name}`, type: stored, shape, bytes });
    return stored === dtype ? `%/${name}` : this.node('Cast', [`%/${name}`], { to: { int: ElementType[dtype] } });
  }
}

function pack(values: readonly number[], type: ElementTypeName): Uint8Array {
  if (type === 'int64') return new Uint8Array(BigInt64Array.from(values.map((v) => BigInt(v))).buffer);
  if (type === 'int32') return new Uint8Array(Int32Array.from(values).buffer);
  if (type === 'bool') return Uint8Array.from(values);
  return new Uint8Array(Float32Array.from(values).buffer);
}

/** How one tfjs kernel is recorded and lowered. */
export interface KernelRule {
  /** Whether operands may be left out; the attribute `operands` then lists the names of those given. */
  optional?: boolean;
  /** Output shapes and types; throws on shapes that the kernel does not take. */
  infer(inputs: Value[], attrs: GraphNode['attrs']): { shape: number[]; dtype: Value['dtype'] }[];
  /** Emits the ONNX nodes; returns one emitted name per output. */
  lower(e: Emitter, node: GraphNode): string | string[];
}

export type KernelRules = Record<string, KernelRule>;

export { sizeOf };
