// One pass over a recorded graph that removes what costs time and says nothing: products with one, sums with zero,
// reshapes to the same shape, casts to the same type, reshapes of reshapes, and what was computed before (a model's
// forward pass is recorded once per gradient that is asked of it). It rewires the nodes in place.

import { type Graph, type GraphNode, type ScanBody, sameShape, type Value } from './graph.ts';

const isAll = (value: Value, number: number) => value.kind === 'constant' && value.data === number;

/** The value that a node's single output is known to equal, or null. */
function sameAs(node: GraphNode): Value | null {
  const [a, b] = node.inputs;
  const [out] = node.outputs;
  const keeps = (x: Value) => sameShape(x.shape, out.shape) && x.dtype === out.dtype;
  switch (node.kernel) {
    case 'Multiply':
      if (isAll(b, 1) && keeps(a)) return a;
      return isAll(a, 1) && keeps(b) ? b : null;
    case 'Add':
      if (isAll(b, 0) && keeps(a)) return a;
      return isAll(a, 0) && keeps(b) ? b : null;
    case 'Sub':
      return isAll(b, 0) && keeps(a) ? a : null;
    case 'RealDiv':
      return isAll(b, 1) && keeps(a) ? a : null;
    case 'Reshape':
    case 'Cast':
    case 'Identity':
    case 'BroadcastTo':
    case 'Tile':
      return keeps(a) && (node.kernel !== 'Tile' || node.attrs.reps.every((r: number) => r === 1)) ? a : null;
    case 'Sum':
      return keeps(a) && [node.attrs.axis].flat().length === 0 ? a : null;
    case 'Transpose':
      return node.attrs.perm.every((p: number, i: number) => p === i) ? a : null;
    default:
      return null;
  }
}

/** What makes two operands the same: the value, or for all-equal constants what they hold. */
const identity = (value: Value): string =>
  value.kind === 'constant' && typeof value.data === 'number'
    ? `${value.dtype}[${value.shape}]=${value.data}`
    : `${value.id}`;

/** What is known while walking a graph; a body inside it knows all that and more. */
class Scope {
  readonly #alias = new Map<number, Value>();
  readonly #producer = new Map<number, GraphNode>();
  readonly #twins = new Map<string, GraphNode>();
  readonly graph: Graph;
  readonly parent: Scope | null;
  nodes: GraphNode[] = [];

  constructor(graph: Graph, parent: Scope | null = null) {
    this.graph = graph;
    this.parent = parent;
  }

  /** Where a value's reader should look instead. */
  resolve = (value: Value): Value => {
    const other = this.#alias.get(value.id);
    if (other) return other;
    return this.parent ? this.parent.resolve(value) : value;
  };

  producer(value: Value): GraphNode | undefined {
    return this.#producer.get(value.id) ?? this.parent?.producer(value);
  }

  twin(key: string): GraphNode | undefined {
    return this.#twins.get(key) ?? this.parent?.twin(key);
  }

  replace(value: Value, other: Value): void {
    this.#alias.set(value.id, other);
  }

  /** Whether a value is made in this very scope, so that it changes with every slice of a body. */
  owns(value: Value): boolean {
    return this.#producer.has(value.id);
  }

  /** Declares values that exist from the start: a body's inputs. */
  declare(values: Value[], owner: GraphNode): void {
    for (const value of values) this.#producer.set(value.id, owner);
  }

  add(node: GraphNode, key: string | null): void {
    if (key !== null) this.#twins.set(key, node);
    for (const output of node.outputs) this.#producer.set(output.id, node);
    this.nodes.push(node);
  }
}

/** Rewires `graph`; returns where a value's reader should look instead. */
export function simplify(graph: Graph): (value: Value) => Value {
  const scope = new Scope(graph);
  walk(graph, scope);
  return scope.resolve;
}

function walk(graph: Graph, scope: Scope): void {
  for (const node of graph.nodes) visit(node, scope);
  graph.nodes = scope.nodes;
}

function visit(node: GraphNode, scope: Scope): void {
  node.inputs = node.inputs.map(scope.resolve);
  if (node.attrs.body) {
    visitScan(node, scope);
    return;
  }
  const flat = node.kernel === 'Add' ? sumOfReshaped(node, scope) : null;
  if (flat) {
    visit(flat, scope);
    visit(
      { kernel: 'Reshape', inputs: flat.outputs, outputs: node.outputs, attrs: { shape: node.outputs[0].shape } },
      scope,
    );
    return;
  }
  // What a body computes from outer values alone is the same for every slice: compute it once, outside.
  let home = scope;
  while (home.parent && !node.inputs.some((input) => home.owns(input))) home = home.parent;
  if (node.kernel === 'Reshape') {
    const before = scope.producer(node.inputs[0]);
    if (before?.kernel === 'Reshape') node.inputs = [before.inputs[0]];
  }
  const same = node.outputs.length === 1 ? sameAs(node) : null;
  if (same) {
    scope.replace(node.outputs[0], same);
    return;
  }
  const key = `${node.kernel}(${node.inputs.map(identity).join()})${JSON.stringify(node.attrs)}${node.outputs[0].shape}`;
  const twin = scope.twin(key);
  if (twin) {
    for (const [i, output] of node.outputs.entries()) scope.replace(output, twin.outputs[i]);
    return;
  }
  home.add(node, key);
}

/** The sum of two products' rows as a sum of matrices, where both were reshaped alike: the products can take it in. */
function sumOfReshaped(node: GraphNode, scope: Scope): GraphNode | null {
  const sources = node.inputs.map((input) => scope.producer(input));
  if (!sources.every((source) => source?.kernel === 'Reshape')) return null;
  const inputs = sources.map((source) => (source as GraphNode).inputs[0]);
  const [a, b] = inputs;
  if (a.shape.length !== 2 || !sameShape(a.shape, b.shape) || !sameShape(node.inputs[0].shape, node.inputs[1].shape))
    return null;
  return { kernel: 'Add', inputs, outputs: [scope.graph.value(a)], attrs: {} };
}

function visitScan(node: GraphNode, scope: Scope): void {
  const body = node.attrs.body as ScanBody;
  const inner = new Scope(body.graph, scope);
  inner.declare(body.graph.inputs, node);
  walk(body.graph, inner);
  body.sums = body.sums.map(inner.resolve);
  body.rows = body.rows.map(inner.resolve);
  scope.add(node, null);
}
