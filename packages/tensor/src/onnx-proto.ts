// The few messages of onnx.proto that a graph needs, written as protobuf wire bytes. Writing only: reading a model is
// the runtime's work. Field numbers are those of onnx/onnx.proto (IR version 9, opset 20).

/** ONNX element types (TensorProto.DataType). */
export const ElementType = { float32: 1, uint8: 2, int32: 6, int64: 7, bool: 9, float16: 10, bfloat16: 16 } as const;
export type ElementTypeName = keyof typeof ElementType;

export type Attribute = number | number[] | string | { int: number } | { ints: number[] } | { graph: OnnxGraph };

export interface OnnxNode {
  op: string;
  inputs: string[];
  outputs: string[];
  domain?: string;
  /** Integers and lists of integers must be wrapped (`{int}`, `{ints}`); bare numbers are floats. */
  attributes?: Record<string, Attribute>;
}

export interface OnnxTensor {
  name: string;
  type: ElementTypeName;
  shape: readonly number[];
  /** The elements, little-endian; or where the runtime finds them. */
  bytes: Uint8Array | ExternalBytes;
}

/** A range of a file. `location` is relative to the folder of the model, which the session is told. */
export interface ExternalBytes {
  location: string;
  offset: number;
  length: number;
}

export interface OnnxValue {
  name: string;
  type: ElementTypeName;
  shape: readonly number[];
}

export interface OnnxGraph {
  name: string;
  nodes: OnnxNode[];
  initializers: OnnxTensor[];
  inputs: OnnxValue[];
  outputs: OnnxValue[];
}

class Writer {
  readonly #chunks: Uint8Array[] = [];
  size = 0;

  #push(bytes: Uint8Array): void {
    this.#chunks.push(bytes);
    this.size += bytes.length;
  }

  #varint(value: bigint): void {
    const bytes: number[] = [];
    let rest = BigInt.asUintN(64, value);
    do {
      const low = Number(rest & 0x7fn);
      rest >>= 7n;
      bytes.push(rest > 0n ? low | 0x80 : low);
    } while (rest > 0n);
    this.#push(Uint8Array.from(bytes));
  }

  #tag(field: number, wire: number): void {
    this.#varint(BigInt((field << 3) | wire));
  }

  int(field: number, value: number): void {
    this.#tag(field, 0);
    this.#varint(BigInt(value));
  }

  float(field: number, value: number): void {
    this.#tag(field, 5);
    this.#push(new Uint8Array(Float32Array.of(value).buffer));
  }

  bytes(field: number, value: Uint8Array): void {
    this.#tag(field, 2);
    this.#varint(BigInt(value.length));
    this.#push(value);
  }

  string(field: number, value: string): void {
    this.bytes(field, new TextEncoder().encode(value));
  }

  message(field: number, write: (inner: Writer) => void): void {
    const inner = new Writer();
    write(inner);
    this.#tag(field, 2);
    this.#varint(BigInt(inner.size));
    for (const chunk of inner.#chunks) this.#push(chunk);
  }

  finish(): Uint8Array {
    const out = new Uint8Array(this.size);
    let offset = 0;
    for (const chunk of this.#chunks) {
      out.set(chunk, offset);
      offset += chunk.length;
    }
    return out;
  }
}

function writeAttribute(w: Writer, name: string, value: Attribute): void {
  w.string(1, name);
  if (typeof value === 'number') {
    w.float(2, value);
    w.int(20, 1);
  } else if (typeof value === 'string') {
    w.string(4, value);
    w.int(20, 3);
  } else if (Array.isArray(value)) {
    for (const item of value) w.float(7, item);
    w.int(20, 6);
  } else if ('int' in value) {
    w.int(3, value.int);
    w.int(20, 2);
  } else if ('graph' in value) {
    w.message(6, (g) => writeGraph(g, value.graph));
    w.int(20, 5);
  } else {
    for (const item of value.ints) w.int(8, item);
    w.int(20, 7);
  }
}

function writeValue(w: Writer, value: OnnxValue): void {
  w.string(1, value.name);
  w.message(2, (type) =>
    type.message(1, (tensor) => {
      tensor.int(1, ElementType[value.type]);
      tensor.message(2, (shape) => {
        for (const size of value.shape) shape.message(1, (dim) => dim.int(1, size));
      });
    }),
  );
}

function writeNode(w: Writer, node: OnnxNode, index: number): void {
  for (const input of node.inputs) w.string(1, input);
  for (const output of node.outputs) w.string(2, output);
  w.string(3, `${node.op}_${index}`);
  w.string(4, node.op);
  for (const [name, value] of Object.entries(node.attributes ?? {}))
    w.message(5, (a) => writeAttribute(a, name, value));
  if (node.domain) w.string(7, node.domain);
}

function writeExternal(w: Writer, { location, offset, length }: ExternalBytes): void {
  for (const [key, value] of Object.entries({ location, offset: `${offset}`, length: `${length}` })) {
    w.message(13, (entry) => {
      entry.string(1, key);
      entry.string(2, value);
    });
  }
  w.int(14, 1);
}

function writeGraph(g: Writer, graph: OnnxGraph): void {
  for (const [index, node] of graph.nodes.entries()) g.message(1, (w) => writeNode(w, node, index));
  g.string(2, graph.name);
  for (const tensor of graph.initializers) {
    g.message(5, (w) => {
      for (const size of tensor.shape) w.int(1, size);
      w.int(2, ElementType[tensor.type]);
      w.string(8, tensor.name);
      if (tensor.bytes instanceof Uint8Array) w.bytes(9, tensor.bytes);
      else writeExternal(w, tensor.bytes);
    });
  }
  for (const value of graph.inputs) g.message(11, (w) => writeValue(w, value));
  for (const value of graph.outputs) g.message(12, (w) => writeValue(w, value));
}

/** A serialised ModelProto. Throws nothing; the runtime checks the graph. */
export function encodeModel(graph: OnnxGraph): Uint8Array {
  const model = new Writer();
  model.int(1, 9);
  model.string(2, 'fovea');
  model.message(7, (g) => writeGraph(g, graph));
  model.message(8, (opset) => {
    opset.string(1, '');
    opset.int(2, 20);
  });
  model.message(8, (opset) => {
    opset.string(1, 'com.microsoft');
    opset.int(2, 1);
  });
  return model.finish();
}
