// Writes tensors as safetensors, for scripts that need no packages built.

/** `tensors`: [name, {shape, data: Float32Array}]. */
export const safetensors = (tensors) => Buffer.concat([...safetensorsParts(tensors)]);

/** The same piece by piece, so that a large file need not be in memory. `data` may be a function that makes it. */
export function* safetensorsParts(tensors) {
  let offset = 0;
  const header = {};
  for (const [name, { shape }] of tensors) {
    const bytes = 4 * shape.reduce((size, side) => size * side, 1);
    header[name] = { dtype: 'F32', shape, data_offsets: [offset, offset + bytes] };
    offset += bytes;
  }
  const json = Buffer.from(JSON.stringify(header));
  const padded = Buffer.concat([json, Buffer.alloc((8 - (json.length % 8)) % 8, ' ')]);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));
  yield length;
  yield padded;
  for (const [, { data }] of tensors) {
    const made = typeof data === 'function' ? data() : data;
    yield Buffer.from(made.buffer, made.byteOffset, made.byteLength);
  }
}
