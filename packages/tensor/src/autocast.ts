// Mixed precision as one pass over a lowered program, by the rule of torch.autocast: matrix products and convolutions
// take and give half precision, everything else (element-wise operations, reductions, softmax, normalisation, losses,
// the optimiser) stays fp32, and so do parameters and moments. It looks at the lowered operations, not at the recorded
// ones, so that the products inside a fused attention or a filter gradient are cast too while its softmax is not.

import type { Device, Precision } from './devices.ts';
import { type Attribute, ElementType, type OnnxGraph, type OnnxNode } from './onnx-proto.ts';

/** What a program is lowered for. */
export interface Target {
  device: Device;
  precision: Precision;
}

/** What autocast runs in half precision. */
const PRODUCTS = new Set(['MatMul', 'Gemm', 'FusedMatMul', 'Einsum', 'Conv', 'ConvTranspose']);

/**
 * Which of them a device has kernels for. The rest is emulated: operands and result are rounded to half and the sum is
 * kept in fp32, which is what a tensor core does. On CUDA a bf16 convolution so runs in TF32, whose mantissa holds
 * bf16's. The CPU's runtime takes an fp16 product and quietly computes it in fp32 without rounding; hence emulation.
 */
const NATIVE: Record<Exclude<Precision, 'fp32'>, Record<Device, readonly string[]>> = {
  fp16: {
    cpu: [],
    cuda: ['MatMul', 'Gemm', 'FusedMatMul', 'Conv', 'ConvTranspose'],
    webgpu: ['MatMul', 'Gemm', 'Conv', 'ConvTranspose'],
  },
  bf16: { cpu: [], cuda: ['MatMul', 'Gemm', 'FusedMatMul'], webgpu: [] },
};

/** Operations that move numbers and leave them as they are; their first input is the data. */
const MOVES = new Set(['Reshape', 'Transpose', 'Squeeze', 'Unsqueeze', 'Slice', 'Split']);

/** Rewrites the nodes of a program, in their order; its outputs stay fp32. Casts are shared, and one there and back is none. */
export function autocast(nodes: OnnxNode[], outputs: string[], { device, precision }: Target): OnnxNode[] {
  if (precision === 'fp32') return nodes;
  const type = ElementType[precision === 'fp16' ? 'float16' : 'bfloat16'];
  return new Autocast(type, NATIVE[precision][device]).rewrite(nodes, outputs);
}

class Autocast {
  readonly #type: number;
  readonly #native: readonly string[];
  /** The pass over the graph around this body, and the names that the body makes itself. */
  readonly #outer: Autocast | null;
  readonly #own: ReadonlySet<string>;
  readonly #nodes: OnnxNode[] = [];
  /** The half-precision twin of an fp32 name. */
  readonly #half = new Map<string, string>();
  /** Names of the program that exist only as their twin so far. */
  readonly #onlyHalf = new Set<string>();
  /** fp32 names whose numbers half precision holds exactly. */
  readonly #exact = new Set<string>();
  readonly #rounded = new Map<string, string>();
  readonly #makers = new Map<string, OnnxNode>();
  #next = 0;

  constructor(type: number, native: readonly string[], outer: Autocast | null = null, own = new Set<string>()) {
    this.#type = type;
    this.#native = native;
    this.#outer = outer;
    this.#own = own;
  }

  rewrite(nodes: OnnxNode[], outputs: string[]): OnnxNode[] {
    for (const node of nodes) {
      for (const output of node.outputs) this.#makers.set(output, node);
      if (PRODUCTS.has(node.op)) this.#product(node);
      else if (MOVES.has(node.op)) this.#move(node);
      else this.#plain(node);
    }
    for (const output of outputs) this.#materialise(output);
    return live(this.#nodes, outputs);
  }

  /** Where a name is made, and so where its casts belong: a weight that a body reads is cast once, outside. */
  #home(name: string): Autocast {
    return this.#outer && !this.#own.has(name) ? this.#outer.#home(name) : this;
  }

  #product(node: OnnxNode): void {
    const [output] = node.outputs;
    const result = this.#fresh();
    if (this.#native.includes(node.op)) {
      this.#nodes.push({ ...node, inputs: node.inputs.map((x) => this.#toHalf(x)), outputs: [result] });
    } else {
      const sum = this.#fresh();
      this.#nodes.push({ ...node, inputs: node.inputs.map((x) => this.#round(x)), outputs: [sum] });
      this.#cast(sum, result, this.#type);
    }
    this.#onlyHalf.add(output);
    this.#half.set(output, result);
  }

  #move(node: OnnxNode): void {
    const [data, ...rest] = node.inputs;
    const home = this.#home(data);
    if (this.#native.length === 0 || !home.#onlyHalf.has(data)) {
      this.#plain(node);
      if (home.#exact.has(data)) for (const output of node.outputs) this.#exact.add(output);
      return;
    }
    const outputs = node.outputs.map((output) => {
      const twin = this.#fresh();
      this.#half.set(output, twin);
      this.#onlyHalf.add(output);
      return twin;
    });
    this.#nodes.push({ ...node, inputs: [this.#toHalf(data), ...rest], outputs });
  }

  #plain(node: OnnxNode): void {
    for (const input of node.inputs) this.#materialise(input);
    const { body } = node.attributes ?? {};
    this.#nodes.push(
      isGraph(body) ? { ...node, attributes: { ...node.attributes, body: this.#body(body.graph) } } : node,
    );
  }

  #body(graph: OnnxGraph): { graph: OnnxGraph } {
    const own = [...graph.inputs.map(({ name }) => name), ...graph.nodes.flatMap(({ outputs }) => outputs)];
    const inner = new Autocast(this.#type, this.#native, this, new Set(own));
    const outputs = graph.outputs.map(({ name }) => name);
    return { graph: { ...graph, nodes: inner.rewrite(graph.nodes, outputs) } };
  }

  /** Makes the fp32 name of a value that exists only in half precision. */
  #materialise(name: string): void {
    const home = this.#home(name);
    if (!home.#onlyHalf.delete(name)) return;
    home.#cast(home.#half.get(name) as string, name, ElementType.float32);
    home.#exact.add(name);
  }

  #toHalf(name: string): string {
    const home = this.#home(name);
    let twin = home.#half.get(name);
    if (twin !== undefined || name === '') return twin ?? name;
    twin = this.#fresh();
    home.#half.set(name, twin);
    const maker = home.#makers.get(name);
    // A transpose right before a product is fused with it: the cast goes before the transpose.
    if (maker && (maker.op === 'Transpose' || maker.op === 'Reshape')) {
      const [data, ...rest] = maker.inputs;
      home.#nodes.push({ ...maker, inputs: [home.#toHalf(data), ...rest], outputs: [twin] });
    } else {
      home.#cast(name, twin, this.#type);
    }
    return twin;
  }

  /** An fp32 name that holds a value as half precision would. */
  #round(name: string): string {
    if (name === '') return name;
    this.#materialise(name);
    const home = this.#home(name);
    if (home.#exact.has(name)) return name;
    let rounded = home.#rounded.get(name);
    if (rounded === undefined) {
      rounded = this.#fresh();
      home.#cast(this.#toHalf(name), rounded, ElementType.float32);
      home.#rounded.set(name, rounded);
    }
    return rounded;
  }

  #cast(from: string, to: string, type: number): void {
    this.#nodes.push({ op: 'Cast', inputs: [from], outputs: [to], attributes: { to: { int: type } } });
  }

  #fresh(): string {
    return this.#outer ? this.#outer.#fresh() : `%:h${this.#next++}`;
  }
}

const isGraph = (value?: Attribute): value is { graph: OnnxGraph } => typeof value === 'object' && 'graph' in value;

/** What a node reads, bodies included. */
function reads({ inputs, attributes = {} }: OnnxNode): string[] {
  const inside = Object.values(attributes).flatMap((value) => (isGraph(value) ? value.graph.nodes.flatMap(reads) : []));
  return [...inputs, ...inside];
}

/** Drops what only the fp32 form of a recast transpose needed. */
function live(nodes: OnnxNode[], outputs: string[]): OnnxNode[] {
  const needed = new Set(outputs);
  const kept: OnnxNode[] = [];
  for (const node of [...nodes].reverse()) {
    if (!node.outputs.some((name) => needed.has(name))) continue;
    for (const name of reads(node)) needed.add(name);
    kept.push(node);
  }
  return kept.reverse();
}
