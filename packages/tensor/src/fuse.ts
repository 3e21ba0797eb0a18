// One pass over the live nodes of a graph that joins a matrix product with the sum that alone reads it: a bias, a
// residual stream, the other half of a gradient. BLAS adds while it multiplies, so one pass over memory is saved.

import { type GraphNode, sameShape, type Value } from './graph.ts';

/** `nodes` with products joined into sums; `results` are read by someone outside. */
export function fuseProducts(nodes: GraphNode[], results: Iterable<Value>): GraphNode[] {
  const readers = new Map<number, number>();
  const count = ({ id }: Value) => readers.set(id, (readers.get(id) ?? 0) + 1);
  for (const node of nodes) node.inputs.forEach(count);
  for (const value of results) count(value);
  const products = new Map<number, GraphNode>();
  const joined = new Set<GraphNode>();
  const fused = nodes.map((node) => {
    const [out] = node.outputs;
    if (node.kernel === 'BatchMatMul' && out.shape.length === 2 && readers.get(out.id) === 1)
      products.set(out.id, node);
    if (node.kernel !== 'Add') return node;
    const at = node.inputs.findIndex((x) => products.has(x.id) && sameShape(x.shape, out.shape));
    const product = products.get(node.inputs[at]?.id);
    if (!product) return node;
    joined.add(product);
    return { ...node, kernel: 'FoveaGemm', inputs: [...product.inputs, node.inputs[1 - at]], attrs: product.attrs };
  });
  return fused.filter((node) => !joined.has(node));
}
