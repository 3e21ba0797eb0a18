// Reader and writer of safetensors (github.com/huggingface/safetensors): an 8-byte length, a JSON header, raw bytes.
// The reader trusts nothing: every rule of the format is checked before a byte is used, and each breach is a sentence.
// Little-endian machines only, as is every machine that Node's compute runtimes run on.

import { FoveaError } from './errors.ts';
import { bfloatToFloat, floatToHalf, halfToFloat } from './half.ts';

/** What a tensor's bytes become in memory. 64-bit integers stay bigint; F16 and BF16 are widened to float32. */
export type TensorData =
  | Float32Array
  | Float64Array
  | Int32Array
  | Uint32Array
  | Int16Array
  | Uint16Array
  | Int8Array
  | Uint8Array
  | BigInt64Array
  | BigUint64Array;

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

const MAX_HEADER = 100_000_000;
const RESERVED = ['__metadata__', '__proto__'];

interface DType {
  bytes: number;
  read(slice: ArrayBuffer): TensorData;
}

const DTYPES = new Map<string, DType>([
  ['F64', { bytes: 8, read: (slice) => new Float64Array(slice) }],
  ['F32', { bytes: 4, read: (slice) => new Float32Array(slice) }],
  ['F16', { bytes: 2, read: (slice) => halfToFloat(new Uint16Array(slice)) }],
  ['BF16', { bytes: 2, read: (slice) => bfloatToFloat(new Uint16Array(slice)) }],
  ['I64', { bytes: 8, read: (slice) => new BigInt64Array(slice) }],
  ['U64', { bytes: 8, read: (slice) => new BigUint64Array(slice) }],
  ['I32', { bytes: 4, read: (slice) => new Int32Array(slice) }],
  ['U32', { bytes: 4, read: (slice) => new Uint32Array(slice) }],
  ['I16', { bytes: 2, read: (slice) => new Int16Array(slice) }],
  ['U16', { bytes: 2, read: (slice) => new Uint16Array(slice) }],
  ['I8', { bytes: 1, read: (slice) => new Int8Array(slice) }],
  ['U8', { bytes: 1, read: (slice) => new Uint8Array(slice) }],
  ['BOOL', { bytes: 1, read: (slice) => new Uint8Array(slice) }],
]);

/** Writes tensors as safetensors. Names are sorted, so the same tensors give the same bytes whatever their order. */
export function encodeSafetensors(
  tensors: Map<string, { shape: number[]; data: Float32Array | Int32Array }>,
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
    const dtype = half ? 'F16' : data instanceof Float32Array ? 'F32' : 'I32';
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
  const fail: Fail = (why) => {
    throw new FoveaError(`The safetensors data of ${where} is not valid: ${why}; get a good copy of it.`);
  };
  const { header, start } = readHeader(bytes, fail);
  const metadata = readMetadata(header, fail);
  const entries = Object.keys(header)
    .filter((name) => name !== '__metadata__')
    .map((name) => readEntry(name, header[name], fail))
    .sort((a, b) => a.begin - b.begin || a.end - b.end);
  checkContiguous(entries, bytes.byteLength - start, fail);
  const tensors = new Map<string, DecodedTensor>();
  for (const { name, dtype, shape, begin, end } of entries) {
    const at = bytes.byteOffset + start;
    const data = DTYPES.get(dtype)!.read(bytes.buffer.slice(at + begin, at + end) as ArrayBuffer);
    if (!options.allowNonFinite) checkFinite(name, data, fail);
    tensors.set(name, { dtype, shape, data });
  }
  return { tensors, metadata };
}

type Fail = (why: string) => never;
type Header = Record<string, unknown>;

interface Entry {
  name: string;
  dtype: string;
  shape: number[];
  begin: number;
  end: number;
}

function readHeader(bytes: Uint8Array, fail: Fail): { header: Header; start: number } {
  if (bytes.byteLength < 8) fail(`it has ${bytes.byteLength} bytes, and the length of its header alone takes 8`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = view.getBigUint64(0, true);
  if (length > BigInt(MAX_HEADER)) fail(`its header claims ${length} bytes, and ${MAX_HEADER} is the limit`);
  const start = 8 + Number(length);
  if (start > bytes.byteLength) fail(`its header claims ${length} bytes, but only ${bytes.byteLength - 8} follow`);
  if (bytes[8] !== 0x7b || length === 0n) fail('its header does not start with "{"');
  let text = '';
  let header: unknown;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(8, start));
    header = JSON.parse(text);
  } catch {
    fail('its header is not JSON in UTF-8');
  }
  if (countKeys(text) !== countParsedKeys(header)) fail('its header has the same key twice');
  return { header: header as Header, start };
}

/** Keys in JSON text that is known to parse: strings that a colon follows. */
function countKeys(text: string): number {
  let count = 0;
  for (let i = 0; i < text.length; i++) {
    if (text[i] !== '"') continue;
    for (i++; text[i] !== '"'; i++) if (text[i] === '\\') i++;
    let next = i + 1;
    while (next < text.length && ' \n\r\t'.includes(text[next])) next++;
    if (text[next] === ':') count++;
  }
  return count;
}

function countParsedKeys(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0;
  if (Array.isArray(value)) return value.reduce<number>((sum, item) => sum + countParsedKeys(item), 0);
  const keys = Object.keys(value);
  return keys.reduce((sum, key) => sum + countParsedKeys((value as Header)[key]), keys.length);
}

function readMetadata(header: Header, fail: Fail): Record<string, string> {
  const out: Record<string, string> = Object.create(null);
  if (!Object.hasOwn(header, '__metadata__')) return out;
  const metadata = header.__metadata__;
  if (typeof metadata !== 'object' || metadata === null || Array.isArray(metadata))
    fail('its __metadata__ is no object');
  for (const [key, value] of Object.entries(metadata as Header)) {
    if (typeof value !== 'string') fail(`its __metadata__ entry "${key}" is no string`);
    out[key] = value as string;
  }
  return out;
}

function readEntry(name: string, value: unknown, fail: Fail): Entry {
  if (name === '__proto__') fail('it has a tensor named "__proto__"');
  const entry = value as { dtype?: unknown; shape?: unknown; data_offsets?: unknown } | null;
  if (typeof entry !== 'object' || entry === null) fail(`the entry of tensor "${name}" is no object`);
  const { dtype, shape, data_offsets: offsets } = entry!;
  const isSize = (size: unknown) => Number.isSafeInteger(size) && (size as number) >= 0;
  if (typeof dtype !== 'string' || !DTYPES.has(dtype))
    fail(`tensor "${name}" has the dtype ${JSON.stringify(dtype)}, which Fovea does not read`);
  if (!Array.isArray(shape) || !shape.every(isSize)) fail(`tensor "${name}" has no valid shape`);
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isSize))
    fail(`tensor "${name}" has no valid data_offsets`);
  const [begin, end] = offsets as [number, number];
  const wanted = (shape as number[]).reduce(
    (size, side) => size * BigInt(side),
    BigInt(DTYPES.get(dtype as string)!.bytes),
  );
  if (begin > end || wanted !== BigInt(end - begin)) {
    fail(
      `tensor "${name}" of ${dtype} [${(shape as number[]).join(', ')}] needs ${wanted} bytes and has offsets ${begin} to ${end}`,
    );
  }
  return { name, dtype: dtype as string, shape: shape as number[], begin, end };
}

function checkContiguous(entries: Entry[], size: number, fail: Fail): void {
  let at = 0;
  for (const { name, begin, end } of entries) {
    if (begin !== at) fail(`tensor "${name}" begins at byte ${begin}, where ${at} is next: a hole or an overlap`);
    at = end;
  }
  if (at !== size) fail(`its tensors end at byte ${at} of ${size}`);
}

function checkFinite(name: string, data: TensorData, fail: Fail): void {
  if (!(data instanceof Float32Array || data instanceof Float64Array)) return;
  for (let i = 0; i < data.length; i++) {
    if (!Number.isFinite(data[i])) fail(`tensor "${name}" holds ${data[i]} at index ${i}`);
  }
}

function checkWritable(name: string, shape: number[], length: number): void {
  if (RESERVED.includes(name)) throw new TypeError(`no tensor can be named ${name}`);
  const size = shape.reduce((product, side) => product * side, 1);
  if (size !== length) throw new TypeError(`tensor ${name}: shape [${shape}] holds ${size} values, data has ${length}`);
}

function assemble(header: Header, parts: Uint8Array[], dataSize: number): Uint8Array {
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
