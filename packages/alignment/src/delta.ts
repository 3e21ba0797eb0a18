// How a shard's move travels: as fp32, fp16, or int8 with a scale per row, in safetensors. The codes that round keep
// what they rounded away, the residual, and add it to the next move (error feedback: Seide et al. 2014; Karimireddy et
// al. 2019, arXiv 1901.09847, algorithm 2), so that over the rounds nothing is lost. Pure functions of bytes and tensors.

import { decodeSafetensors, encodeSafetensors, FoveaError, floatToHalf, halfToFloat } from '@fovea/artifacts';
import type { Weights } from '@fovea/models';
import type { Recipe } from '@fovea/recipe';

export type DeltaCodec = Recipe['shards']['delta'];

export interface EncodedDelta {
  bytes: Uint8Array;
  /** What {@link decodeDelta} will not give back: delta + last residual − decoded. Empty for fp32, which is exact. */
  residual: Weights;
}

type Encodable = { shape: number[]; data: Float32Array | Int8Array };

/** Before the names of int8 words and of their scales in the file. */
const WORDS = 'int8/';
const SCALES = 'scale/';
const MAX_HALF = 65504;

/**
 * A move and the last one's residual as bytes. `where` names the shard in the FoveaError for a move that is not finite.
 * int8 has 127 steps either way: the error of an element is at most 1/254 of the largest magnitude of its row.
 */
export function encodeDelta(delta: Weights, codec: DeltaCodec, last: Weights, where: string): EncodedDelta {
  const tensors = new Map<string, Encodable>();
  const residual: Weights = {};
  for (const [name, { shape, data }] of Object.entries(delta)) {
    const bad = data.findIndex((x) => !Number.isFinite(x));
    if (bad >= 0)
      throw new FoveaError(
        `Training diverged: ${where} moved ${name} by ${data[bad]}; lower the stage's lr or raise its warmup.`,
      );
    const owed = last[name]?.data;
    const wanted = owed ? data.map((x, i) => x + owed[i]) : data;
    if (codec === 'fp32') {
      tensors.set(name, { shape, data: wanted });
      continue;
    }
    const sent = codec === 'fp16' ? toHalf(wanted) : toBytes(wanted, rowsOf(shape));
    if (codec === 'fp16') tensors.set(name, { shape, data: sent.decoded });
    else {
      tensors.set(WORDS + name, { shape, data: sent.words as Int8Array });
      tensors.set(SCALES + name, { shape: [rowsOf(shape)], data: sent.scales as Float32Array });
    }
    residual[name] = { shape, data: wanted.map((x, i) => x - sent.decoded[i]) };
  }
  const dtype = codec === 'fp16' ? 'F16' : 'F32';
  return {
    bytes: encodeSafetensors(tensors as Parameters<typeof encodeSafetensors>[0], { dtype, metadata: { codec } }),
    residual,
  };
}

/** The move in the bytes of any codec; a FoveaError where they are no such thing. `where` names them there. */
export function decodeDelta(bytes: Uint8Array, where: string): Weights {
  const { tensors, metadata } = decodeSafetensors(bytes, where);
  const wrong = (why: string) =>
    new FoveaError(`The move of ${where} cannot be used: ${why}; let its shard run again.`);
  const out: Weights = {};
  for (const [name, { shape, data, dtype }] of tensors) {
    if (metadata.codec !== 'int8') {
      if (!(data instanceof Float32Array)) throw wrong(`"${name}" is ${dtype}`);
      out[name] = { shape, data };
    } else if (name.startsWith(WORDS)) {
      const own = name.slice(WORDS.length);
      const scales = tensors.get(SCALES + own)?.data;
      const rows = rowsOf(shape);
      if (!(data instanceof Int8Array)) throw wrong(`"${name}" is ${dtype}`);
      if (!(scales instanceof Float32Array) || scales.length !== rows)
        throw wrong(`"${own}" has no scale for each row`);
      out[own] = { shape, data: fromBytes(data, scales) };
    }
  }
  return out;
}

/** Rows that have a scale of their own: the first dimension's of a matrix or more, else one for all. */
const rowsOf = (shape: number[]): number => (shape.length > 1 ? shape[0] : 1);

interface Sent {
  decoded: Float32Array;
  words?: Int8Array;
  scales?: Float32Array;
}

/** What lies beyond fp16's range is sent by later moves. */
function toHalf(values: Float32Array): Sent {
  const clamped = values.map((x) => Math.min(MAX_HALF, Math.max(-MAX_HALF, x)));
  return { decoded: halfToFloat(floatToHalf(clamped)) };
}

function toBytes(values: Float32Array, rows: number): Sent {
  const width = values.length / Math.max(1, rows);
  const words = new Int8Array(values.length);
  const scales = new Float32Array(rows);
  for (let row = 0; row < rows; row++) {
    const [begin, end] = [row * width, (row + 1) * width];
    let most = 0;
    for (let i = begin; i < end; i++) most = Math.max(most, Math.abs(values[i]));
    scales[row] = most / 127;
    const scale = scales[row];
    if (scale === 0) continue;
    for (let i = begin; i < end; i++) words[i] = Math.max(-127, Math.min(127, Math.round(values[i] / scale)));
  }
  return { decoded: fromBytes(words, scales), words, scales };
}

function fromBytes(words: Int8Array, scales: Float32Array): Float32Array {
  const width = words.length / Math.max(1, scales.length);
  const out = new Float32Array(words.length);
  for (let i = 0; i < out.length; i++) out[i] = words[i] * scales[Math.floor(i / width)];
  return out;
}
