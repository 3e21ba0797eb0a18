// Reads GGUF (llama.cpp's file of weights, version 2 or 3): what it says of the model, and its tensors widened to float32.
// Every length is checked against the file before it is believed. Formats: F32, F16, Q4_1, Q8_0.

/** A file that is not GGUF, or holds what is not read here. */
export class BadGguf extends Error {}

const ARRAY = 9;
const STRING = 8;
const MOST_DIMENSIONS = 4;

/** By GGUF's number of a scalar: how a DataView reads it, and its bytes. */
const SCALARS = {
  0: ['getUint8', 1],
  1: ['getInt8', 1],
  2: ['getUint16', 2],
  3: ['getInt16', 2],
  4: ['getUint32', 4],
  5: ['getInt32', 4],
  6: ['getFloat32', 4],
  7: ['getUint8', 1],
  10: ['getBigUint64', 8],
  11: ['getBigInt64', 8],
  12: ['getFloat64', 8],
};

class Reader {
  at = 0;

  constructor(bytes) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  take(length) {
    if (!(length <= this.bytes.byteLength - this.at)) throw new BadGguf('it ends too early');
    this.at += length;
    return this.at - length;
  }

  scalar(type) {
    const known = SCALARS[type];
    if (!known) throw new BadGguf(`it has a value of type ${type}`);
    const value = this.view[known[0]](this.take(known[1]), true);
    return typeof value === 'bigint' ? Number(value) : value;
  }

  string() {
    const length = this.scalar(10);
    const start = this.take(length);
    return new TextDecoder().decode(this.bytes.subarray(start, start + length));
  }

  value(type) {
    if (type === STRING) return this.string();
    if (type !== ARRAY) return this.scalar(type);
    const [inner, count] = [this.scalar(4), this.scalar(10)];
    if (inner === ARRAY || count > this.bytes.byteLength) throw new BadGguf('it has an array that cannot be');
    return Array.from({ length: count }, () => this.value(inner));
  }
}

/** Numbers in a block of each format, its bytes, and what writes its numbers to `out` from `at`. */
const FORMATS = {
  0: { numbers: 1, bytes: 4, widen: (view, from, out, at) => (out[at] = view.getFloat32(from, true)) },
  1: { numbers: 1, bytes: 2, widen: (view, from, out, at) => (out[at] = half(view.getUint16(from, true))) },
  3: { numbers: 32, bytes: 20, widen: q4_1 },
  8: { numbers: 32, bytes: 34, widen: q8_0 },
};

/** Scale and least value in half precision, then 16 bytes: the low halves are the first 16 numbers. */
function q4_1(view, from, out, at) {
  const [scale, least] = [half(view.getUint16(from, true)), half(view.getUint16(from + 2, true))];
  for (let i = 0; i < 16; i++) {
    const pair = view.getUint8(from + 4 + i);
    out[at + i] = scale * (pair & 15) + least;
    out[at + i + 16] = scale * (pair >> 4) + least;
  }
}

function q8_0(view, from, out, at) {
  const scale = half(view.getUint16(from, true));
  for (let i = 0; i < 32; i++) out[at + i] = scale * view.getInt8(from + 2 + i);
}

function half(word) {
  const [exponent, fraction] = [(word >> 10) & 31, word & 1023];
  const size = exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15);
  return word & 0x8000 ? -size : size;
}

/** -> {about: values by key, tensors: by name {shape, row-major, and data(): Float32Array}}. Throws a {@link BadGguf}. */
export function readGguf(bytes) {
  const reader = new Reader(bytes);
  if (bytes.subarray(reader.take(4), 4).toString('latin1') !== 'GGUF') throw new BadGguf('it is no GGUF');
  const version = reader.scalar(4);
  if (version !== 2 && version !== 3) throw new BadGguf(`it is of version ${version}`);
  const [count, keys] = [reader.scalar(10), reader.scalar(10)];
  if (Math.max(count, keys) > bytes.byteLength) throw new BadGguf('it ends too early');
  const about = Object.create(null);
  for (let i = 0; i < keys; i++) {
    const key = reader.string();
    about[key] = reader.value(reader.scalar(4));
  }
  const listed = Array.from({ length: count }, () => {
    const [name, rank] = [reader.string(), reader.scalar(4)];
    if (rank > MOST_DIMENSIONS) throw new BadGguf(`its tensor ${name} has ${rank} dimensions`);
    const sides = Array.from({ length: rank }, () => reader.scalar(10));
    return { name, shape: sides.reverse(), type: reader.scalar(4), offset: reader.scalar(10) };
  });
  const align = about['general.alignment'] ?? 32;
  const start = Math.ceil(reader.at / align) * align;
  const tensors = new Map(listed.map((tensor) => [tensor.name, located(reader, tensor, start)]));
  return { about, tensors };
}

function located(reader, { name, shape, type, offset }, start) {
  const format = FORMATS[type];
  if (!format) throw new BadGguf(`its tensor ${name} is in a format (${type}) that is not read`);
  const size = shape.reduce((product, side) => product * side, 1);
  const blocks = size / format.numbers;
  const from = start + offset;
  if (!Number.isSafeInteger(blocks) || !(from + blocks * format.bytes <= reader.bytes.byteLength))
    throw new BadGguf(`its tensor ${name} does not lie in it`);
  const data = () => {
    const out = new Float32Array(size);
    for (let i = 0; i < blocks; i++) format.widen(reader.view, from + i * format.bytes, out, i * format.numbers);
    return out;
  };
  return { shape, data };
}
