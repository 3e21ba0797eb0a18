// Element-wise kernels: unary, binary with broadcasting, comparisons, casts and selection.

import type { AttributeMap, Emitter, KernelRule, KernelRules } from '../emitter.ts';
import type { DType, GraphNode, Value } from '../graph.ts';

/** NumPy broadcasting of two shapes. */
export function broadcastShape(a: readonly number[], b: readonly number[]): number[] {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, i) => {
    const x = a[a.length - rank + i] ?? 1;
    const y = b[b.length - rank + i] ?? 1;
    if (x !== y && x !== 1 && y !== 1) throw new Error(`shapes [${a}] and [${b}] do not broadcast`);
    return x === 1 ? y : x;
  });
}

const like = (x: Value, dtype: DType = x.dtype) => [{ shape: x.shape, dtype }];

function unary(lower: string | ((e: Emitter, x: string, node: GraphNode) => string), dtype?: DType): KernelRule {
  return {
    infer: ([x]) => like(x, dtype),
    lower: (e, node) => {
      const x = e.name(node.inputs[0]);
      return typeof lower === 'string' ? e.node(lower, [x]) : lower(e, x, node);
    },
  };
}

type LowerBinary = (e: Emitter, a: string, b: string, operands: DType) => string;

function binary(op: string | LowerBinary, dtype?: DType): KernelRule {
  return {
    infer: ([a, b]) => [{ shape: broadcastShape(a.shape, b.shape), dtype: dtype ?? a.dtype }],
    lower: (e, node) => {
      const [a, b] = node.inputs;
      const shape = node.outputs[0].shape;
      const x = e.operand(a, b, shape);
      const y = e.operand(b, a, shape);
      return typeof op === 'string' ? e.node(op, [x, y]) : op(e, x, y, a.dtype);
    },
  };
}

const ONNX_TYPE: Record<DType, number> = { float32: 1, int32: 6, bool: 9 };
export const cast = (e: Emitter, x: string, dtype: DType): string =>
  e.node('Cast', [x], { to: { int: ONNX_TYPE[dtype] } });

const logical = (op: string): KernelRule => ({
  infer: ([a, b]) => [{ shape: broadcastShape(a.shape, b.shape), dtype: 'bool' }],
  lower: (e, node) => e.node(op, [e.name(node.inputs[0]), e.name(node.inputs[1])]),
});

const withAttrs = (op: string, attrs: (node: GraphNode) => AttributeMap) =>
  unary((e, x, node) => e.node(op, [x], attrs(node)));

export function lowerPrelu(e: Emitter, x: string, alpha: string): string {
  const below = e.node('Mul', [alpha, e.node('Min', [x, e.scalar(0)])]);
  return e.node('Add', [e.node('Relu', [x]), below]);
}

export const elementwise: KernelRules = {
  Abs: unary('Abs'),
  Neg: unary('Neg'),
  Exp: unary('Exp'),
  Log: unary('Log'),
  Log1p: unary((e, x) => e.node('Log', [e.node('Add', [x, e.scalar(1)])])),
  Expm1: unary((e, x) => e.node('Sub', [e.node('Exp', [x]), e.scalar(1)])),
  Sqrt: unary('Sqrt'),
  Rsqrt: unary((e, x) => e.node('Reciprocal', [e.node('Sqrt', [x])])),
  Reciprocal: unary('Reciprocal'),
  Square: unary((e, x) => e.node('Mul', [x, x])),
  Sigmoid: unary('Sigmoid'),
  Tanh: unary('Tanh'),
  Erf: unary('Erf'),
  Sin: unary('Sin'),
  Cos: unary('Cos'),
  Floor: unary('Floor'),
  Ceil: unary('Ceil'),
  Round: unary('Round'),
  Sign: unary('Sign'),
  Relu: unary('Relu'),
  Softplus: unary('Softplus'),
  LogicalNot: unary('Not', 'bool'),
  IsNan: unary('IsNaN', 'bool'),
  IsInf: unary('IsInf', 'bool'),
  IsFinite: unary((e, x) => e.node('Not', [e.node('Or', [e.node('IsInf', [x]), e.node('IsNaN', [x])])]), 'bool'),
  Relu6: unary((e, x) => e.node('Clip', [x, e.scalar(0), e.scalar(6)])),
  Elu: unary('Elu'),
  EluGrad: {
    infer: ([dy]) => like(dy),
    lower: (e, node) => {
      const [dy, y] = node.inputs.map((input) => e.name(input));
      return e.node('Mul', [dy, e.node('Add', [e.node('Min', [y, e.scalar(0)]), e.scalar(1)])]);
    },
  },
  Selu: unary('Selu'),
  Prelu: {
    infer: ([x, alpha]) => [{ shape: broadcastShape(x.shape, alpha.shape), dtype: x.dtype }],
    lower: (e, { inputs: [x, alpha] }) => lowerPrelu(e, e.name(x), e.name(alpha)),
  },
  LeakyRelu: withAttrs('LeakyRelu', (node) => ({ alpha: node.attrs.alpha })),
  ClipByValue: unary((e, x, node) =>
    e.node('Clip', [x, e.scalar(node.attrs.clipValueMin), e.scalar(node.attrs.clipValueMax)]),
  ),
  Step: unary((e, x, node) => {
    const positive = cast(e, e.node('Greater', [x, e.scalar(0)]), 'float32');
    const alpha = node.attrs.alpha ?? 0;
    if (alpha === 0) return positive;
    return e.node('Add', [e.node('Mul', [positive, e.scalar(1 - alpha)]), e.scalar(alpha)]);
  }),
  Cast: {
    infer: ([x], { dtype }) => like(x, dtype),
    lower: (e, node) => {
      const x = e.name(node.inputs[0]);
      const [from, to] = [node.inputs[0].dtype, node.attrs.dtype as DType];
      return from === to ? x : cast(e, x, to);
    },
  },
  Identity: unary((_e, x) => x),
  StopGradient: unary((_e, x) => x),
  Add: binary('Add'),
  Sub: binary('Sub'),
  Multiply: binary('Mul'),
  RealDiv: binary('Div'),
  Pow: binary('Pow'),
  Maximum: binary('Max'),
  Minimum: binary('Min'),
  SquaredDifference: binary((e, a, b) => {
    const d = e.node('Sub', [a, b]);
    return e.node('Mul', [d, d]);
  }),
  FloorDiv: binary((e, a, b, dtype) => {
    // ONNX rounds quotients of integers towards zero.
    if (dtype === 'int32') return e.node('Div', [e.node('Sub', [a, e.node('Mod', [a, b])]), b]);
    return e.node('Floor', [e.node('Div', [a, b])]);
  }),
  Mod: binary((e, a, b, dtype) => {
    if (dtype === 'int32') return e.node('Mod', [a, b]);
    return e.node('Sub', [a, e.node('Mul', [b, e.node('Floor', [e.node('Div', [a, b])])])]);
  }),
  Equal: binary('Equal', 'bool'),
  NotEqual: binary((e, a, b) => e.node('Not', [e.node('Equal', [a, b])]), 'bool'),
  Greater: binary('Greater', 'bool'),
  GreaterEqual: binary('GreaterOrEqual', 'bool'),
  Less: binary('Less', 'bool'),
  LessEqual: binary('LessOrEqual', 'bool'),
  LogicalAnd: logical('And'),
  LogicalOr: logical('Or'),
  Select: {
    infer: ([_condition, t, f]) => [{ shape: broadcastShape(t.shape, f.shape), dtype: t.dtype }],
    lower: (e, node) => {
      const [condition, t, f] = node.inputs;
      const rank = t.shape.length;
      let c = e.name(condition);
      if (condition.dtype !== 'bool') c = cast(e, c, 'bool');
      if (condition.shape.length < rank) {
        const padded = [...condition.shape, ...Array(rank - condition.shape.length).fill(1)];
        c = e.node('Reshape', [c, e.ints(padded)]);
      }
      return e.node('Where', [c, e.name(t), e.name(f)]);
    },
  },
  AddN: {
    infer: ([x]) => like(x),
    lower: (e, node) => {
      const names = node.inputs.map((input) => e.name(input));
      return names.slice(1).reduce((sum, x) => e.node('Add', [sum, x]), names[0]);
    },
  },
};
