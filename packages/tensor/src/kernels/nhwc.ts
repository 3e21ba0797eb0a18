// tfjs's own picture kernels, which are NHWC with filters [kH, kW, in, out]: recorded so that plain tfjs code runs. They
// are lowered as ours with transposes around them; models that should be fast use ours (functional/conv.ts, pool.ts).

import type { Emitter, KernelRule, KernelRules } from '../emitter.ts';
import { type GraphNode, sameShape, type Value } from '../graph.ts';
import tf from '../tf.ts';
import { type ConvAttrs, convShape, lowerConv, lowerFilterGrad, lowerInputGrad, type Pads, type Pair } from './conv.ts';
import { lowerPrelu } from './elementwise.ts';
import { lowerAvgPool, lowerAvgPoolGrad, lowerMaxPool, lowerMaxPoolGrad, type PoolAttrs, poolShape } from './pool.ts';

type Shape = readonly number[];
type Attrs = GraphNode['attrs'];
type Shape4 = [number, number, number, number];

const turn = (e: Emitter, x: string, perm: number[]) => e.node('Transpose', [x], { perm: { ints: perm } });
const toPlanes = (e: Emitter, x: string) => turn(e, x, [0, 3, 1, 2]);
const toPixels = (e: Emitter, x: string) => turn(e, x, [0, 2, 3, 1]);
const planes = ([b, h, w, c]: Shape): number[] => [b, c, h, w];

/** A convolution as tfjs describes it, in our terms; filters are counted as [O, C/groups, kH, kW]. */
interface Geometry {
  attrs: ConvAttrs;
  x: number[];
  w: number[];
  y: number[];
  /** Our filter from tfjs's, and back. */
  toOurs(e: Emitter, w: string): string;
  toTheirs(e: Emitter, w: string): string;
}

function geometry(x: Shape, filter: Shape, attrs: Attrs, depthwise: boolean): Geometry {
  const { strides, pad, dilations, dataFormat, dimRoundingMode } = attrs;
  if (dataFormat !== undefined && dataFormat !== 'NHWC')
    throw new Error(`a convolution of tfjs is recorded for NHWC, not ${dataFormat}; use conv2d of @fovea/tensor`);
  const depth = x[3];
  if (depth !== filter[2]) throw new Error(`a filter [${filter}] does not fit the ${depth} channels of [${x}]`);
  const info = tf.backend_util.computeConv2DInfo(
    x as Shape4,
    filter as Shape4,
    strides,
    dilations ?? 1,
    pad,
    dimRoundingMode,
    depthwise,
  );
  const { top, left, bottom, right } = info.padInfo;
  const [kh, kw, c, m] = filter;
  const ours: ConvAttrs = {
    stride: [info.strideHeight, info.strideWidth],
    pads: [top, left, bottom, right],
    dilation: [info.dilationHeight, info.dilationWidth],
    groups: depthwise ? c : 1,
  };
  const w = depthwise ? [c * m, 1, kh, kw] : [m, c, kh, kw];
  return {
    attrs: ours,
    x: planes(x),
    w,
    // Not info.outShape, which takes the filter for square where the padding is a number.
    y: convShape(planes(x), w, ours),
    toOurs: (e, f) => (depthwise ? e.node('Reshape', [turn(e, f, [2, 3, 0, 1]), e.ints(w)]) : turn(e, f, [3, 2, 0, 1])),
    toTheirs: (e, f) =>
      depthwise ? turn(e, e.node('Reshape', [f, e.ints([c, m, kh, kw])]), [2, 3, 0, 1]) : turn(e, f, [2, 3, 1, 0]),
  };
}

const pixels = ([b, c, h, w]: Shape): number[] => [b, h, w, c];

function convolution(depthwise: boolean): KernelRule {
  return {
    infer: ([x, w], attrs) => [{ shape: pixels(geometry(x.shape, w.shape, attrs, depthwise).y), dtype: x.dtype }],
    lower: (e, { inputs: [x, w], attrs }) => {
      const g = geometry(x.shape, w.shape, attrs, depthwise);
      return toPixels(e, lowerConv(e, toPlanes(e, e.name(x)), g.toOurs(e, e.name(w)), null, g.w, g.attrs));
    },
  };
}

const ACTIVATIONS: Record<string, (e: Emitter, x: string, attrs: Attrs, alpha: string | null) => string> = {
  linear: (_e, x) => x,
  relu: (e, x) => e.node('Relu', [x]),
  relu6: (e, x) => e.node('Clip', [x, e.scalar(0), e.scalar(6)]),
  elu: (e, x) => e.node('Elu', [x]),
  sigmoid: (e, x) => e.node('Sigmoid', [x]),
  leakyrelu: (e, x, { leakyreluAlpha }) => e.node('LeakyRelu', [x], { alpha: leakyreluAlpha ?? 0.2 }),
  prelu: (e, x, _attrs, alpha) => lowerPrelu(e, x, alpha as string),
};

/** Convolution, bias and activation in one, as converters write them. */
function fused(depthwise: boolean): KernelRule {
  const plain = convolution(depthwise);
  return {
    optional: true,
    infer: (inputs, attrs) => {
      if (!Object.hasOwn(ACTIVATIONS, attrs.activation ?? 'linear'))
        throw new Error(`the activation ${attrs.activation} after a convolution is not recorded`);
      return plain.infer(inputs, attrs);
    },
    lower: (e, { inputs, attrs }) => {
      const named = (name: string): Value | undefined => inputs[attrs.operands.indexOf(name)];
      const [x, w, bias, alpha] = [inputs[0], inputs[1], named('bias'), named('preluActivationWeights')];
      const g = geometry(x.shape, w.shape, attrs, depthwise);
      const inside = bias && sameShape(bias.shape, [g.w[0]]);
      const summand = inside ? e.name(bias) : null;
      const y = toPixels(e, lowerConv(e, toPlanes(e, e.name(x)), g.toOurs(e, e.name(w)), summand, g.w, g.attrs));
      const sum = bias && !inside ? e.node('Add', [y, e.name(bias)]) : y;
      return ACTIVATIONS[attrs.activation ?? 'linear'](e, sum, attrs, alpha ? e.name(alpha) : null);
    },
  };
}

function inputGradient(depthwise: boolean): KernelRule {
  return {
    infer: ([dy], { inputShape }) => [{ shape: inputShape, dtype: dy.dtype }],
    lower: (e, { inputs: [dy, w], attrs }) => {
      const g = geometry(attrs.inputShape, w.shape, attrs, depthwise);
      const shapes = { dy: planes(dy.shape), w: g.w, x: g.x };
      const frozen = w.kind === 'constant';
      return toPixels(e, lowerInputGrad(e, toPlanes(e, e.name(dy)), g.toOurs(e, e.name(w)), shapes, g.attrs, frozen));
    },
  };
}

function filterGradient(depthwise: boolean): KernelRule {
  return {
    infer: ([x], { filterShape }) => [{ shape: filterShape, dtype: x.dtype }],
    lower: (e, { inputs: [x, dy], attrs }) => {
      const g = geometry(x.shape, attrs.filterShape, attrs, depthwise);
      const [field, d] = [x, dy].map((value) => toPlanes(e, e.name(value)));
      return g.toTheirs(e, lowerFilterGrad(e, field, d, { x: g.x, dy: planes(dy.shape), w: g.w }, g.attrs));
    },
  };
}

function poolGeometry(x: Shape, { filterSize, strides, pad, dimRoundingMode }: Attrs): { attrs: PoolAttrs; y: Shape } {
  const info = tf.backend_util.computePool2DInfo(x as Shape4, filterSize, strides, 1, pad, dimRoundingMode);
  const { top, left, bottom, right } = info.padInfo;
  const attrs = {
    kernel: [info.filterHeight, info.filterWidth] as Pair,
    stride: [info.strideHeight, info.strideWidth] as Pair,
    pads: [top, left, bottom, right] as Pads,
  };
  const [b, c, h, w] = poolShape(planes(x), attrs);
  return { attrs, y: [b, h, w, c] };
}

const pooling = (lower: (e: Emitter, x: string, attrs: PoolAttrs) => string): KernelRule => ({
  infer: ([x], attrs) => [{ shape: [...poolGeometry(x.shape, attrs).y], dtype: x.dtype }],
  lower: (e, { inputs: [x], attrs }) =>
    toPixels(e, lower(e, toPlanes(e, e.name(x)), poolGeometry(x.shape, attrs).attrs)),
});

const poolGradient = (
  lower: (e: Emitter, dy: string, x: string, shape: number[], attrs: PoolAttrs) => string,
): KernelRule => ({
  infer: ([, x]) => [{ shape: x.shape, dtype: x.dtype }],
  lower: (e, { inputs: [dy, x], attrs }) => {
    const [d, field] = [dy, x].map((value) => toPlanes(e, e.name(value)));
    return toPixels(e, lower(e, d, field, planes(x.shape), poolGeometry(x.shape, attrs).attrs));
  },
});

/** One axis of tfjs's resizing as a matrix [to, from]: bilinear weights, or ones at the nearest pixel. */
export function resizeMatrix(
  from: number,
  to: number,
  nearest: boolean,
  attrs: { alignCorners?: boolean; halfPixelCenters?: boolean },
): Float32Array {
  const corners = attrs.alignCorners && to > 1;
  const ratio = corners ? (from - 1) / (to - 1) : from / to;
  const weights = new Float32Array(to * from);
  const last = from - 1;
  for (let i = 0; i < to; i++) {
    if (nearest) {
      const at = attrs.halfPixelCenters ? ratio * (i + 0.5) : ratio * i;
      weights[i * from + Math.max(0, Math.min(last, attrs.alignCorners ? Math.round(at) : Math.floor(at)))] = 1;
    } else {
      const at = Math.max(0, attrs.halfPixelCenters ? ratio * (i + 0.5) - 0.5 : ratio * i);
      const first = Math.min(last, Math.floor(at));
      weights[i * from + first] += 1 - (at - first);
      weights[i * from + Math.min(last, first + 1)] += at - first;
    }
  }
  return weights;
}

/** One matrix per axis: no transposes, since pixels stay whole. */
const resizing = (nearest: boolean): KernelRule => ({
  infer: ([x], { size }) => [{ shape: [x.shape[0], size[0], size[1], x.shape[3]], dtype: 'float32' }],
  lower: (e, { inputs: [x], outputs: [y], attrs }) => {
    const [b, h, w, c] = x.shape;
    const [, ho, wo] = y.shape;
    const rows = e.floats(resizeMatrix(h, ho, nearest, attrs), [ho, h]);
    const columns = e.floats(resizeMatrix(w, wo, nearest, attrs), [wo, w]);
    const tall = e.node('MatMul', [rows, e.node('Reshape', [e.name(x), e.ints([b, h, w * c])])]);
    const wide = e.node('MatMul', [columns, e.node('Reshape', [tall, e.ints([b * ho, w, c])])]);
    return e.node('Reshape', [wide, e.ints(y.shape)]);
  },
});

const batchNorm: KernelRule = {
  optional: true,
  infer: ([x]) => [{ shape: x.shape, dtype: x.dtype }],
  lower: (e, { inputs, attrs: { operands, varianceEpsilon } }) => {
    const find = (name: string): string | null => {
      const at = operands.indexOf(name);
      return at < 0 ? null : e.name(inputs[at]);
    };
    const variance = e.node('Add', [find('variance') as string, e.scalar(varianceEpsilon)]);
    const rstd = e.node('Reciprocal', [e.node('Sqrt', [variance])]);
    const gamma = find('scale');
    const scale = gamma === null ? rstd : e.node('Mul', [gamma, rstd]);
    const shift = e.node('Mul', [find('mean') as string, scale]);
    const beta = find('offset');
    const scaled = e.node('Mul', [find('x') as string, scale]);
    return e.node('Add', [scaled, beta === null ? e.node('Neg', [shift]) : e.node('Sub', [beta, shift])]);
  },
};

export const nhwc: KernelRules = {
  Conv2D: convolution(false),
  FusedConv2D: fused(false),
  FusedDepthwiseConv2D: fused(true),
  Conv2DBackpropInput: inputGradient(false),
  Conv2DBackpropFilter: filterGradient(false),
  DepthwiseConv2dNative: convolution(true),
  DepthwiseConv2dNativeBackpropInput: inputGradient(true),
  DepthwiseConv2dNativeBackpropFilter: filterGradient(true),
  MaxPool: pooling((e, x, attrs) => lowerMaxPool(e, x, attrs)[0]),
  MaxPoolGrad: poolGradient((e, dy, x, shape, attrs) => lowerMaxPoolGrad(e, dy, lowerMaxPool(e, x, attrs)[1], shape)),
  AvgPool: pooling(lowerAvgPool),
  AvgPoolGrad: poolGradient((e, dy, _x, shape, attrs) => lowerAvgPoolGrad(e, dy, shape, attrs)),
  FusedBatchNorm: batchNorm,
  ResizeBilinear: resizing(false),
  ResizeNearestNeighbor: resizing(true),
};
