// Counter-based randomness: Philox 4×32-10 (Salmon et al., SC'11, "Parallel random numbers: as easy as 1, 2, 3").
// A draw depends on (seed, stream, step, index) alone, never on call order, batch size or which machine asks, so a
// restarted or sharded run sees the same noise. Not for secrets.

const M0 = 0xd2511f53;
const M1 = 0xcd9e8d57;
const W0 = 0x9e3779b9;
const W1 = 0xbb67ae85;

/** High 32 bits of a 32 × 32 product, in 16-bit halves: every partial sum is an exact double below 2³². */
function mulhi(a: number, b: number): number {
  const al = a & 0xffff;
  const ah = a >>> 16;
  const bl = b & 0xffff;
  const bh = b >>> 16;
  const t = ah * bl + ((al * bl) >>> 16);
  const w = al * bh + (t & 0xffff);
  return (ah * bh + (t >>> 16) + (w >>> 16)) >>> 0;
}

/** The block most lately computed; shared so that filling a picture with noise allocates nothing. */
const words = new Uint32Array(4);

function philoxInto(c0: number, c1: number, c2: number, c3: number, k0: number, k1: number): void {
  for (let round = 0; round < 10; round++) {
    const hi0 = mulhi(M0, c0);
    const lo0 = Math.imul(M0, c0) >>> 0;
    const hi1 = mulhi(M1, c2);
    const lo1 = Math.imul(M1, c2) >>> 0;
    c0 = (hi1 ^ c1 ^ k0) >>> 0;
    c1 = lo1;
    c2 = (hi0 ^ c3 ^ k1) >>> 0;
    c3 = lo0;
    k0 = (k0 + W0) >>> 0;
    k1 = (k1 + W1) >>> 0;
  }
  words[0] = c0;
  words[1] = c1;
  words[2] = c2;
  words[3] = c3;
}

/** One Philox 4×32-10 block: 128 bits of counter under 64 bits of key, four 32-bit words out. */
export function philox4x32([c0, c1, c2, c3]: readonly number[], [k0, k1]: readonly number[]): number[] {
  philoxInto(c0, c1, c2, c3, k0, k1);
  return [...words];
}

/** FNV-1a over UTF-16 units: names a stream of draws by a 32-bit key word. */
function streamKey(name: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < name.length; i++) h = Math.imul(h ^ name.charCodeAt(i), 0x01000193);
  return h >>> 0;
}

/** A sequence of draws that belongs to one (seed, stream, step, index). */
export interface Rng {
  /** Uniform integer in [0, 2³²). */
  uint32(): number;
  /** Uniform in [0, 1) with 24 bits, exact in fp32. */
  uniform(): number;
  /** Uniform in [low, high). */
  between(low: number, high: number): number;
  /** Uniform integer in [0, n). */
  int(n: number): number;
  /** Standard normal (Box–Muller). */
  normal(): number;
}

/** Opens the draws of one sample. `seed`, `step` and `index` are non-negative integers below 2³². */
export function philox(seed: number, stream: string, step = 0, index = 0): Rng {
  const key = streamKey(stream);
  const drawn = new Uint32Array(4);
  let block = 0;
  let next = 4;
  let spare: number | null = null;
  const rng: Rng = {
    uint32() {
      if (next === 4) {
        philoxInto(block++, index >>> 0, step >>> 0, 0, seed >>> 0, key);
        drawn.set(words);
        next = 0;
      }
      return drawn[next++];
    },
    uniform: () => (rng.uint32() >>> 8) / 0x1000000,
    between: (low, high) => low + (high - low) * rng.uniform(),
    int: (n) => Math.floor((rng.uint32() / 0x100000000) * n),
    normal() {
      if (spare !== null) {
        const value = spare;
        spare = null;
        return value;
      }
      const radius = Math.sqrt(-2 * Math.log((rng.uint32() + 1) / 0x100000001));
      const angle = 2 * Math.PI * rng.uniform();
      spare = radius * Math.sin(angle);
      return radius * Math.cos(angle);
    },
  };
  return rng;
}

/** A permutation of 0..n−1 (Fisher–Yates) that belongs to (seed, stream, step). */
export function permutation(n: number, seed: number, stream: string, step = 0): Int32Array {
  const rng = philox(seed, stream, step);
  const order = Int32Array.from({ length: n }, (_, i) => i);
  for (let i = n - 1; i > 0; i--) {
    const j = rng.int(i + 1);
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

/** Fills out[offset .. offset + count) with the standard normals of (seed, stream, step, index): one picture's noise. */
export function fillNormal(
  out: Float32Array,
  offset: number,
  count: number,
  seed: number,
  stream: string,
  step: number,
  index: number,
): void {
  const key = streamKey(stream);
  for (let i = 0; i < count; i += 4) {
    philoxInto(i >>> 2, index >>> 0, step >>> 0, 1, seed >>> 0, key);
    for (let pair = 0; pair < 4 && i + pair < count; pair += 2) {
      const radius = Math.sqrt(-2 * Math.log((words[pair] + 1) / 0x100000001));
      const angle = 2 * Math.PI * (words[pair + 1] / 0x100000000);
      out[offset + i + pair] = radius * Math.cos(angle);
      if (i + pair + 1 < count) out[offset + i + pair + 1] = radius * Math.sin(angle);
    }
  }
}

/** Fills `out` with uniform integers in [0, 2³²) of (seed, stream, step, index): what a whole picture draws, at once. */
export function fillUint32(out: Uint32Array, seed: number, stream: string, step = 0, index = 0): void {
  const key = streamKey(stream);
  for (let i = 0; i < out.length; i += 4) {
    philoxInto(i >>> 2, index >>> 0, step >>> 0, 2, seed >>> 0, key);
    for (let word = 0; word < 4 && i + word < out.length; word++) out[i + word] = words[word];
  }
}
