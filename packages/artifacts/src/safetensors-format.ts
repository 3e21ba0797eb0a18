// The safetensors format, checked before a byte of the data is used: header length, names, types, shapes, and offsets
// that leave no hole and no overlap. It reads bytes it is given; safetensors.ts and params.ts bring them. Its work is
// linear in the header's size whatever the header holds, and its reasons stay short and on one line.

import { FoveaError } from './errors.ts';
import { bfloatToFloat, halfToFloat } from './half.ts';

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

/** Ends the reading with a reason that completes "The file is not valid: …". */
export type Fail = (why: string) => never;

/** Throws the one sentence for data that breaks the format. */
export function failing(where: string): Fail {
  return (why) => {
    throw new FoveaError(`The safetensors data of ${where} is not valid: ${why}; get a good copy of it.`);
  };
}

/** One tensor; `begin` and `end` count from the first byte after the header. */
export interface Entry {
  name: string;
  dtype: string;
  shape: number[];
  begin: number;
  end: number;
}

export interface Header {
  /** In the order of their bytes. */
  entries: Entry[];
  metadata: Record<string, string>;
}

interface DType {
  bytes: number;
  read(slice: ArrayBuffer): TensorData;
}

export const DTYPES = new Map<string, DType>([
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

/** Bytes before the header: its length. */
export const PREFIX = 8;
const MAX_HEADER = 100_000_000;
/** A header nests three deep, an index two. */
const MAX_DEPTH = 16;
/** Brackets and keys together: a tensor has seven. */
const MAX_MARKS = 1_000_000;
/** Far above any model's; keeps the product of the sides a small number of digits. */
const MAX_RANK = 64;

/** Where the data begins, from a file's first 8 bytes (or all it has) and its size. */
export function dataStart(prefix: Uint8Array, fileSize: number, fail: Fail): number {
  if (fileSize < PREFIX) fail(`it has ${fileSize} bytes, and the length of its header alone takes ${PREFIX}`);
  const length = new DataView(prefix.buffer, prefix.byteOffset, PREFIX).getBigUint64(0, true);
  if (length > BigInt(MAX_HEADER))
    fail(`${mistaken(prefix)}its header claims ${length} bytes, and ${MAX_HEADER} is the limit`);
  const start = PREFIX + Number(length);
  if (start > fileSize) fail(`its header claims ${length} bytes, but only ${fileSize - PREFIX} follow`);
  return start;
}

/** What a file with an impossible header length is, if it is one of those that people take for weights. */
function mistaken(prefix: Uint8Array): string {
  const begins = String.fromCharCode(...prefix.subarray(0, PREFIX));
  if (begins === 'version ') return 'it is a Git LFS pointer ("git lfs pull" fetches the file), ';
  if (begins.startsWith('PK\x03\x04') || begins.startsWith('\x80\x02'))
    return "it is one of PyTorch's pickles (safetensors.torch.save_file converts them), ";
  return '';
}

/** The checked header, from its JSON bytes and the number of bytes that follow them. */
export function parseHeader(json: Uint8Array, dataSize: number, fail: Fail): Header {
  if (json[0] !== 0x7b) fail('its header does not start with "{"');
  const header = parseObject(json, 'its header', fail);
  const metadata = readMetadata(header, fail);
  const entries = Object.keys(header)
    .filter((name) => name !== '__metadata__')
    .map((name) => readEntry(name, header[name], fail))
    .sort((a, b) => a.begin - b.begin || a.end - b.end);
  let at = 0;
  for (const { name, begin, end } of entries) {
    if (begin !== at) fail(`tensor ${quote(name)} begins at byte ${begin}, where ${at} is next: a hole or an overlap`);
    at = end;
  }
  if (at !== dataSize) fail(`its tensors end at byte ${at} of ${dataSize}`);
  return { entries, metadata };
}

type Json = Record<string, unknown>;

/** A JSON object from bytes, in which no object has the same key twice. */
export function parseObject(json: Uint8Array, what: string, fail: Fail): Json {
  let text = '';
  let value: unknown;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(json);
  } catch {
    fail(`${what} is not JSON in UTF-8`);
  }
  const keys = countKeys(text, what, fail);
  try {
    value = JSON.parse(text);
  } catch {
    fail(`${what} is not JSON in UTF-8`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) fail(`${what} is no JSON object`);
  if (keys !== countParsedKeys(value)) fail(`${what} has the same key twice`);
  return value as Json;
}

/** Keys in JSON text: strings that a colon follows. Refuses text that would take gigabytes to parse. */
function countKeys(text: string, what: string, fail: Fail): number {
  let keys = 0;
  let brackets = 0;
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    const char = text[i];
    if (char === '{' || char === '[') {
      brackets++;
      if (++depth > MAX_DEPTH) fail(`${what} is nested more than ${MAX_DEPTH} deep`);
    } else if (char === '}' || char === ']') depth--;
    if (char !== '"') continue;
    for (i++; i < text.length && text[i] !== '"'; i++) if (text[i] === '\\') i++;
    let next = i + 1;
    while (next < text.length && ' \n\r\t'.includes(text[next])) next++;
    if (text[next] === ':') keys++;
    if (keys + brackets > MAX_MARKS) fail(`${what} holds more than ${MAX_MARKS} keys and lists`);
  }
  if (keys + brackets > MAX_MARKS) fail(`${what} holds more than ${MAX_MARKS} keys and lists`);
  return keys;
}

function countParsedKeys(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0;
  let count = 0;
  if (!Array.isArray(value)) count += Object.keys(value).length;
  for (const item of Object.values(value)) if (typeof item === 'object') count += countParsedKeys(item);
  return count;
}

function readMetadata(header: Json, fail: Fail): Record<string, string> {
  const out: Record<string, string> = Object.create(null);
  if (!Object.hasOwn(header, '__metadata__')) return out;
  const metadata = header.__metadata__;
  if (typeof metadata !== 'object' || metadata === null || Array.isArray(metadata))
    fail('its __metadata__ is no object');
  for (const [key, value] of Object.entries(metadata as Json)) {
    if (typeof value !== 'string') fail(`its __metadata__ entry ${quote(key)} is no string`);
    out[key] = value as string;
  }
  return out;
}

function readEntry(name: string, value: unknown, fail: Fail): Entry {
  if (name === '__proto__') fail('it has a tensor named "__proto__"');
  if (/\p{Surrogate}/u.test(name)) fail(`it has a tensor named ${quote(name)}, which is no Unicode text`);
  const entry = value as { dtype?: unknown; shape?: unknown; data_offsets?: unknown } | null;
  if (typeof entry !== 'object' || entry === null) fail(`the entry of tensor ${quote(name)} is no object`);
  const { dtype, shape, data_offsets: offsets } = entry!;
  const type = typeof dtype === 'string' ? DTYPES.get(dtype) : undefined;
  if (type === undefined) {
    const found = typeof dtype === 'string' ? `the dtype ${quote(dtype)}, which Fovea does not read` : 'no valid dtype';
    return fail(`tensor ${quote(name)} has ${found}`);
  }
  if (!isSizes(shape) || shape.length > MAX_RANK) return fail(`tensor ${quote(name)} has no valid shape`);
  if (!isSizes(offsets) || offsets.length !== 2) return fail(`tensor ${quote(name)} has no valid data_offsets`);
  const [begin, end] = offsets;
  const wanted = shape.reduce((size, side) => size * BigInt(side), BigInt(type.bytes));
  if (begin > end || wanted !== BigInt(end - begin)) {
    fail(
      `tensor ${quote(name)} of ${dtype} [${shape.slice(0, 8).join(', ')}${shape.length > 8 ? ', …' : ''}] needs ${clip(`${wanted}`)} bytes and has offsets ${begin} to ${end}`,
    );
  }
  return { name, dtype: dtype as string, shape, begin, end };
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0 && !Object.is(size, -0));
}

/** NaN and infinities are legal in the format and never right in weights. */
export function checkFinite(name: string, data: TensorData, fail: Fail): void {
  if (!(data instanceof Float32Array || data instanceof Float64Array)) return;
  for (let i = 0; i < data.length; i++) {
    if (!Number.isFinite(data[i])) fail(`tensor ${quote(name)} holds ${data[i]} at index ${i}`);
  }
}

const clip = (text: string): string => (text.length > 80 ? `${text.slice(0, 80)}…` : text);

/** A name from a file as it may stand in a sentence: quoted, on one line, no longer than a line. */
export const quote = (name: string): string => JSON.stringify(clip(name)).replace(/[\x7f-\x9f\u2028\u2029]/g, '?');

/** The first few of many names. */
export const listNames = (names: string[]): string =>
  names.slice(0, 5).map(quote).join(', ') + (names.length > 5 ? `, … (${names.length} in all)` : '');
