// One pass over a recorded graph that removes what costs time and says nothing: products with one, sums with zero,
// reshapes to the same shape, casts to the same type, reshapes of reshapes, and what was computed before (a model's
// forward pass is recorded once per gradient that is asked of it). It rewires the nodes in place.

import { type Graph, type GraphNode, sameShape, type Value } from './graph.ts';

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

/** Rewires `graph`; returns where a value's reader should look instead. */
export function simplify(graph: Graph): (value: Value) => Value {
  const alias = new Map<number, Value>();
  const producer = new Map<number, GraphNode>();
  const seen = new Map<string, GraphNode>();
  const resolve = (value: Value): Value => alias.get(value.id) ?? value;
  for (const node of graph.nodes) {
    node.inputs = node.inputs.map(resolve);
    if (node.kernel === 'Reshape') {
      const before = producer.get(node.inputs[0].id);
      if (before?.kernel === 'Reshape') node.inputs = [before.inputs[0]];
    }
    const same = node.outputs.length === 1 ? sameAs(node) : null;
    if (same) {
      alias.set(node.outputs[0].id, same);
      continue;
    }
    const key = `${node.kernel}(${node.inputs.map(identity).join()})${JSON.stringify(node.attrs)}${node.outputs[0].shape}`;
    const twin = seen.get(key);
    if (twin) {
      for (const [i, output] of node.outputs.entries()) alias.set(output.id, twin.outputs[i]);
      continue;
    }
    seen.set(key, node);
    for (const output of node.outputs) producer.set(output.id, node);
  }
  return resolve;
}
