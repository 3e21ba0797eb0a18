// The bytes of a TensorBoard event file: frames of TFRecord (length, payload, each with a masked CRC-32C) and the fields
// of tensorflow.Event and tensorflow.Summary that scalars need, as protobuf wire bytes. Knows no file and no run.

export interface Scalar {
  tag: string;
  value: number;
}

const CRC32C = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  return crc >>> 0;
});

/** CRC-32C (Castagnoli), as RFC 3720 has it. */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = CRC32C[(crc ^ byte) & 0xff] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

/** TFRecord's mask, which keeps the checksum of bytes that hold a checksum from being a fixed point. */
export function maskedCrc32c(bytes: Uint8Array): number {
  const crc = crc32c(bytes);
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

/** u64 length, its masked CRC, the payload, its masked CRC; little-endian. */
export function toFrame(payload: Uint8Array): Buffer {
  const frame = Buffer.alloc(payload.length + 16);
  frame.writeBigUInt64LE(BigInt(payload.length), 0);
  frame.writeUInt32LE(maskedCrc32c(frame.subarray(0, 8)), 8);
  frame.set(payload, 12);
  frame.writeUInt32LE(maskedCrc32c(payload), payload.length + 12);
  return frame;
}

/** The payloads of a file, up to its end or to the first frame that is torn or damaged. */
export function* framesOf(file: Buffer): Generator<Buffer> {
  for (let at = 0; at + 16 <= file.length; ) {
    if (file.readUInt32LE(at + 8) !== maskedCrc32c(file.subarray(at, at + 8))) return;
    const length = Number(file.readBigUInt64LE(at));
    const end = at + 12 + length;
    if (end + 4 > file.length) return;
    const payload = file.subarray(at + 12, end);
    if (file.readUInt32LE(end) !== maskedCrc32c(payload)) return;
    yield payload;
    at = end + 4;
  }
}

const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;
const FIXED32 = 5;

/** Event {1: wall_time, 3: file_version}, which every file starts with. */
export const encodeVersion = (seconds: number): Buffer =>
  Buffer.concat([double(1, seconds), bytes(3, Buffer.from('brain.Event:2'))]);

/** Event {1: wall_time in seconds, 2: step, 5: Summary {1: Value {1: tag, 2: simple_value as float}}}. */
export function encodeScalars(seconds: number, step: number, scalars: readonly Scalar[]): Buffer {
  const values = scalars.map(({ tag, value }) =>
    bytes(1, Buffer.concat([bytes(1, Buffer.from(tag)), float(2, value)])),
  );
  return Buffer.concat([double(1, seconds), varint((2 << 3) | VARINT), varint(step), bytes(5, Buffer.concat(values))]);
}

/** What {@link encodeScalars} wrote; other events give no values. Throws RangeError for bytes that are no message. */
export function decodeScalars(event: Buffer): { step: number; values: Scalar[] } {
  let step = 0;
  const values: Scalar[] = [];
  for (const [field, content] of fieldsOf(event)) {
    if (field === 2 && typeof content === 'number') step = content;
    if (field !== 5 || typeof content === 'number') continue;
    for (const [inner, value] of fieldsOf(content)) {
      if (inner !== 1 || typeof value === 'number') continue;
      const parts = new Map(fieldsOf(value));
      const [tag, simple] = [parts.get(1), parts.get(2)];
      if (Buffer.isBuffer(tag) && Buffer.isBuffer(simple))
        values.push({ tag: String(tag), value: simple.readFloatLE() });
    }
  }
  return { step, values };
}

/** Field numbers with their contents: a varint as a number, everything else as its bytes. */
function* fieldsOf(message: Buffer): Generator<[number, number | Buffer]> {
  let at = 0;
  const readVarint = (): number => {
    for (let value = 0, scale = 1; ; scale *= 128) {
      const byte = message.readUInt8(at++);
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
  };
  while (at < message.length) {
    const key = readVarint();
    const kind = key & 7;
    if (kind === VARINT) {
      yield [key >>> 3, readVarint()];
      continue;
    }
    const size = kind === FIXED64 ? 8 : kind === FIXED32 ? 4 : kind === BYTES ? readVarint() : Number.NaN;
    if (!(at + size <= message.length)) throw new RangeError('not a protobuf message');
    yield [key >>> 3, message.subarray(at, at + size)];
    at += size;
  }
}

/** A whole number of 0 … 2^53 − 1. */
function varint(value: number): Buffer {
  const out: number[] = [];
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) out.push((rest % 128) | 128);
  return Buffer.from([...out, rest]);
}

const bytes = (field: number, content: Buffer): Buffer =>
  Buffer.concat([varint((field << 3) | BYTES), varint(content.length), content]);

function double(field: number, value: number): Buffer {
  const out = Buffer.alloc(9);
  out[0] = (field << 3) | FIXED64;
  out.writeDoubleLE(value, 1);
  return out;
}

function float(field: number, value: number): Buffer {
  const out = Buffer.alloc(5);
  out[0] = (field << 3) | FIXED32;
  out.writeFloatLE(value, 1);
  return out;
}
