// Kernels that move data without computing: reshape, transpose, slice, concat, gather, scatter, pad, fill.

import type { Emitter, KernelRule, KernelRules } from '../emitter.ts';
import { type GraphNode, type Spec, sameShape, sizeOf, type Value } from '../graph.ts';
import tf from '../tf.ts';
import { cast } from './elementwise.ts';

const wrap = (axis: number, rank: number) => (axis < 0 ? axis + rank : axis);

/** Fills in the one −1 of a requested shape. */
export function completeShape(shape: readonly number[], size: number): number[] {
  const known = shape.reduce((a, b) => (b === -1 ? a : a * b), 1);
  const full = shape.map((s) => (s === -1 ? size / known : s));
  if (sizeOf(full) !== size) throw new Error(`a tensor of ${size} elements cannot take the shape [${shape}]`);
  return full;
}

/** A kernel that is a reshape in ONNX, whatever tfjs calls it. */
const reshaping = (shape: (x: Value, attrs: GraphNode['attrs']) => number[]): KernelRule => ({
  infer: ([x], attrs) => [{ shape: shape(x, attrs), dtype: x.dtype }],
  lower: (e, node) => e.node('Reshape', [e.name(node.inputs[0]), e.ints(node.outputs[0].shape)]),
});

function slice(begin: number[], size: number[], x: Value): { starts: number[]; ends: number[] } {
  const starts = begin.map((b) => Math.max(b, 0));
  const ends = starts.map((b, i) => (size[i] === -1 || size[i] === undefined ? x.shape[i] : b + size[i]));
  return { starts, ends };
}

const full = (value: number): KernelRule => ({
  infer: ([x]) => [{ shape: x.shape, dtype: x.dtype }],
  lower: (e, node) => {
    const scalar = e.scalar(value, node.outputs[0].dtype);
    const { shape } = node.outputs[0];
    return shape.length === 0 ? scalar : e.node('Expand', [scalar, e.ints(shape)]);
  },
});

const split: KernelRule = {
  infer: ([x], { numOrSizeSplits, axis }) => {
    const at = wrap(axis, x.shape.length);
    const sizes: number[] = Array.isArray(numOrSizeSplits)
      ? completeShapeSum(numOrSizeSplits, x.shape[at])
      : Array(numOrSizeSplits).fill(x.shape[at] / numOrSizeSplits);
    return sizes.map((size) => ({ shape: x.shape.map((s, i) => (i === at ? size : s)), dtype: x.dtype }));
  },
  lower: (e, node) => {
    const axis = wrap(node.attrs.axis, node.inputs[0].shape.length);
    const sizes = node.outputs.map((output) => output.shape[axis]);
    return e.multi('Split', [e.name(node.inputs[0]), e.ints(sizes)], sizes.length, { axis: { int: axis } });
  },
};

function completeShapeSum(sizes: number[], total: number): number[] {
  const known = sizes.reduce((a, b) => (b === -1 ? a : a + b), 0);
  return sizes.map((size) => (size === -1 ? total - known : size));
}

/** NumPy's slicing: what tfjs makes of a slice's masks, given the sides of what it cuts. */
const cutOf = ({ shape }: Value, a: GraphNode['attrs']) =>
  tf.slice_util.sliceInfo(
    shape,
    a.begin,
    a.end,
    a.strides,
    a.beginMask,
    a.endMask,
    a.ellipsisMask,
    a.newAxisMask,
    a.shrinkAxisMask,
  );

const stridedSlice: KernelRule = {
  infer: ([x], attrs) => [{ shape: cutOf(x, attrs).finalShape, dtype: x.dtype }],
  lower: (e, { inputs: [x], outputs: [y], attrs }) => {
    const { begin, end, strides } = cutOf(x, attrs);
    const axes = begin.map((_, i) => i);
    const ends = end.map((to) => (to < 0 ? -(2 ** 31) : to));
    const cut = e.node('Slice', [e.name(x), e.ints(begin), e.ints(ends), e.ints(axes), e.ints(strides)]);
    const sides = begin.map((from, i) => Math.max(0, Math.ceil((end[i] - from) / strides[i])));
    return sameShape(sides, y.shape) ? cut : e.node('Reshape', [cut, e.ints(y.shape)]);
  },
};

const gather: KernelRule = {
  infer: ([x, indices], { axis, batchDims }) => {
    if (batchDims) throw new Error('gather with batchDims is not recorded; use gatherND or a one-hot product');
    const at = wrap(axis, x.shape.length);
    return [{ shape: [...x.shape.slice(0, at), ...indices.shape, ...x.shape.slice(at + 1)], dtype: x.dtype }];
  },
  lower: (e, node) => {
    const [x, indices] = node.inputs;
    return e.node('Gather', [e.name(x), e.name(indices)], { axis: { int: wrap(node.attrs.axis, x.shape.length) } });
  },
};

const segmentSum: KernelRule = {
  infer: ([x], { numSegments }) => [{ shape: [numSegments, ...x.shape.slice(1)], dtype: x.dtype }],
  lower: (e, node) => {
    const [x, ids] = node.inputs;
    const rows = e.node('Reshape', [e.node('Cast', [e.name(ids)], { to: { int: 7 } }), e.ints([sizeOf(ids.shape), 1])]);
    const zeros = e.node('Expand', [e.scalar(0, x.dtype), e.ints(node.outputs[0].shape)]);
    return e.node('ScatterND', [zeros, rows, e.name(x)], { reduction: 'add' });
  },
};

/** start, start + step, … of the length and type of `y`. */
function progression(e: Emitter, start: number, step: number, { shape: [length], dtype }: Value): string {
  const values = Float32Array.from({ length }, (_, i) => start + i * step);
  const line = e.floats(values, [length]);
  return dtype === 'float32' ? line : cast(e, line, dtype);
}

/** Padding that repeats the border pixel, as ONNX has none: each axis is joined to its reversed ends. */
function symmetricPad(e: Emitter, x: string, sizes: readonly number[], paddings: [number, number][]): string {
  return paddings.reduce((y, [before, after], axis) => {
    const end = (from: number, to: number) =>
      e.node('Slice', [y, e.ints([from]), e.ints([to]), e.ints([axis]), e.ints([-1])]);
    const size = sizes[axis];
    const parts = [];
    if (before > 0) parts.push(end(before - 1, -(2 ** 31)));
    parts.push(y);
    if (after > 0) parts.push(end(size - 1, size - 1 - after < 0 ? -(2 ** 31) : size - 1 - after));
    return parts.length === 1 ? y : e.node('Concat', parts, { axis: { int: axis } });
  }, x);
}

export const shape: KernelRules = {
  Reshape: reshaping((x, { shape: wanted }) => completeShape(wanted, sizeOf(x.shape))),
  ExpandDims: reshaping((x, { dim }) => {
    const at = dim < 0 ? dim + x.shape.length + 1 : dim;
    return [...x.shape.slice(0, at), 1, ...x.shape.slice(at)];
  }),
  Transpose: {
    infer: ([x], { perm }) => [{ shape: perm.map((p: number) => x.shape[p]), dtype: x.dtype }],
    lower: (e, node) => e.node('Transpose', [e.name(node.inputs[0])], { perm: { ints: node.attrs.perm } }),
  },
  Slice: {
    infer: ([x], { begin, size }) => {
      const { starts, ends } = slice(begin, size, x);
      return [{ shape: starts.map((s, i) => ends[i] - s), dtype: x.dtype }];
    },
    lower: (e, node) => {
      const [x] = node.inputs;
      const { starts, ends } = slice(node.attrs.begin, node.attrs.size, x);
      if (starts.length === 0) return e.name(x);
      return e.node('Slice', [e.name(x), e.ints(starts), e.ints(ends), e.ints(starts.map((_, i) => i))]);
    },
  },
  StridedSlice: stridedSlice,
  Concat: {
    infer: (inputs, { axis }) => {
      const at = wrap(axis, inputs[0].shape.length);
      const fits = (x: Value) => at < x.shape.length && x.shape.every((s, i) => i === at || s === inputs[0].shape[i]);
      if (!inputs.every(fits))
        throw new Error(`[${inputs.map((x) => x.shape).join('], [')}] do not join along axis ${axis}`);
      const total = inputs.reduce((sum, x) => sum + x.shape[at], 0);
      return [{ shape: inputs[0].shape.map((s, i) => (i === at ? total : s)), dtype: inputs[0].dtype }];
    },
    lower: (e, node) => {
      const axis = wrap(node.attrs.axis, node.inputs[0].shape.length);
      const parts = node.inputs.filter((x) => sizeOf(x.shape) > 0);
      return e.node(
        'Concat',
        (parts.length > 0 ? parts : node.inputs).map((x) => e.name(x)),
        { axis: { int: axis } },
      );
    },
  },
  Pack: {
    infer: (inputs, { axis }) => {
      const at = axis < 0 ? axis + inputs[0].shape.length + 1 : axis;
      const { shape: s, dtype } = inputs[0];
      return [{ shape: [...s.slice(0, at), inputs.length, ...s.slice(at)], dtype }];
    },
    lower: (e, node) => {
      const rank = node.inputs[0].shape.length + 1;
      const axis = node.attrs.axis < 0 ? node.attrs.axis + rank : node.attrs.axis;
      const parts = node.inputs.map((x) => e.node('Unsqueeze', [e.name(x), e.ints([axis])]));
      return e.node('Concat', parts, { axis: { int: axis } });
    },
  },
  Unpack: {
    infer: ([x], { axis }): Spec[] => {
      const at = wrap(axis, x.shape.length);
      const rest = x.shape.filter((_, i) => i !== at);
      return Array.from({ length: x.shape[at] }, () => ({ shape: rest, dtype: x.dtype }));
    },
    lower: (e, node) => {
      const [x] = node.inputs;
      const axis = wrap(node.attrs.axis, x.shape.length);
      const ones = Array(x.shape[axis]).fill(1);
      const parts = e.multi('Split', [e.name(x), e.ints(ones)], ones.length, { axis: { int: axis } });
      return parts.map((part) => e.node('Squeeze', [part, e.ints([axis])]));
    },
  },
  SplitV: split,
  Tile: {
    infer: ([x], { reps }) => [{ shape: x.shape.map((s, i) => s * reps[i]), dtype: x.dtype }],
    lower: (e, node) => e.node('Tile', [e.name(node.inputs[0]), e.ints(node.attrs.reps)]),
  },
  BroadcastTo: {
    infer: ([x], { shape: wanted }) => [{ shape: wanted, dtype: x.dtype }],
    lower: (e, node) => e.node('Expand', [e.name(node.inputs[0]), e.ints(node.outputs[0].shape)]),
  },
  PadV2: {
    infer: ([x], { paddings }) => [
      { shape: x.shape.map((s, i) => s + paddings[i][0] + paddings[i][1]), dtype: x.dtype },
    ],
    lower: (e, node) => {
      const { paddings, constantValue } = node.attrs;
      const pads = [...paddings.map((p: number[]) => p[0]), ...paddings.map((p: number[]) => p[1])];
      return e.node('Pad', [e.name(node.inputs[0]), e.ints(pads), e.scalar(constantValue, node.inputs[0].dtype)]);
    },
  },
  Reverse: {
    infer: ([x]) => [{ shape: x.shape, dtype: x.dtype }],
    lower: (e, node) => {
      const [x] = node.inputs;
      const axes: number[] = [node.attrs.dims].flat().map((d) => wrap(d, x.shape.length));
      if (axes.length === 0) return e.name(x);
      const back = axes.map(() => -1);
      const ends = axes.map(() => -(2 ** 31));
      return e.node('Slice', [e.name(x), e.ints(back), e.ints(ends), e.ints(axes), e.ints(back)]);
    },
  },
  GatherV2: gather,
  GatherNd: {
    infer: ([x, indices]) => {
      const depth = indices.shape.at(-1) as number;
      return [{ shape: [...indices.shape.slice(0, -1), ...x.shape.slice(depth)], dtype: x.dtype }];
    },
    lower: (e, node) => {
      const index = e.node('Cast', [e.name(node.inputs[1])], { to: { int: 7 } });
      return e.node('GatherND', [e.name(node.inputs[0]), index]);
    },
  },
  UnsortedSegmentSum: segmentSum,
  OneHot: {
    infer: ([x], { depth, dtype }) => [{ shape: [...x.shape, depth], dtype: dtype ?? 'float32' }],
    lower: (e, node) => {
      const { depth, onValue, offValue } = node.attrs;
      const parts = [offValue, onValue].map((value) => e.node('Reshape', [e.scalar(value), e.ints([1])]));
      const values = e.node('Concat', parts, { axis: { int: 0 } });
      const index = e.node('Cast', [e.name(node.inputs[0])], { to: { int: 7 } });
      const hot = e.node('OneHot', [index, e.scalar(depth, 'int64'), values], { axis: { int: -1 } });
      return node.outputs[0].dtype === 'float32' ? hot : cast(e, hot, node.outputs[0].dtype);
    },
  },
  Fill: {
    infer: (_inputs, { shape: wanted, dtype }) => [{ shape: wanted, dtype: dtype ?? 'float32' }],
    lower: (e, node) => {
      const { shape: wanted, dtype } = node.outputs[0];
      const scalar = e.scalar(node.attrs.value, dtype);
      return wanted.length === 0 ? scalar : e.node('Expand', [scalar, e.ints(wanted)]);
    },
  },
  MirrorPad: {
    infer: ([x], { paddings }) => [
      { shape: x.shape.map((s, i) => s + paddings[i][0] + paddings[i][1]), dtype: x.dtype },
    ],
    lower: (e, node) => {
      const { paddings, mode } = node.attrs;
      const pads = [...paddings.map((p: number[]) => p[0]), ...paddings.map((p: number[]) => p[1])];
      const [x] = node.inputs;
      if (mode === 'reflect') return e.node('Pad', [e.name(x), e.ints(pads)], { mode: 'reflect' });
      return symmetricPad(e, e.name(x), x.shape, paddings);
    },
  },
  DepthToSpace: {
    infer: ([x], { blockSize: k, dataFormat }) => {
      if (dataFormat !== 'NHWC') throw new Error(`depthToSpace is recorded for NHWC, not ${dataFormat}`);
      const [b, h, w, c] = x.shape;
      return [{ shape: [b, h * k, w * k, c / (k * k)], dtype: x.dtype }];
    },
    lower: (e, { inputs: [x], outputs: [y], attrs: { blockSize: k } }) => {
      const [b, h, w] = x.shape;
      const cells = e.node('Reshape', [e.name(x), e.ints([b, h, w, k, k, y.shape[3]])]);
      const turned = e.node('Transpose', [cells], { perm: { ints: [0, 1, 3, 2, 4, 5] } });
      return e.node('Reshape', [turned, e.ints(y.shape)]);
    },
  },
  ScatterNd: {
    infer: ([_indices, updates], { shape: wanted }) => [{ shape: wanted, dtype: updates.dtype }],
    lower: (e, { inputs: [indices, updates], outputs: [y] }) => {
      const zeros = e.node('Expand', [e.scalar(0, y.dtype), e.ints(y.shape)]);
      const at = e.node('Cast', [e.name(indices)], { to: { int: 7 } });
      return e.node('ScatterND', [zeros, at, e.name(updates)], { reduction: 'add' });
    },
  },
  TensorScatterUpdate: {
    infer: ([x]) => [{ shape: x.shape, dtype: x.dtype }],
    lower: (e, { inputs: [x, indices, updates] }) =>
      e.node('ScatterND', [e.name(x), e.node('Cast', [e.name(indices)], { to: { int: 7 } }), e.name(updates)]),
  },
  Range: {
    infer: (_inputs, { start, stop, step, dtype }) => [
      { shape: [Math.max(0, Math.ceil((stop - start) / step))], dtype: dtype ?? 'float32' },
    ],
    lower: (e, { attrs: { start, step }, outputs: [y] }) => progression(e, start, step, y),
  },
  LinSpace: {
    infer: (_inputs, { num }) => [{ shape: [num], dtype: 'float32' }],
    lower: (e, { attrs: { start, stop, num }, outputs: [y] }) =>
      progression(e, start, num > 1 ? (stop - start) / (num - 1) : 0, y),
  },
  ZerosLike: full(0),
  OnesLike: full(1),
};
