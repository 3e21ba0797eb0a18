// Half-precision floats as 16-bit words: IEEE binary16 (F16) and bfloat16 (BF16), to and from float32.
// Rounding is to nearest, ties to even, as hardware does it.

const scratch = new Float32Array(1);
const scratchBits = new Uint32Array(scratch.buffer);
let table: Float32Array | null = null;

/** F16 words to float32, exactly. [N] -> [N] */
export function halfToFloat(words: Uint16Array): Float32Array {
  table ??= halfTable();
  const out = new Float32Array(words.length);
  for (let i = 0; i < words.length; i++) out[i] = table[words[i]];
  return out;
}

/** BF16 words to float32, exactly. [N] -> [N] */
export function bfloatToFloat(words: Uint16Array): Float32Array {
  const bits = new Uint32Array(words.length);
  for (let i = 0; i < words.length; i++) bits[i] = words[i] << 16;
  return new Float32Array(bits.buffer);
}

/** float32 to F16 words. Magnitudes of 65520 and more become infinite, those under 2^-25 zero. [N] -> [N] */
export function floatToHalf(values: Float32Array): Uint16Array {
  const out = new Uint16Array(values.length);
  for (let i = 0; i < values.length; i++) out[i] = halfOf(values[i]);
  return out;
}

function halfOf(value: number): number {
  scratch[0] = value;
  const bits = scratchBits[0];
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude >= 0x7f800000) return sign | (magnitude > 0x7f800000 ? 0x7e00 : 0x7c00);
  if (magnitude < 0x38800000) {
    // Subnormal: the float's own unit at 2^-24 is what the word counts.
    const scaled = Math.abs(scratch[0]) * 2 ** 24;
    const floor = Math.floor(scaled);
    const rest = scaled - floor;
    const up = rest > 0.5 || (rest === 0.5 && (floor & 1) === 1);
    return sign | (floor + (up ? 1 : 0));
  }
  const rounded = magnitude + 0xfff + ((magnitude >>> 13) & 1);
  const half = (rounded >>> 13) - 0x1c000;
  return sign | Math.min(half, 0x7c00);
}

function halfTable(): Float32Array {
  const out = new Float32Array(65536);
  for (let word = 0; word < 65536; word++) {
    const sign = word & 0x8000 ? -1 : 1;
    const exponent = (word >>> 10) & 0x1f;
    const fraction = word & 0x3ff;
    if (exponent === 31) out[word] = fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
    else if (exponent === 0) out[word] = sign * fraction * 2 ** -24;
    else out[word] = sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  }
  return out;
}
