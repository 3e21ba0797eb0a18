// Reductions, softmax and matrix products.

import type { Emitter, KernelRule, KernelRules } from '../emitter.ts';
import { type GraphNode, sizeOf, type Value } from '../graph.ts';
import { broadcastShape, cast } from './elementwise.ts';

/** Axes as sorted non-negative numbers; tfjs says all axes by null or undefined. */
const normalise = (axis: number | number[] | null | undefined, rank: number): number[] =>
  [axis ?? Array.from({ length: rank }, (_, i) => i)]
    .flat()
    .map((a) => (a < 0 ? a + rank : a))
    .sort((a, b) => a - b);

/** tfjs calls the same attribute `axis` in most reductions and `reductionIndices` in max. */
const axesOf = (attrs: GraphNode['attrs'], rank: number) => normalise(attrs.axis ?? attrs.reductionIndices, rank);

function reducedShape(x: Value, axes: number[], keepDims: boolean): number[] {
  return keepDims
    ? x.shape.map((size, i) => (axes.includes(i) ? 1 : size))
    : x.shape.filter((_, i) => !axes.includes(i));
}

function reduction(op: string, special?: 'bool'): KernelRule {
  return {
    infer: ([x], attrs) => {
      const dtype = special === 'bool' ? 'bool' : x.dtype === 'bool' ? 'int32' : x.dtype;
      return [{ shape: reducedShape(x, axesOf(attrs, x.shape.length), attrs.keepDims ?? false), dtype }];
    },
    lower: (e, node) => {
      const [x] = node.inputs;
      const axes = axesOf(node.attrs, x.shape.length);
      let name = e.name(x);
      if (x.dtype === 'bool') name = cast(e, name, 'int32');
      if (axes.length === 0) return name;
      const keep = { keepdims: { int: node.attrs.keepDims ? 1 : 0 } };
      const reduced = e.node(op, [name, e.ints(axes)], keep);
      return special === 'bool' ? cast(e, reduced, 'bool') : reduced;
    },
  };
}

function argReduction(op: string): KernelRule {
  const axisOf = (node: { attrs: GraphNode['attrs'] }, x: Value) => normalise(node.attrs.axis, x.shape.length)[0];
  return {
    infer: ([x], attrs) => [{ shape: reducedShape(x, [axisOf({ attrs }, x)], false), dtype: 'int32' }],
    lower: (e, node) => {
      const axis = axisOf(node, node.inputs[0]);
      const index = e.node(op, [e.name(node.inputs[0])], { axis: { int: axis }, keepdims: { int: 0 } });
      return cast(e, index, 'int32');
    },
  };
}

const alongAxis = (op: string, key: 'dim' | 'axis'): KernelRule => ({
  infer: ([x]) => [{ shape: x.shape, dtype: 'float32' }],
  lower: (e, node) => {
    const rank = node.inputs[0].shape.length;
    const [axis] = normalise(node.attrs[key] ?? -1, rank);
    return e.node(op, [e.name(node.inputs[0])], { axis: { int: axis } });
  },
});

function swapLast(e: Emitter, x: string, rank: number): string {
  const perm = Array.from({ length: rank }, (_, i) => i);
  [perm[rank - 2], perm[rank - 1]] = [rank - 1, rank - 2];
  return e.node('Transpose', [x], { perm: { ints: perm } });
}

const matMul: KernelRule = {
  infer: ([a, b], { transposeA, transposeB }) => {
    const [m, ka] = transposeA ? [a.shape.at(-1), a.shape.at(-2)] : [a.shape.at(-2), a.shape.at(-1)];
    const [kb, n] = transposeB ? [b.shape.at(-1), b.shape.at(-2)] : [b.shape.at(-2), b.shape.at(-1)];
    if (ka !== kb) throw new Error(`matMul of [${a.shape}] and [${b.shape}]: inner sizes ${ka} and ${kb} differ`);
    const batch = broadcastShape(a.shape.slice(0, -2), b.shape.slice(0, -2));
    return [{ shape: [...batch, m as number, n as number], dtype: 'float32' }];
  },
  lower: (e, node) => {
    const [a, b] = node.inputs;
    const { transposeA, transposeB } = node.attrs;
    const batch = sizeOf(node.outputs[0].shape.slice(0, -2));
    if (batch === 1) {
      const flat = (value: Value) =>
        value.shape.length === 2 ? e.name(value) : e.node('Reshape', [e.name(value), e.ints(value.shape.slice(-2))]);
      const product = e.node('Gemm', [flat(a), flat(b)], {
        transA: { int: transposeA ? 1 : 0 },
        transB: { int: transposeB ? 1 : 0 },
      });
      const { shape } = node.outputs[0];
      return shape.length === 2 ? product : e.node('Reshape', [product, e.ints(shape)]);
    }
    const x = transposeA ? swapLast(e, e.name(a), a.shape.length) : e.name(a);
    const y = transposeB ? swapLast(e, e.name(b), b.shape.length) : e.name(b);
    return e.node('MatMul', [x, y]);
  },
};

/** a, b, c -> a · b + c with c [M, N], [N] or smaller: what fuse.ts makes of a product and the sum that reads it. */
const gemm: KernelRule = {
  infer: (inputs, attrs) => matMul.infer(inputs.slice(0, 2), attrs),
  lower: (e, node) => {
    const { transposeA, transposeB } = node.attrs;
    return e.node(
      'Gemm',
      node.inputs.map((value) => e.name(value)),
      { transA: { int: transposeA ? 1 : 0 }, transB: { int: transposeB ? 1 : 0 } },
    );
  },
};

export const reduce: KernelRules = {
  Sum: reduction('ReduceSum'),
  Mean: reduction('ReduceMean'),
  Max: reduction('ReduceMax'),
  Min: reduction('ReduceMin'),
  Prod: reduction('ReduceProd'),
  All: reduction('ReduceMin', 'bool'),
  Any: reduction('ReduceMax', 'bool'),
  ArgMax: argReduction('ArgMax'),
  ArgMin: argReduction('ArgMin'),
  Softmax: alongAxis('Softmax', 'dim'),
  LogSoftmax: alongAxis('LogSoftmax', 'axis'),
  Cumsum: {
    infer: ([x]) => [{ shape: x.shape, dtype: x.dtype }],
    lower: (e, node) => {
      const [axis] = normalise(node.attrs.axis, node.inputs[0].shape.length);
      return e.node('CumSum', [e.name(node.inputs[0]), e.scalar(axis, 'int64')], {
        exclusive: { int: node.attrs.exclusive ? 1 : 0 },
        reverse: { int: node.attrs.reverse ? 1 : 0 },
      });
    },
  },
  TopK: {
    infer: ([x], { k }) => {
      const shape = [...x.shape.slice(0, -1), k];
      return [
        { shape, dtype: x.dtype },
        { shape, dtype: 'int32' },
      ];
    },
    lower: (e, node) => {
      const { k, sorted } = node.attrs;
      const [values, indices] = e.multi('TopK', [e.name(node.inputs[0]), e.ints([k])], 2, {
        sorted: { int: sorted ? 1 : 0 },
      });
      return [values, cast(e, indices, 'int32')];
    },
  },
  Einsum: {
    infer: (inputs, { equation }) => {
      const [terms, result] = equation.replace(/\s/g, '').split('->');
      const sizes = new Map<string, number>();
      for (const [i, term] of terms.split(',').entries())
        for (const [axis, label] of [...term].entries()) sizes.set(label, inputs[i].shape[axis]);
      return [{ shape: [...result].map((label) => sizes.get(label) as number), dtype: inputs[0].dtype }];
    },
    lower: (e, node) =>
      e.node(
        'Einsum',
        node.inputs.map((input) => e.name(input)),
        { equation: node.attrs.equation },
      ),
  },
  BatchMatMul: matMul,
  FoveaGemm: gemm,
};
