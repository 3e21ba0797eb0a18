// After a step whose numbers went bad: which tensor was the first. The step is recorded once more, this time with the
// model line of every operation, and beside each result counts of its NaNs and infinities. It runs on the CPU, once,
// because the step before it failed; a healthy step pays nothing for it.

import { Tensor as OrtTensor } from 'onnxruntime-node';
import type { Signature, StepFunction } from './compile.ts';
import { DeviceSession, type Precision } from './devices.ts';
import { Graph, type GraphNode, liveNodes, type NumericArray, type Value } from './graph.ts';
import { lowerGraph } from './lower.ts';
import { MappedFiles } from './mapped.ts';
import { mapValues, recordGraph, valueBehind } from './recorder.ts';
import { simplify } from './simplify.ts';

export interface NonFinite {
  /** An input of the function, or the first bad one of its outputs. */
  kind: 'input' | 'output';
  name: string;
  value: 'NaN' | 'Infinity';
  /** For an output: the operation where it began, and the model's line that calls it. */
  operation?: string;
  line?: string;
}

const MINUS_MAX = -3.4028234663852886e38;

/**
 * The first tensor of a function that holds a NaN or an infinity: an input, or else the output that was computed first
 * among the bad ones, with the operation where the trouble began. Null where all is finite. An attention mask's −∞ is
 * no trouble.
 */
export async function firstNonFinite(
  fn: StepFunction,
  signature: Pick<Signature, 'inputs' | 'constants'>,
  inputs: Record<string, NumericArray>,
  { precision = 'fp32' as Precision, threads = 1 } = {},
): Promise<NonFinite | null> {
  for (const name of Object.keys(signature.inputs)) {
    const bad = inputs[name].findIndex((x: number) => !Number.isFinite(x));
    if (bad >= 0) return { kind: 'input', name, value: Number.isNaN(inputs[name][bad]) ? 'NaN' : 'Infinity' };
  }
  const graph = new Graph();
  graph.traced = true;
  const files = new MappedFiles(signature.constants);
  const named = recordGraph(graph, signature.inputs, files.constants, (given, frozen) =>
    mapValues(fn(given, {}, frozen).outputs, valueBehind),
  );
  const nodes = liveNodes(graph, Object.values(named)).filter((node) => node.outputs.some(isFloat));
  const counts = Object.fromEntries(nodes.map((node, i) => [`count/${i}`, countBad(graph, node)]));
  const results = mapValues(counts, simplify(graph));
  const { bytes } = lowerGraph({ graph, results }, { precision, device: 'cpu' });
  const session = await DeviceSession.open(bytes, {
    device: 'cpu',
    precision: 'fp32',
    threads,
    files,
    optimise: false,
  });
  try {
    const feeds = mapValues(
      signature.inputs,
      ({ dtype, shape }, name) => new OrtTensor(dtype as 'float32', inputs[name] as Float32Array, shape),
    );
    const wanted = mapValues(counts, () => null);
    const results = (await session.run(feeds, wanted)) as Record<string, OrtTensor>;
    const tally = nodes.map((node, i) => {
      const [nans, infinities, masked] = results[`count/${i}`].data as Int32Array;
      return { node, nans, bad: nans + infinities, onlyMinus: nans === 0 && infinities === masked };
    });
    return firstOf(tally, named);
  } finally {
    await session.release();
  }
}

interface Tally {
  node: GraphNode;
  nans: number;
  bad: number;
  /** Whether all that is bad is −∞. */
  onlyMinus: boolean;
}

/** `tally` is in the order of computation. */
function firstOf(tally: Tally[], named: Record<string, Value>): NonFinite | null {
  const masks = new Set<number>();
  const isMask = ({ node, onlyMinus }: Tally) =>
    onlyMinus && node.inputs.some((x) => masks.has(x.id) || (x.kind === 'constant' && holdsMinusInfinity(x)));
  const bad: Tally[] = [];
  for (const entry of tally.filter((e) => e.bad > 0)) {
    if (isMask(entry)) for (const output of entry.node.outputs) masks.add(output.id);
    else bad.push(entry);
  }
  if (bad.length === 0) return null;
  const [{ node, nans }] = bad;
  const order = new Map(bad.flatMap((e, i) => e.node.outputs.map((output) => [output.id, i] as const)));
  const [name] = Object.keys(named)
    .filter((key) => order.has(named[key].id))
    .sort((a, b) => (order.get(named[a].id) as number) - (order.get(named[b].id) as number));
  const operation = node.kernel.replace(/^Fovea/, '');
  return { kind: 'output', name: name ?? operation, value: nans > 0 ? 'NaN' : 'Infinity', operation, line: node.line };
}

const isFloat = (value: Value) => value.dtype === 'float32';

const holdsMinusInfinity = ({ data }: Value) =>
  typeof data === 'number' ? data === -Infinity : (data?.includes(-Infinity) ?? false);

/** [NaNs, infinities, −∞] among a node's float results, by graph nodes; x − x is NaN where x is not finite. */
function countBad(graph: Graph, node: GraphNode): Value {
  const float = { shape: [] as number[], dtype: 'float32' as const };
  const lowest = graph.constant(MINUS_MAX, float);
  const one = (kernel: string, inputs: Value[], shape: number[], dtype: Value['dtype'], attrs = {}) =>
    graph.node(kernel, inputs, attrs, [{ shape, dtype }])[0];
  const count = (mask: Value) => one('Reshape', [one('Sum', [mask], [], 'int32')], [1], 'int32');
  const counts = node.outputs.filter(isFloat).map((x) => {
    const nans = count(one('IsNan', [x], x.shape, 'bool'));
    const all = count(one('IsNan', [one('Sub', [x, x], x.shape, 'float32')], x.shape, 'bool'));
    const minus = count(one('Less', [x, lowest], x.shape, 'bool'));
    return one('Concat', [nans, one('Sub', [all, nans], [1], 'int32'), minus], [3], 'int32', { axis: 0 });
  });
  return counts.reduce((a, b) => one('Add', [a, b], [3], 'int32'));
}
