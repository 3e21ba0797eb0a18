// A program whose time goes into one scan over slices of the batch, cut in three: what comes before the scan, the scan
// over one part of the batch, and what follows. Parts can then be computed by several threads at once. Their number is
// fixed, and their sums are added in their order, so that it changes no bit how many threads there are.

import { Graph, type GraphNode, liveNodes, type ScanBody, type Spec, sizeOf, type Value } from './graph.ts';
import type { Piece } from './lower.ts';

/** Parts of a batch; each costs the memory of its sums. */
export const PARTS = 2;

export interface Cut {
  /** Gives what the others read beside the program's inputs; null where that is nothing. */
  before: Piece | null;
  /** One part: reads the rows of some tensors, and others whole. Gives `sum/i` and `row/i`. */
  part: Piece;
  /** By name of the part's input: the tensor of which it reads the rows. */
  rowsOf: Record<string, string>;
  /** Reads the results of part p as `p/sum/i` and `p/row/i`, and gives what the program gives. */
  after: Piece;
}

/** Where sums weigh more than this share of the batch's activations, adding parts costs what computing them at once saves. */
const MOST_SUMS = 1 / 8;

/**
 * The cut of a simplified graph, or null where it has not exactly one scan over an even number of slices, or would not
 * pay. `activationBytes` are those of one slice.
 */
export function cutAtScan(graph: Graph, results: Record<string, Value>, activationBytes: number): Cut | null {
  const live = liveNodes(graph, Object.values(results));
  const scans = live.filter((node) => node.attrs.body);
  const [scan] = scans;
  if (scans.length !== 1 || scan.attrs.count % PARTS !== 0) return null;
  const body = scan.attrs.body as ScanBody;
  const batched = scan.inputs.slice(0, body.graph.inputs.length);
  if (batched.some((value) => value.kind === 'constant')) return null;
  const sums = PARTS * body.sums.reduce((total, { shape }) => total + 4 * sizeOf(shape), 0);
  if (sums > MOST_SUMS * scan.attrs.count * activationBytes) return null;
  const early = ancestors(live, scan);
  const made = new Set(early.flatMap((node) => node.outputs.map(({ id }) => id)));
  const late = live.filter((node) => node !== scan && !early.includes(node));
  const lateReads = unique([...late.flatMap((node) => node.inputs), ...Object.values(results)]);
  const crossing = unique([...scan.inputs, ...lateReads]).filter(({ id }) => made.has(id));
  const known = (values: Value[]) => values.filter((v) => v.kind === 'input' || made.has(v.id)).map(asInput);

  const captured = known(scan.inputs.slice(batched.length));
  const rows = batched.map(({ shape }) => [shape[0] / PARTS, ...shape.slice(1)]);
  const part = onePart(graph, scan, rows, captured);
  const parts = Array.from({ length: PARTS }, (_, p) =>
    Object.entries(part.results).map(([name, { shape, dtype }]) => input(graph, `${p}/${name}`, { shape, dtype })),
  );
  const joins = scan.outputs.flatMap((output, i) =>
    join(
      graph,
      output,
      parts.map((values) => values[i]),
      i < body.sums.length,
    ),
  );
  return {
    before: crossing.length === 0 ? null : piece(graph, graph.inputs, early, named(crossing)),
    part,
    rowsOf: Object.fromEntries(batched.map((value, i) => [`rows/${i}`, asInput(value).name as string])),
    after: piece(graph, [...known(lateReads), ...parts.flat()], [...joins, ...late], results),
  };
}

/** The scan over a part's slices; a single one needs no scan. */
function onePart(graph: Graph, scan: GraphNode, rows: number[][], captured: Value[]): Piece {
  const body = scan.attrs.body as ScanBody;
  const count = scan.attrs.count / PARTS;
  const nameOf = (i: number) => (i < body.sums.length ? `sum/${i}` : `row/${i - body.sums.length}`);
  const results = (values: Value[]) => Object.fromEntries(values.map((value, i) => [nameOf(i), value]));
  if (count === 1) {
    const inputs = body.graph.inputs.map((value, i): Value => ({ ...value, name: `rows/${i}` }));
    return piece(graph, [...inputs, ...captured], body.graph.nodes, results([...body.sums, ...body.rows]));
  }
  const inputs = rows.map((shape, i) => input(graph, `rows/${i}`, { shape, dtype: body.graph.inputs[i].dtype }));
  const outputs = [
    ...body.sums.map((value) => graph.value(value)),
    ...body.rows.map(({ shape, dtype }) => graph.value({ shape: [count * shape[0], ...shape.slice(1)], dtype })),
  ];
  const node = { ...scan, inputs: [...inputs, ...captured], outputs, attrs: { ...scan.attrs, count } };
  return piece(graph, [...inputs, ...captured], [node], results(outputs));
}

/** Nodes that give `output` from its parts: their sum, or their rows one after the other. */
function join(graph: Graph, output: Value, parts: Value[], isSum: boolean): GraphNode[] {
  if (!isSum) return [{ kernel: 'Concat', inputs: parts, outputs: [output], attrs: { axis: 0 } }];
  let total = parts[0];
  return parts.slice(1).map((next, i) => {
    const outputs = [i === parts.length - 2 ? output : graph.value(output)];
    const node = { kernel: 'Add', inputs: [total, next], outputs, attrs: {} };
    [total] = outputs;
    return node;
  });
}

function ancestors(live: GraphNode[], node: GraphNode): GraphNode[] {
  const needed = new Set(node.inputs.map(({ id }) => id));
  const found: GraphNode[] = [];
  for (const each of live.slice(0, live.indexOf(node)).reverse()) {
    if (!each.outputs.some(({ id }) => needed.has(id))) continue;
    for (const { id } of each.inputs) needed.add(id);
    found.push(each);
  }
  return found.reverse();
}

const crossingName = ({ id }: Value) => `cut/${id}`;

/** The same value, to be read from outside. */
const asInput = (value: Value): Value =>
  value.kind === 'input' ? value : { ...value, kind: 'input', name: crossingName(value) };

const named = (values: Value[]) => Object.fromEntries(values.map((value) => [crossingName(value), value]));

const input = (graph: Graph, name: string, spec: Spec): Value => ({ ...graph.value(spec), kind: 'input', name });

const unique = (values: Value[]): Value[] => [...new Map(values.map((value) => [value.id, value])).values()];

function piece(parent: Graph, inputs: Value[], nodes: GraphNode[], results: Record<string, Value>): Piece {
  const graph = new Graph(parent);
  graph.nodes = nodes;
  const read = new Set([...nodes.flatMap((node) => node.inputs), ...Object.values(results)].map(({ id }) => id));
  graph.inputs.push(...inputs.filter(({ id }) => read.has(id)));
  return { graph, results };
}
