// How much memory a lowered program needs: the sizes of its buffers by their shapes, and the most that is alive at
// once when its nodes run in the order in which onnxruntime runs them. An estimate from the graph alone: the runtime's
// own fusions are not seen, and its arena rounds sizes up.

import { type Graph, type GraphNode, liveNodes, type ScanBody, sizeOf, type Value } from './graph.ts';
import { broadcastShape } from './kernels/elementwise.ts';
import type { OnnxGraph, OnnxNode, OnnxTensor } from './onnx-proto.ts';

const ELEMENT_BYTES: Record<string, number> = {
  float32: 4,
  int32: 4,
  int64: 8,
  bool: 1,
  uint8: 1,
  float16: 2,
  bfloat16: 2,
};

/** Nodes whose output is their first input's buffer. */
const VIEWS = new Set(['Reshape', 'Squeeze', 'Unsqueeze', 'Flatten', 'Identity']);
/** Nodes that may write their first output over an input of the same size which nobody reads afterwards. */
const IN_PLACE = new Set(
  'Abs Add Cast Clip Cos Div Erf Exp LeakyRelu Log LogSoftmax Mul Neg Not Pow Reciprocal Relu Sigmoid Sign Sin Softmax Softplus Sqrt Sub Sum Tanh ScatterElements'.split(
    ' ',
  ),
);

/** Sizes in bytes. */
export interface MemoryReport {
  /** Numbers in all parameters, trained and frozen. */
  parameters: number;
  /** Parameters that some gradient is taken of. */
  trainableBytes: number;
  /** Constants given to the program by name. */
  frozenBytes: number;
  /** What the forward pass leaves for the gradient; 0 without one. */
  activationBytes: number;
  /** The most that one run holds at once besides inputs, outputs, state and constants. An estimate. */
  workBytes: number;
}

export interface Lowered {
  nodes: readonly OnnxNode[];
  initializers: readonly OnnxTensor[];
  /** What is known of names: inputs of the program and the values that nodes were bound to. */
  specs: ReadonlyMap<string, { shape: readonly number[]; dtype: string }>;
  /** Names whose buffers the caller owns. */
  outputs: ReadonlySet<string>;
}

type Shape = readonly number[];

/** The graph inside a node that runs one. */
const bodyOf = ({ attributes }: OnnxNode) => (attributes?.body as { graph: OnnxGraph } | undefined)?.graph;

/** Names that a node reads, those that only its body reads included. */
const readsOf = (node: OnnxNode): string[] => [...node.inputs, ...(bodyOf(node)?.nodes ?? []).flatMap(readsOf)];

/** Shapes of all names, from those that are known: exact for what the kernels here emit, else the largest input's. */
export function inferShapes({ nodes, initializers, specs }: Lowered): Map<string, { shape: Shape; dtype: string }> {
  const found = new Map<string, { shape: Shape; dtype: string }>(specs);
  const ints = new Map<string, number[]>();
  for (const { name, shape, type, bytes } of initializers) {
    found.set(name, { shape, dtype: type });
    if (type === 'int64' && bytes instanceof Uint8Array)
      ints.set(name, [...new BigInt64Array(bytes.slice().buffer)].map(Number));
  }
  for (const node of nodes) {
    const inputs = node.inputs.map((name) => found.get(name)?.shape ?? []);
    const numbers = node.inputs.map((name) => ints.get(name));
    const dtype = outputType(node) ?? found.get(node.inputs[node.op === 'Where' ? 1 : 0])?.dtype ?? 'float32';
    const rule = SHAPE_RULES[node.op] ?? (node.op.startsWith('Reduce') ? reducedShape : spread);
    const shapes = rule(node, inputs, numbers);
    for (const [i, output] of node.outputs.entries()) {
      if (!found.has(output)) found.set(output, { shape: shapes[i] ?? shapes[0], dtype });
    }
  }
  return found;
}

function outputType({ op, attributes }: OnnxNode): string | undefined {
  if (/^(Less|Greater|Equal|Not$|And$|Or$|IsNaN)/.test(op)) return 'bool';
  if (op === 'Shape' || op === 'ArgMax' || op === 'ArgMin') return 'int64';
  if (op !== 'Cast') return undefined;
  const to = (attributes?.to as { int: number } | undefined)?.int ?? 1;
  return { 1: 'float32', 6: 'int32', 7: 'int64', 9: 'bool', 10: 'float16', 16: 'bfloat16' }[to];
}

const attributeInts = ({ attributes }: OnnxNode, name: string): number[] | undefined =>
  (attributes?.[name] as { ints: number[] } | undefined)?.ints;
const attributeInt = ({ attributes }: OnnxNode, name: string, or: number): number =>
  (attributes?.[name] as { int: number } | undefined)?.int ?? or;

const wrap = (axis: number, rank: number) => (axis < 0 ? axis + rank : axis);

type ShapeRule = (node: OnnxNode, inputs: Shape[], numbers: (number[] | undefined)[]) => Shape[];

const product = (x: Shape, y: Shape, rows?: number, columns?: number): Shape[] => [
  [...broadcastShape(x.slice(0, -2), y.slice(0, -2)), rows ?? 1, columns ?? 1],
];

/** Output shapes by operation, from input shapes and the numbers of constant integer inputs. */
const SHAPE_RULES: Record<string, ShapeRule> = {
  MatMul: (_node, [x, y]) => product(x, y, x.at(-2), y.at(-1)),
  FusedMatMul: (node, [x, y]) =>
    product(x, y, x.at(attributeInt(node, 'transA', 0) ? -1 : -2), y.at(attributeInt(node, 'transB', 0) ? -2 : -1)),
  Gemm: (node, [x, y]) => [[x[attributeInt(node, 'transA', 0) ? 1 : 0], y[attributeInt(node, 'transB', 0) ? 0 : 1]]],
  Transpose: (node, [x]) => [(attributeInts(node, 'perm') ?? []).map((p) => x[p])],
  Reshape: (_node, [x], [, wanted = x]) => {
    const rest = sizeOf(x) / wanted.reduce((a, b) => (b === -1 ? a : a * b), 1);
    return [wanted.map((size) => (size === -1 ? rest : size))];
  },
  Expand: (_node, [x], [, wanted = x]) => [broadcastShape(x, wanted)],
  Unsqueeze: (_node, [x], [, axes = []]) => {
    const shape = [...x];
    for (const axis of axes) shape.splice(wrap(axis, x.length + axes.length), 0, 1);
    return [shape];
  },
  Squeeze: (_node, [x], [, axes = []]) => [x.filter((_, i) => !axes.some((axis) => wrap(axis, x.length) === i))],
  Slice: (_node, [x], [, starts = [], ends = [], axes = starts.map((_, i) => i), steps = []]) => {
    const shape = [...x];
    for (const [i, axis] of axes.entries()) {
      const size = x[wrap(axis, x.length)];
      const clamp = (at: number) => Math.min(Math.max(wrap(at, size), 0), size);
      const span = Math.ceil((clamp(ends[i]) - clamp(starts[i])) / (steps[i] ?? 1));
      shape[wrap(axis, x.length)] = (steps[i] ?? 1) < 0 ? size : Math.max(0, span);
    }
    return [shape];
  },
  Concat: (node, inputs) => {
    const axis = wrap(attributeInt(node, 'axis', 0), inputs[0].length);
    const joined = inputs.reduce((sum, shape) => sum + shape[axis], 0);
    return [inputs[0].map((size, i) => (i === axis ? joined : size))];
  },
  Split: (node, [x], [, parts = []]) => {
    const axis = wrap(attributeInt(node, 'axis', 0), x.length);
    return parts.map((part) => x.map((size, i) => (i === axis ? part : size)));
  },
  Pad: (_node, [x], [, pads = []]) => [x.map((size, i) => size + (pads[i] ?? 0) + (pads[i + x.length] ?? 0))],
  Tile: (_node, [x], [, repeats = []]) => [x.map((size, i) => size * (repeats[i] ?? 1))],
  Range: (_node, _inputs, [from, to]) => [[(to?.[0] ?? 1) - (from?.[0] ?? 0)]],
  Gather: (node, [x, indices]) => {
    const axis = wrap(attributeInt(node, 'axis', 0), x.length);
    return [[...x.slice(0, axis), ...indices, ...x.slice(axis + 1)]];
  },
  GatherElements: (_node, [, indices]) => [indices],
  LayerNormalization: (_node, [x]) => {
    const stats = [...x.slice(0, -1), 1];
    return [x, stats, stats];
  },
};

const reducedShape: ShapeRule = (node, [x], [, axes = x.map((_, i) => i)]) => {
  const over = axes.map((axis) => wrap(axis, x.length));
  if (attributeInt(node, 'keepdims', 1)) return [x.map((size, i) => (over.includes(i) ? 1 : size))];
  return [x.filter((_, i) => !over.includes(i))];
};

/** Broadcast of all operands; the largest where they do not broadcast. */
const spread: ShapeRule = (_node, shapes) => {
  try {
    return [shapes.reduce((a, b) => broadcastShape(a, b), [])];
  } catch {
    return [shapes.reduce((a, b) => (sizeOf(b) > sizeOf(a) ? b : a), [])];
  }
};

/**
 * The order in which onnxruntime runs nodes: depth first from the last node that nobody reads, each node's inputs
 * visited from the latest made to the earliest (GraphViewer's default), identities having been removed.
 */
export function runtimeOrder(nodes: readonly OnnxNode[]): OnnxNode[] {
  const maker = new Map<string, number>();
  const read = new Set<number>();
  const makers = nodes.map((node, i) => {
    const { op, outputs } = node;
    const before = readsOf(node)
      .map((name) => maker.get(name))
      .filter((at) => at !== undefined);
    for (const output of outputs) maker.set(output, op === 'Identity' ? before[0] : i);
    if (op !== 'Identity') for (const at of before) read.add(at);
    return before.sort((a, b) => a - b);
  });
  const order: OnnxNode[] = [];
  const visited = new Set<number>();
  const stack: { at: number; leave: boolean }[] = [];
  const visit = (at: number) => stack.push({ at, leave: false });
  for (const [i, { op }] of nodes.entries()) if (!read.has(i) && op !== 'Identity') visit(i);
  for (let top = stack.pop(); top; top = stack.pop()) {
    const { at, leave } = top;
    if (leave) order.push(nodes[at]);
    if (leave || visited.has(at)) continue;
    visited.add(at);
    stack.push({ at, leave: true });
    for (const input of makers[at]) if (!visited.has(input)) visit(input);
  }
  return order;
}

/**
 * The most bytes that are allocated at once, without what the caller owns (inputs, outputs) and the constants. As
 * onnxruntime plans it: a buffer that falls free waits for the next tensor of the very same shape, however much later,
 * and is given back only after its last tenant.
 */
export function workBytes(lowered: Lowered): number {
  const shapes = inferShapes(lowered);
  const specOf = (name: string) => shapes.get(name) as { shape: Shape; dtype: string };
  const order = runtimeOrder(lowered.nodes);
  const roots = new Map<string, string>();
  const root = (name: string) => roots.get(name) ?? name;
  for (const { op, inputs, outputs } of lowered.nodes) if (VIEWS.has(op)) roots.set(outputs[0], root(inputs[0]));
  const owned = new Set([...lowered.outputs].map(root));
  const readers = new Map<string, number>();
  for (const node of order) for (const x of readsOf(node)) readers.set(root(x), (readers.get(root(x)) ?? 0) + 1);

  const tenancy = new Map<string, Buffer>();
  const buffers: Buffer[] = [];
  const free = new Map<string, Buffer[]>();
  for (const [step, node] of order.entries()) {
    const { op, outputs } = node;
    const inputs = readsOf(node);
    const body = bodyOf(node);
    if (body) {
      const bytes = workBytes({ ...lowered, nodes: body.nodes, outputs: new Set(body.outputs.map((x) => x.name)) });
      buffers.push({ key: 'body', bytes, start: step, end: step });
    }
    for (const [i, output] of outputs.entries()) {
      if (root(output) !== output || owned.has(output)) continue;
      const { shape, dtype } = specOf(output);
      const key = `${ELEMENT_BYTES[dtype]}[${shape}]`;
      const dying = (x: string) => readers.get(x) === 1 && tenancy.get(x)?.key === key;
      const taken = IN_PLACE.has(op) && i === 0 ? inputs.map(root).find(dying) : undefined;
      let buffer = taken === undefined ? free.get(key)?.pop() : tenancy.get(taken);
      if (taken !== undefined) tenancy.delete(taken);
      if (!buffer) {
        buffer = { key, bytes: bytesOf(specOf(output)), start: step, end: step };
        buffers.push(buffer);
      }
      tenancy.set(output, buffer);
    }
    for (const x of inputs.map(root)) readers.set(x, (readers.get(x) as number) - 1);
    for (const x of [...inputs.map(root), ...outputs]) {
      const buffer = tenancy.get(x);
      if (!buffer || (readers.get(x) ?? 0) > 0) continue;
      buffer.end = step;
      tenancy.delete(x);
      free.set(buffer.key, [...(free.get(buffer.key) ?? []), buffer]);
    }
  }
  return mostAtOnce(buffers);
}

interface Buffer {
  key: string;
  bytes: number;
  /** First and last step of its life. */
  start: number;
  end: number;
}

function mostAtOnce(buffers: Buffer[]): number {
  const change = new Map<number, number>();
  const add = (step: number, bytes: number) => change.set(step, (change.get(step) ?? 0) + bytes);
  for (const { start, end, bytes } of buffers) {
    add(start, bytes);
    add(end + 1, -bytes);
  }
  let [now, most] = [0, 0];
  for (const [, bytes] of [...change].sort(([a], [b]) => a - b)) {
    now += bytes;
    most = Math.max(most, now);
  }
  return most;
}

const withBody = (node: GraphNode): GraphNode[] =>
  node.attrs.body ? (node.attrs.body as ScanBody).graph.nodes.flatMap(withBody) : [node];

/** Graph kernels that only rename their input's elements. */
const RESHAPES = new Set(['Reshape', 'ExpandDims', 'Identity', 'StopGradient']);

/** Bytes of what nodes compute before some forward pass ends and read after it; the most over all forward passes. */
export function activationBytes(graph: Graph, outer: readonly GraphNode[]): number {
  const nodes = outer.flatMap(withBody);
  const buffers = new Map<number, Value>();
  for (const { kernel, inputs, outputs } of nodes) {
    const source = inputs[0] && buffers.get(inputs[0].id);
    for (const output of outputs) buffers.set(output.id, (RESHAPES.has(kernel) && source) || output);
  }
  const kept = graph.forwards.map(({ end }) => {
    const late = nodes.filter((node) => node.outputs[0].id >= end && !RESHAPES.has(node.kernel));
    const read = new Set(late.flatMap((node) => node.inputs.map((x) => buffers.get(x.id))));
    return [...read].filter((x) => x !== undefined && x.id < end).reduce((sum, x) => sum + bytesOf(x as Value), 0);
  });
  return Math.max(0, ...kept);
}

const bytesOf = ({ shape, dtype }: { shape: Shape; dtype: string }) => sizeOf(shape) * ELEMENT_BYTES[dtype];
const total = (values: Iterable<{ shape: Shape; dtype: string }>) =>
  [...values].reduce((sum, x) => sum + bytesOf(x), 0);

/** What a recorded program's tensors come to; what its run needs besides is for the lowered one to say. */
export function memoryReport(
  { graph, results }: { graph: Graph; results: Record<string, Value> },
  frozen: Record<string, { shape: Shape; dtype: string }>,
): Omit<MemoryReport, 'workBytes'> {
  const trained = new Set(graph.forwards.flatMap((forward) => forward.trained));
  const constants = Object.values(frozen);
  return {
    parameters: [...trained, ...constants].reduce((sum, { shape }) => sum + sizeOf(shape), 0),
    trainableBytes: total(trained),
    frozenBytes: total(constants),
    activationBytes: activationBytes(graph, liveNodes(graph, Object.values(results))),
  };
}
