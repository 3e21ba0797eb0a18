// A body that runs over equal slices of its first inputs, one after the other: what microbatch.ts records. Lowered to
// ONNX Scan, whose slices are views and whose sums swap two buffers, so that nothing is copied.

import { Emitter, type KernelRule, type KernelRules } from '../emitter.ts';
import { fuseProducts } from '../fuse.ts';
import type { ScanBody, Value } from '../graph.ts';

const bodyOf = (attrs: Record<string, unknown>) => attrs.body as ScanBody;

const FoveaScan: KernelRule = {
  infer: (_inputs, attrs) => {
    const { sums, rows } = bodyOf(attrs);
    const joined = rows.map(({ shape, dtype }) => ({ shape: [attrs.count * shape[0], ...shape.slice(1)], dtype }));
    return [...sums.map(({ shape, dtype }) => ({ shape, dtype })), ...joined];
  },
  lower: (e, node) => {
    const { graph, sums, rows } = bodyOf(node.attrs);
    const { count } = node.attrs;
    const inner = new Emitter(graph, e);
    // Running sums come first among a Scan body's inputs and outputs, slices and joined rows after them.
    const carried = sums.map(() => inner.fresh());
    const results = [...sums, ...rows];
    for (const each of fuseProducts(graph.nodes, results)) inner.lower(each);
    const spec = (name: string, { shape, dtype }: Value) => ({ name, shape, type: dtype });
    const totals = sums.map((value, i) => inner.node('Add', [carried[i], inner.name(value)]));
    const parts = rows.map((value) => inner.node('Identity', [inner.name(value)]));
    const body = {
      name: 'slice',
      nodes: inner.nodes,
      initializers: [],
      inputs: [
        ...sums.map((value, i) => spec(carried[i], value)),
        ...graph.inputs.map((value) => spec(inner.name(value), value)),
      ],
      outputs: [...sums.map((v, i) => spec(totals[i], v)), ...rows.map((v, i) => spec(parts[i], v))],
    };
    const zeros = sums.map(({ shape, dtype }) =>
      shape.length === 0 ? e.scalar(0, dtype) : e.node('Expand', [e.scalar(0, dtype), e.ints(shape)]),
    );
    const slices = graph.inputs.map(({ shape }, i) =>
      e.node('Reshape', [e.name(node.inputs[i]), e.ints([count, ...shape])]),
    );
    const outputs = e.multi('Scan', [...zeros, ...slices], sums.length + rows.length, {
      body: { graph: body },
      num_scan_inputs: { int: slices.length },
    });
    const joined = rows.map((_, i) =>
      e.node('Reshape', [outputs[sums.length + i], e.ints(node.outputs[sums.length + i].shape)]),
    );
    return [...outputs.slice(0, sums.length), ...joined];
  },
};

export const scan: KernelRules = { FoveaScan };
