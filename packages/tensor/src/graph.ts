// The recorded program: static shapes, single assignment, tfjs kernel names as operations. It knows nothing of ONNX;
// a lowering reads it. Values are numbered in the order they were made, so every node's inputs precede it.

export type DType = 'float32' | 'int32' | 'bool';
export type NumericArray = Float32Array | Int32Array | Uint8Array;

export interface Spec {
  shape: number[];
  dtype: DType;
}

export interface Value extends Spec {
  id: number;
  kind: 'input' | 'constant' | 'node';
  /** Name of an input; for constants, of the frozen weight it holds, if any. */
  name?: string;
  /** Data of a constant; a single number when all its elements are equal. */
  data?: NumericArray | number;
}

export interface GraphNode {
  kernel: string;
  inputs: Value[];
  outputs: Value[];
  // biome-ignore lint/suspicious/noExplicitAny: kernel attributes are as various as the kernels; each rule narrows its own.
  attrs: Record<string, any>;
  /** Which outputs something reads; set by {@link liveNodes}. */
  used?: boolean[];
}

export class Graph {
  readonly nodes: GraphNode[] = [];
  readonly inputs: Value[] = [];
  #next = 0;

  input(name: string, spec: Spec): Value {
    const value: Value = { id: this.#next++, kind: 'input', name, ...spec };
    this.inputs.push(value);
    return value;
  }

  constant(data: NumericArray | number, spec: Spec, name?: string): Value {
    return { id: this.#next++, kind: 'constant', data, name, ...spec };
  }

  node(kernel: string, inputs: Value[], attrs: GraphNode['attrs'], specs: Spec[]): Value[] {
    const outputs = specs.map((spec): Value => ({ id: this.#next++, kind: 'node', ...spec }));
    this.nodes.push({ kernel, inputs, outputs, attrs });
    return outputs;
  }
}

export const sizeOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

export const sameShape = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((size, i) => size === b[i]);

/** Nodes that some output needs, in order: what nothing reads is not computed. */
export function liveNodes(graph: Graph, outputs: Iterable<Value>): GraphNode[] {
  const needed = new Set<number>();
  for (const value of outputs) needed.add(value.id);
  const live: GraphNode[] = [];
  for (let i = graph.nodes.length - 1; i >= 0; i--) {
    const node = graph.nodes[i];
    node.used = node.outputs.map((output) => needed.has(output.id));
    if (!node.used.includes(true)) continue;
    for (const input of node.inputs) needed.add(input.id);
    live.push(node);
  }
  return live.reverse();
}
