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
  /** Instead of data: the range of a file that holds a frozen weight. */
  range?: FileRange;
}

/** Bytes of a file that hold a tensor, and the type that they have there. */
export interface FileRange {
  file: string;
  offset: number;
  length: number;
  stored: 'float32' | 'float16' | 'bfloat16' | 'int32' | 'int64';
}

export interface GraphNode {
  kernel: string;
  inputs: Value[];
  outputs: Value[];
  // biome-ignore lint/suspicious/noExplicitAny: kernel attributes are as various as the kernels; each rule narrows its own.
  attrs: Record<string, any>;
  /** Which outputs something reads; set by {@link liveNodes}. */
  used?: boolean[];
  /** The model's line that called it, in a traced graph. */
  line?: string;
}

/** The body of a `FoveaScan` node: it reads slices of the node's first inputs, and any value of the graphs around it. */
export interface ScanBody {
  graph: Graph;
  /** Results that are summed over the slices; they give the node's first outputs. */
  sums: Value[];
  /** Results whose rows are joined in the slices' order; they give the node's other outputs. */
  rows: Value[];
}

export class Graph {
  nodes: GraphNode[] = [];
  readonly inputs: Value[] = [];
  /** Whether nodes remember the model's line that called them; slow. */
  traced: boolean;
  readonly #root: Graph;
  /** Forward passes that were differentiated: the first value after each, and by what. */
  readonly forwards: { end: number; trained: Value[] }[] = [];
  #next = 0;

  /** A graph inside another one shares its numbers, so that a value means the same in both. */
  constructor(parent?: Graph) {
    this.#root = parent ? parent.#root : this;
    this.traced = parent?.traced ?? false;
  }

  #id(): number {
    return this.#root.#next++;
  }

  input(name: string | undefined, spec: Spec): Value {
    const value: Value = { id: this.#id(), kind: 'input', name, ...spec };
    this.inputs.push(value);
    return value;
  }

  constant(data: NumericArray | number, spec: Spec, name?: string): Value {
    return { id: this.#id(), kind: 'constant', data, name, ...spec };
  }

  /** A frozen weight that stays in its file. */
  mapped(range: FileRange, { shape, dtype }: Spec, name: string): Value {
    return { id: this.#id(), kind: 'constant', range, name, shape, dtype };
  }

  /** A value that no node makes yet. */
  value(spec: Spec): Value {
    return { id: this.#id(), kind: 'node', shape: spec.shape, dtype: spec.dtype };
  }

  /** Notes that a forward pass ends here whose gradient by `trained` comes next. */
  endForward(trained: Value[]): void {
    this.#root.forwards.push({ end: this.#root.#next, trained });
  }

  node(kernel: string, inputs: Value[], attrs: GraphNode['attrs'], specs: Spec[]): Value[] {
    const outputs = specs.map((spec) => this.value(spec));
    this.nodes.push({ kernel, inputs, outputs, attrs });
    return outputs;
  }
}

export const sizeOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

export const sameShape = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((size, i) => size === b[i]);

/**
 * Nodes that some output needs, in order: what nothing reads is not computed. Inside scans too: results that nothing
 * reads are dropped, and `inputs` of a scan become its sliced inputs followed by every outer value that its body reads.
 */
export function liveNodes(graph: Graph, outputs: Iterable<Value>): GraphNode[] {
  const needed = new Set<number>();
  for (const value of outputs) needed.add(value.id);
  const live: GraphNode[] = [];
  for (let i = graph.nodes.length - 1; i >= 0; i--) {
    const node = graph.nodes[i];
    node.used = node.outputs.map((output) => needed.has(output.id));
    if (!node.used.includes(true)) continue;
    if (node.attrs.body) pruneScan(node);
    for (const input of node.inputs) needed.add(input.id);
    live.push(node);
  }
  return live.reverse();
}

function pruneScan(node: GraphNode): void {
  const body = node.attrs.body as ScanBody;
  const sums = body.sums.length;
  const kept = node.used as boolean[];
  body.sums = body.sums.filter((_, i) => kept[i]);
  body.rows = body.rows.filter((_, i) => kept[sums + i]);
  node.outputs = node.outputs.filter((_, i) => kept[i]);
  node.used = node.outputs.map(() => true);
  const results = [...body.sums, ...body.rows];
  body.graph.nodes = liveNodes(body.graph, results);
  const inside = new Set([...body.graph.inputs, ...body.graph.nodes.flatMap((n) => n.outputs)].map((v) => v.id));
  const read = [...body.graph.nodes.flatMap((n) => n.inputs), ...results];
  const captured = new Map(read.filter((v) => v.kind !== 'constant' && !inside.has(v.id)).map((v) => [v.id, v]));
  node.inputs = [...node.inputs.slice(0, body.graph.inputs.length), ...captured.values()];
}
