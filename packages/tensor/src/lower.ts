// A simplified graph as one ONNX model: its live nodes, products and sums joined, lowered kernel by kernel.

import { autocast, type Target } from './autocast.ts';
import { Emitter } from './emitter.ts';
import { fuseProducts } from './fuse.ts';
import { type Graph, liveNodes, type Value } from './graph.ts';
import { KERNELS } from './kernels/index.ts';
import { workBytes } from './memory.ts';
import { encodeModel, type OnnxValue } from './onnx-proto.ts';
import { narrowSplits } from './webgpu.ts';

/** A graph, and what is wanted of it by name. */
export interface Piece {
  graph: Graph;
  results: Record<string, Value>;
}

/** What a graph was lowered to. */
export interface Model {
  bytes: Uint8Array;
  nodes: number;
  /** The most that one run holds at once besides inputs, outputs and constants. */
  workBytes: number;
}

/** Lowers what `results` need of a simplified graph to one ONNX model. */
export function lowerGraph({ graph, results }: Piece, target: Target): Model {
  const emitter = new Emitter(graph, KERNELS);
  const wanted = Object.values(results);
  for (const node of fuseProducts(liveNodes(graph, wanted), wanted)) emitter.lower(node);
  const outputs: OnnxValue[] = Object.entries(results).map(([name, value]) => {
    emitter.nodes.push({ op: 'Identity', inputs: [emitter.name(value)], outputs: [name] });
    return { name, type: value.dtype, shape: value.shape };
  });
  const emitted = target.device === 'webgpu' ? narrowSplits(emitter) : emitter.nodes;
  const nodes = autocast(emitted, Object.keys(results), target);
  const bytes = encodeModel({
    name: 'program',
    nodes,
    initializers: emitter.initializers,
    inputs: graph.inputs.map((v) => ({ name: v.name as string, type: v.dtype, shape: v.shape })),
    outputs,
  });
  const { initializers, specs } = emitter;
  const lowered = { nodes: emitter.nodes, initializers, specs, outputs: new Set(Object.keys(results)) };
  return { bytes, nodes: nodes.length, workBytes: workBytes(lowered) };
}
