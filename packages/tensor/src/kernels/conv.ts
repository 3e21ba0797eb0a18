// Convolution over [B, C, H, W] and its two gradients, in the layout of PyTorch. The three are bilinear in their operands,
// so each one's gradients are the other two (functional/conv.ts). How they are lowered was measured on one thread at
// 64..512 channels and 8..32 pixels: the input gradient of stride 1 as a convolution with the flipped filter is half as
// fast again as a transposed convolution, the filter gradient as one matrix product per tap is three times as fast as a
// convolution with swapped axes and beats im2col wherever there are enough channels to fill a product.

import type { AttributeMap, Emitter, KernelRules } from '../emitter.ts';
import { sizeOf, type Value } from '../graph.ts';

export type Pair = [number, number];
/** Zeros added at the top, left, bottom and right. */
export type Pads = [number, number, number, number];

export interface ConvAttrs {
  stride: Pair;
  pads: Pads;
  dilation: Pair;
  groups: number;
}

type Shape = readonly number[];

/** Fewer input channels than this make products too thin to run once per tap. */
const THIN = 16;

/** From this many output pixels on, turning a filter that changes every step costs less than it gains. */
const MANY = 256;

/** Shape of the convolution of x [B, C, H, W] with w [O, C/groups, kH, kW]; throws where they do not fit. */
export function convShape(x: Shape, w: Shape, { stride, pads, dilation, groups }: ConvAttrs): number[] {
  if (x.length !== 4 || w.length !== 4)
    throw new Error(`conv2d takes x [B, C, H, W] and w [O, C/groups, kH, kW], not [${x}] and [${w}]`);
  if (x[1] !== w[1] * groups || w[0] % groups !== 0)
    throw new Error(
      `conv2d of [${x}] with a filter [${w}] in ${groups} groups: ${x[1]} channels meet ${w[1]} × ${groups}, and ${w[0]} filters must be a multiple of the groups`,
    );
  const size = [0, 1].map((i) => {
    const reach = dilation[i] * (w[2 + i] - 1) + 1;
    return Math.floor((x[2 + i] + pads[i] + pads[2 + i] - reach) / stride[i]) + 1;
  });
  if (size.some((s) => s < 1)) throw new Error(`conv2d: a filter [${w}] is larger than its padded input [${x}]`);
  return [x[0], w[0], ...size];
}

const onnxAttrs = ({ stride, pads, dilation, groups }: ConvAttrs, w: Shape): AttributeMap => ({
  kernel_shape: { ints: [w[2], w[3]] },
  strides: { ints: stride },
  pads: { ints: pads },
  dilations: { ints: dilation },
  group: { int: groups },
});

/** Emits the convolution; `bias` is a name or null. */
export function lowerConv(e: Emitter, x: string, w: string, bias: string | null, wShape: Shape, attrs: ConvAttrs) {
  return e.node('Conv', bias === null ? [x, w] : [x, w, bias], onnxAttrs(attrs, wShape));
}

/**
 * [O, C/g, kH, kW] -> [C, O/g, kH, kW], turned by half a circle: the filter that takes gradients back to the input. Taps are
 * reordered while whole rows of filters lie together, which is several times as fast as one transpose and a reversal.
 */
function backwardFilter(e: Emitter, w: string, [o, c, kh, kw]: Shape, groups: number): string {
  const taps = kh * kw;
  const rows = e.node('Reshape', [w, e.ints([groups, o / groups, c * taps])]);
  const columns = e.node('Transpose', [rows], { perm: { ints: [0, 2, 1] } });
  const byTap = e.node('Reshape', [columns, e.ints([groups * c, taps, o / groups])]);
  const backwards = e.ints(Array.from({ length: taps }, (_, i) => taps - 1 - i));
  const turned = taps === 1 ? byTap : e.node('Gather', [byTap, backwards], { axis: { int: 1 } });
  const filters = e.node('Transpose', [turned], { perm: { ints: [0, 2, 1] } });
  return e.node('Reshape', [filters, e.ints([groups * c, o / groups, kh, kw])]);
}

/** dy [B, O, Ho, Wo], w -> dx [B, C, H, W]; a frozen filter is turned once, when the program is built. */
export function lowerInputGrad(
  e: Emitter,
  dy: string,
  w: string,
  shapes: { dy: Shape; w: Shape; x: Shape },
  attrs: ConvAttrs,
  frozen: boolean,
): string {
  const { stride, pads, dilation, groups } = attrs;
  const reach = [0, 1].map((i) => dilation[i] * (shapes.w[2 + i] - 1));
  const full: Pads = [reach[0] - pads[0], reach[1] - pads[1], reach[0] - pads[2], reach[1] - pads[3]];
  const worthTurning = frozen || shapes.dy[0] * shapes.dy[2] * shapes.dy[3] >= MANY;
  if (worthTurning && stride[0] === 1 && stride[1] === 1 && full.every((p) => p >= 0)) {
    const flipped = backwardFilter(e, w, shapes.w, groups);
    return lowerConv(e, dy, flipped, null, shapes.w, { stride, pads: full, dilation, groups });
  }
  // The rows at the end that no stride reached come back as output padding.
  const unread = [0, 1].map((i) => {
    const read = (shapes.dy[2 + i] - 1) * stride[i] + reach[i] + 1;
    return shapes.x[2 + i] + pads[i] + pads[2 + i] - read;
  });
  return e.node('ConvTranspose', [dy, w], { ...onnxAttrs(attrs, shapes.w), output_padding: { ints: unread } });
}

/** The part of padded x [C, B, Hp, Wp] that one filter tap meets. */
function tap(e: Emitter, x: string, at: Pair, out: Shape, { stride, dilation }: ConvAttrs): string {
  const starts = at.map((k, i) => k * dilation[i]);
  const ends = starts.map((s, i) => s + (out[2 + i] - 1) * stride[i] + 1);
  const steps = stride.every((s) => s === 1) ? [] : [e.ints(stride)];
  return e.node('Slice', [x, e.ints(starts), e.ints(ends), e.ints([2, 3]), ...steps]);
}

/** [B, K, ...] -> [K, B, ...]; free where B is one. */
function channelsFirst(e: Emitter, x: string, [b, c, h, w]: Shape): string {
  if (b === 1) return e.node('Reshape', [x, e.ints([c, b, h, w])]);
  return e.node('Transpose', [x], { perm: { ints: [1, 0, 2, 3] } });
}

/** Patches that neither overlap nor leave a rest need no padding and no taps: x is cut by a transpose. */
function lowerPatchFilterGrad(e: Emitter, x: string, dy: string, shapes: { x: Shape; dy: Shape; w: Shape }): string {
  const [b, c] = shapes.x;
  const [, o, ho, wo] = shapes.dy;
  const [, , kh, kw] = shapes.w;
  const cut = e.node('Reshape', [x, e.ints([b, c, ho, kh, wo, kw])]);
  const rows = e.node('Transpose', [cut], { perm: { ints: [1, 3, 5, 0, 2, 4] } });
  const flat = e.node('Reshape', [rows, e.ints([c * kh * kw, b * ho * wo])]);
  const d = e.node('Reshape', [channelsFirst(e, dy, shapes.dy), e.ints([o, b * ho * wo])]);
  return e.node('Reshape', [e.node('Gemm', [d, flat], { transB: { int: 1 } }), e.ints(shapes.w)]);
}

/** x [B, C, H, W], dy [B, O, Ho, Wo] -> dw [O, C/groups, kH, kW]. */
export function lowerFilterGrad(
  e: Emitter,
  x: string,
  dy: string,
  shapes: { x: Shape; dy: Shape; w: Shape },
  attrs: ConvAttrs,
): string {
  const { pads, stride, groups } = attrs;
  const [o, cg, kh, kw] = shapes.w;
  const [b, , ho, wo] = shapes.dy;
  const padded = pads.some((p) => p !== 0);
  const patches = kh === stride[0] && kw === stride[1] && ho * kh === shapes.x[2] && wo * kw === shapes.x[3];
  if (groups === 1 && !padded && patches) return lowerPatchFilterGrad(e, x, dy, shapes);
  let field = channelsFirst(e, x, shapes.x);
  if (padded) field = e.node('Pad', [field, e.ints([0, 0, pads[0], pads[1], 0, 0, pads[2], pads[3]])]);
  const taps: string[] = [];
  for (let i = 0; i < kh; i++) for (let j = 0; j < kw; j++) taps.push(tap(e, field, [i, j], shapes.dy, attrs));
  const n = b * ho * wo;
  const d = channelsFirst(e, dy, shapes.dy);
  let products: string; // [O, kH·kW·C/g]
  if (groups > 1) products = groupedProducts(e, d, taps, [o / groups, cg, groups, n]);
  else {
    const rows = e.node('Reshape', [d, e.ints([o, n])]);
    const product = (columns: string, size: number) =>
      e.node('Gemm', [rows, e.node('Reshape', [columns, e.ints([size, n])])], { transB: { int: 1 } });
    products =
      cg < THIN
        ? product(join(e, taps, 0), taps.length * cg)
        : join(
            e,
            taps.map((t) => product(t, cg)),
            1,
          );
  }
  const split = e.node('Reshape', [products, e.ints([o, kh * kw, cg])]);
  return e.node('Reshape', [e.node('Transpose', [split], { perm: { ints: [0, 2, 1] } }), e.ints(shapes.w)]);
}

const join = (e: Emitter, parts: string[], axis: number): string =>
  parts.length === 1 ? parts[0] : e.node('Concat', parts, { axis: { int: axis } });

function groupedProducts(e: Emitter, d: string, taps: string[], [og, cg, groups, n]: Shape): string {
  const rows = e.node('Reshape', [d, e.ints([groups, og, n])]);
  const products = taps.map((t) => {
    const columns = e.node('Reshape', [t, e.ints([groups, cg, n])]);
    return e.node('MatMul', [rows, e.node('Transpose', [columns], { perm: { ints: [0, 2, 1] } })]); // [g, O/g, C/g]
  });
  return e.node('Reshape', [join(e, products, 2), e.ints([groups * og, taps.length * cg])]);
}

const checkGradient = (dy: Value, expected: readonly number[], what: string) => {
  if (dy.shape.join() !== expected.join())
    throw new Error(`${what}: the gradient is [${dy.shape}] where the convolution gives [${expected}]`);
};

export const conv: KernelRules = {
  /** x [B, C, H, W], w [O, C/groups, kH, kW], bias [O]? -> [B, O, Ho, Wo]. */
  FoveaConv2d: {
    infer: ([x, w, bias], attrs) => {
      const shape = convShape(x.shape, w.shape, attrs as ConvAttrs);
      if (bias && sizeOf(bias.shape) !== w.shape[0])
        throw new Error(`conv2d: a bias [${bias.shape}] does not fit ${w.shape[0]} filters`);
      return [{ shape, dtype: x.dtype }];
    },
    lower: (e, { inputs: [x, w, bias], attrs }) =>
      lowerConv(e, e.name(x), e.name(w), bias ? e.name(bias) : null, w.shape, attrs as ConvAttrs),
  },
  /** dy [B, O, Ho, Wo], w -> dx, of the height and width in `size`. */
  FoveaConv2dInputGrad: {
    infer: ([dy, w], attrs) => {
      const shape = [dy.shape[0], w.shape[1] * attrs.groups, ...attrs.size];
      checkGradient(dy, convShape(shape, w.shape, attrs as ConvAttrs), 'the input gradient of conv2d');
      return [{ shape, dtype: dy.dtype }];
    },
    lower: (e, { inputs: [dy, w], outputs: [dx], attrs }) =>
      lowerInputGrad(
        e,
        e.name(dy),
        e.name(w),
        { dy: dy.shape, w: w.shape, x: dx.shape },
        attrs as ConvAttrs,
        w.kind === 'constant',
      ),
  },
  /** x, dy -> dw, of the kernel height and width in `size`. */
  FoveaConv2dFilterGrad: {
    infer: ([x, dy], attrs) => {
      const shape = [dy.shape[1], x.shape[1] / attrs.groups, ...attrs.size];
      checkGradient(dy, convShape(x.shape, shape, attrs as ConvAttrs), 'the filter gradient of conv2d');
      return [{ shape, dtype: x.dtype }];
    },
    lower: (e, { inputs: [x, dy], outputs: [dw], attrs }) =>
      lowerFilterGrad(e, e.name(x), e.name(dy), { x: x.shape, dy: dy.shape, w: dw.shape }, attrs as ConvAttrs),
  },
};
