// A last pass for the CPU. Its runtime joins a matrix product with the sum that reads it (MatMulAddFusion), and then
// copies the addend into the result before it multiplies, which costs more than adding afterwards. Under its other name
// the same product is left alone. The figures are in README.md; an exported model keeps the standard name.

import type { Attribute, OnnxNode } from './onnx-proto.ts';

/** `nodes` with every MatMul, in bodies too, as com.microsoft's FusedMatMul: the same kernel and numbers. */
export function keepProductsApart(nodes: OnnxNode[]): OnnxNode[] {
  return nodes.map((node) => {
    if (node.op === 'MatMul' && !node.domain) return { ...node, op: 'FusedMatMul', domain: 'com.microsoft' };
    const body = node.attributes?.body as Attribute | undefined;
    if (typeof body !== 'object' || !('graph' in body)) return node;
    const graph = { ...body.graph, nodes: keepProductsApart(body.graph.nodes) };
    return { ...node, attributes: { ...node.attributes, body: { graph } } };
  });
}
