// Reader and writer of safetensors (github.com/huggingface/safetensors): an 8-byte length, a JSON header, raw bytes.
// The reader trusts nothing: every rule of the format is checked (safetensors-format.ts) before a byte is used, and each
// breach is a sentence. It holds the whole file in memory; params.ts reads tensors of large files one by one.
// Little-endian machines only, as is every machine that Node's compute runtimes run on.

import { floatToHalf } from './half.ts';
import { checkFinite, DTYPES, dataStart, failing, PREFIX, parseHeader, type TensorData } from './safetensors-format.ts';

export type { TensorData } from './safetensors-format.ts';

export interface DecodedTensor {
  /** As written in the file: F32, F16, BF16, I32, … */
  dtype: string;
  shape: number[];
  data: TensorData;
}

export interface EncodeOptions {
  metadata?: Record<string, string>;
  /** How float data is written. @defaultValue 'F32' */
  dtype?: 'F32' | 'F16';
}

export interface DecodeOptions {
  /** Lets NaN and infinities pass, which the format allows and weights never hold. @defaultValue false */
  allowNonFinite?: boolean;
}

const RESERVED = ['__metadata__', '__proto__'];

/** Writes tensors as safetensors. Names are sorted, so the same tensors give the same bytes whatever their order. */
export function encodeSafetensors(
  tensors: Map<string, { shape: number[]; data: Float32Array | Int32Array | Int8Array }>,
  options: EncodeOptions = {},
): Uint8Array {
  const header: [string, unknown][] = [];
  if (options.metadata) header.push(['__metadata__', Object.fromEntries(Object.entries(options.metadata).sort(byKey))]);
  const parts: Uint8Array[] = [];
  let offset = 0;
  for (const [name, { shape, data }] of [...tensors].sort(byKey)) {
    checkWritable(name, shape, data.length);
    const half = options.dtype === 'F16' && data instanceof Float32Array;
    const words = half ? floatToHalf(data) : data;
    const dtype = half ? 'F16' : data instanceof Float32Array ? 'F32' : data instanceof Int8Array ? 'I8' : 'I32';
    header.push([name, { dtype, shape, data_offsets: [offset, offset + words.byteLength] }]);
    parts.push(new Uint8Array(words.buffer, words.byteOffset, words.byteLength));
    offset += words.byteLength;
  }
  return assemble(Object.fromEntries(header), parts, offset);
}

/**
 * Reads safetensors bytes; `where` names them in errors ("weights of checkpoint 3f2a…", a file's name).
 * Data is copied out, so the bytes may be changed or dropped afterwards. Any breach of the format is a FoveaError.
 */
export function decodeSafetensors(
  bytes: Uint8Array,
  where: string,
  options: DecodeOptions = {},
): { tensors: Map<string, DecodedTensor>; metadata: Record<string, string> } {
  const fail = failing(where);
  const start = dataStart(bytes, bytes.byteLength, fail);
  const { entries, metadata } = parseHeader(bytes.subarray(PREFIX, start), bytes.byteLength - start, fail);
  const tensors = new Map<string, DecodedTensor>();
  for (const { name, dtype, shape, begin, end } of entries) {
    const at = bytes.byteOffset + start;
    const data = DTYPES.get(dtype)!.read(bytes.buffer.slice(at + begin, at + end) as ArrayBuffer);
    if (!options.allowNonFinite) checkFinite(name, data, fail);
    tensors.set(name, { dtype, shape, data });
  }
  return { tensors, metadata };
}

function checkWritable(name: string, shape: number[], length: number): void {
  if (RESERVED.includes(name)) throw new TypeError(`no tensor can be named ${name}`);
  const size = shape.reduce((product, side) => product * side, 1);
  if (size !== length) throw new TypeError(`tensor ${name}: shape [${shape}] holds ${size} values, data has ${length}`);
}

function assemble(header: Record<string, unknown>, parts: Uint8Array[], dataSize: number): Uint8Array {
  const json = new TextEncoder().encode(JSON.stringify(header));
  // Padded to 8 bytes, as the reference writer does, so that the data can be mapped in place.
  const length = Math.ceil(json.byteLength / 8) * 8;
  const out = new Uint8Array(8 + length + dataSize).fill(0x20, 8, 8 + length);
  new DataView(out.buffer).setBigUint64(0, BigInt(length), true);
  out.set(json, 8);
  let at = 8 + length;
  for (const part of parts) {
    out.set(part, at);
    at += part.byteLength;
  }
  return out;
}

function byKey([a]: [string, unknown], [b]: [string, unknown]): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
