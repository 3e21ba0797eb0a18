// Scaled dot-product attention and its gradient, by blocks of queries: what is alive of the [B, H, T, S] scores is one
// block of rows, as in FlashAttention (Dao et al. 2022). Only a score matrix small enough to be cheaper kept than
// computed again is kept. Only the recorder has these kernels; functional/attention.ts holds the composed form.

import type { Emitter, KernelRule, KernelRules } from '../emitter.ts';
import { type GraphNode, sizeOf, type Value } from '../graph.ts';
import { broadcastShape } from './elementwise.ts';
import { after } from './order.ts';

/** Score matrices up to this size are kept for the gradient; larger ones are computed again. */
export const KEPT_BYTES = 4 * 2 ** 20;
/** Scores of one block of queries are about this large. */
export const BLOCK_BYTES = 16 * 2 ** 20;
/** Score of a pair that may not attend: far below any real one, yet finite, so that no row becomes NaN. */
export const MASKED = -1e30;

export interface AttentionAttributes {
  scale: number;
  causal: boolean;
  keptBytes: number;
  blockBytes: number;
  biased: boolean;
}

/** Queries [start, end) of T, and how many of the S keys they can see. */
interface Block {
  start: number;
  end: number;
  keys: number;
}

const swapped = (e: Emitter, x: string) => e.node('Transpose', [x], { perm: { ints: [0, 1, 3, 2] } });
const rowSum = (e: Emitter, x: string) => e.node('ReduceSum', [x, e.ints([3])], { keepdims: { int: 1 } });

/** One attention's operands as [B, H, T, D] q, [B, H, S, D] k, [B, H, S, E] v and a bias that broadcasts to [B, H, T, S]. */
class Operands {
  readonly e: Emitter;
  readonly attrs: AttentionAttributes;
  readonly q: Value;
  readonly k: Value;
  readonly v: Value;
  readonly bias: Value | undefined;
  readonly queries: number;
  readonly keys: number;

  constructor(e: Emitter, attrs: GraphNode['attrs'], [q, k, v, bias]: Value[]) {
    this.e = e;
    this.attrs = attrs as AttentionAttributes;
    [this.q, this.k, this.v, this.bias] = [q, k, v, bias];
    [this.queries, this.keys] = [q.shape[2], k.shape[2]];
  }

  blocks(blockBytes = this.attrs.blockBytes): Block[] {
    const rowBytes = 4 * sizeOf(this.q.shape.slice(0, 2)) * this.keys;
    const rows = Math.max(16, Math.floor(blockBytes / rowBytes));
    const count = Math.max(1, Math.ceil(this.queries / rows));
    const cut = (i: number) => Math.round((i * this.queries) / count);
    return Array.from({ length: count }, (_, i) => {
      const [start, end] = [cut(i), cut(i + 1)];
      return { start, end, keys: this.attrs.causal ? Math.min(end, this.keys) : this.keys };
    });
  }

  /** Rows [start, end) of axis 2; the whole when that is all. */
  rows(value: Value, start: number, end: number): string {
    return this.part(this.e.name(value), 2, value.shape[2], start, end);
  }

  scores(q: string, block: Block): string {
    const { e, attrs, k, bias } = this;
    const scaled = e.node('Mul', [q, e.scalar(attrs.scale)]);
    let scores = e.node('MatMul', [scaled, swapped(e, this.rows(k, 0, block.keys))]);
    if (bias) scores = e.node('Add', [scores, this.#biasOf(bias, block)]);
    if (!attrs.causal || block.keys <= block.start + 1) return scores;
    const query = e.node(
      'Range',
      [block.start, block.end, 1].map((x) => e.scalar(x, 'int64')),
    );
    const key = e.node(
      'Range',
      [0, block.keys, 1].map((x) => e.scalar(x, 'int64')),
    );
    const seen = e.node('GreaterOrEqual', [e.node('Unsqueeze', [query, e.ints([1])]), key]);
    return e.node('Where', [seen, scores, e.scalar(MASKED)]);
  }

  /** P [B, H, rows, keys]. */
  probabilities(q: string, block: Block): string {
    return this.e.node('Softmax', [this.scores(q, block)], { axis: { int: -1 } });
  }

  #biasOf(bias: Value, { start, end, keys }: Block): string {
    const rows = bias.shape[2] === 1 ? this.e.name(bias) : this.rows(bias, start, end);
    return bias.shape[3] === 1 ? rows : this.part(rows, 3, this.keys, 0, keys);
  }

  /** Elements [start, end) of an axis of the given size; the whole when that is all. */
  part(x: string, axis: number, size: number, start: number, end: number): string {
    if (start === 0 && end === size) return x;
    const { e } = this;
    return e.node('Slice', [x, e.ints([start]), e.ints([end]), e.ints([axis])]);
  }
}

const scoreBytes = (q: Value, k: Value) => 4 * sizeOf(q.shape.slice(0, 3)) * k.shape[2];

function checkShapes([q, k, v, bias]: Value[]): void {
  const said = `q [${q.shape}], k [${k.shape}], v [${v.shape}]`;
  if ([q, k, v].some((x) => x.shape.length !== 4)) throw new Error(`${said} are not [batch, heads, tokens, width]`);
  const [b, h, , d] = q.shape;
  const fits = (x: Value) => x.shape[0] === b && x.shape[1] === h && x.shape[2] === k.shape[2];
  if (!fits(k) || !fits(v) || k.shape[3] !== d) throw new Error(`${said} do not fit together`);
  const scores = [b, h, q.shape[2], k.shape[2]];
  if (bias && (bias.shape.length !== 4 || broadcastShape(bias.shape, scores).join() !== scores.join()))
    throw new Error(`the mask [${bias.shape}] does not broadcast to the scores [${scores}]`);
}

/** q, k, v, bias? -> y [B, H, T, E], and P [B, H, T, S] where it is kept for the gradient. */
const attentionRule: KernelRule = {
  infer: (inputs, attrs) => {
    checkShapes(inputs);
    const [q, k, v] = inputs;
    const y = { shape: [...q.shape.slice(0, 3), v.shape[3]], dtype: q.dtype };
    if (scoreBytes(q, k) > attrs.keptBytes) return [y];
    const keys = attrs.causal ? Math.min(q.shape[2], k.shape[2]) : k.shape[2];
    return [y, { shape: [...q.shape.slice(0, 3), keys], dtype: q.dtype }];
  },
  lower: (e, node) => {
    const operands = new Operands(e, node.attrs, node.inputs);
    const v = (block: Block) => operands.rows(operands.v, 0, block.keys);
    if (node.outputs.length === 2) {
      const [block] = operands.blocks(Number.POSITIVE_INFINITY);
      const p = operands.probabilities(e.name(operands.q), block);
      return [e.node('MatMul', [p, v(block)]), p];
    }
    const parts = operands.blocks().map((block) => {
      const p = operands.probabilities(operands.rows(operands.q, block.start, block.end), block);
      return e.node('MatMul', [p, v(block)]);
    });
    return joined(e, parts);
  },
};

const joined = (e: Emitter, parts: string[]) =>
  parts.length === 1 ? parts[0] : e.node('Concat', parts, { axis: { int: 2 } });

/** A running sum over blocks. */
class Sum {
  value = '';
  readonly #e: Emitter;

  constructor(e: Emitter) {
    this.#e = e;
  }

  add(part: string): void {
    this.value = this.value ? this.#e.node('Add', [this.value, part]) : part;
  }
}

/** Gradient of the bias: each block's dS, summed over the axes along which the bias was broadcast. */
class BiasGradient {
  readonly #e: Emitter;
  readonly #shape: readonly number[];
  readonly #rows: string[] = [];
  readonly #sum: Sum;

  constructor(e: Emitter, bias: Value) {
    this.#e = e;
    this.#shape = bias.shape;
    this.#sum = new Sum(e);
  }

  add(ds: string): void {
    const axes = [0, 1, 2, 3].filter((axis) => this.#shape[axis] === 1);
    const part = axes.length > 0 ? this.#e.node('ReduceSum', [ds, this.#e.ints(axes)], { keepdims: { int: 1 } }) : ds;
    if (this.#shape[2] === 1) this.#sum.add(part);
    else this.#rows.push(part);
  }

  get last(): string | undefined {
    return this.#sum.value || this.#rows.at(-1);
  }

  finish(): string {
    return this.#rows.length > 0 ? joined(this.#e, this.#rows) : this.#sum.value;
  }
}

/** Zeros behind: a causal block sees only the first keys. */
function padded(e: Emitter, x: string, axis: number, missing: number): string {
  if (missing === 0) return x;
  const pads = Array(8).fill(0);
  pads[4 + axis] = missing;
  return e.node('Pad', [x, e.ints(pads), e.scalar(0)]);
}

/**
 * dy, y, q, k, v, bias?, P? -> dq, dk, dv, dbias?. Per block of rows, P from q and k unless kept:
 * dv += Pᵀ dy, dS = P ∘ (dy vᵀ − rowsum(dy ∘ y)), dq = dS k, dk += dSᵀ q. Each block waits for the one before.
 */
const attentionGradRule: KernelRule = {
  infer: ([_dy, _y, ...operands], { biased }) =>
    operands.slice(0, biased ? 4 : 3).map(({ shape, dtype }) => ({ shape, dtype })),
  lower: (e, node) => {
    const { biased, scale } = node.attrs;
    const [dy, y, ...rest] = node.inputs;
    const operands = new Operands(e, node.attrs, rest.slice(0, biased ? 4 : 3));
    const { q, k, v, bias } = operands;
    const kept = rest[biased ? 4 : 3];
    const [wantQ, wantK, wantV, wantBias] = node.used ?? [true, true, true, true];
    const wantScores = wantQ || wantK || wantBias;
    const delta = wantScores ? rowSum(e, e.node('Mul', [e.name(dy), e.name(y)])) : ''; // [B, H, T, 1]
    const dq: string[] = [];
    const [dk, dv] = [new Sum(e), new Sum(e)];
    const dbias = bias ? new BiasGradient(e, bias) : null;
    let before = [e.name(dy)];
    for (const block of operands.blocks(kept ? Number.POSITIVE_INFINITY : undefined)) {
      const { start, end, keys } = block;
      const hidden = operands.keys - keys;
      const queries = operands.rows(q, start, end);
      const late = kept ? queries : after(e, queries, before);
      const p = kept ? e.name(kept) : operands.probabilities(late, block);
      const out = operands.rows(dy, start, end); // [B, H, rows, E]
      if (wantV) dv.add(padded(e, e.node('MatMul', [swapped(e, p), out]), 2, hidden));
      if (wantScores) {
        const dp = e.node('MatMul', [out, swapped(e, operands.rows(v, 0, keys))]); // [B, H, rows, keys]
        const row = operands.part(delta, 2, operands.queries, start, end);
        const ds = e.node('Mul', [p, e.node('Sub', [dp, row])]);
        const scaled = (x: string) => e.node('Mul', [x, e.scalar(scale)]);
        if (wantQ) dq.push(scaled(e.node('MatMul', [ds, operands.rows(k, 0, keys)])));
        if (wantK) dk.add(padded(e, scaled(e.node('MatMul', [swapped(e, ds), late])), 2, hidden));
        if (wantBias) dbias?.add(padded(e, ds, 3, hidden));
      }
      before = [dq.at(-1), dk.value, dv.value, dbias?.last].filter((x) => !!x) as string[];
    }
    return [wantQ ? joined(e, dq) : '', dk.value, dv.value, ...(dbias ? [dbias.finish()] : [])];
  },
};

export const attention: KernelRules = { FoveaAttention: attentionRule, FoveaAttentionGrad: attentionGradRule };
