// From pictures to right or wrong: features once per picture in chunks, then dot products with the class names. Every
// number depends on its own picture alone, so order and chunking cannot change it.

import type { ImageTextEncoder, Progress } from './image-text-encoder.ts';
import type { EvalPlan } from './plan.ts';

/** Pictures that are rendered and encoded together. */
export const CHUNK = 256;

export interface RunOptions {
  progress?: (event: Progress) => void;
  signal?: AbortSignal;
}

type Pictures = Pick<EvalPlan, 'imageSize' | 'render'>;

/**
 * Features of pictures first … first + count − 1: [count, dim]. Yields to the event loop between chunks so that a stop request is heard.
 */
export async function featuresOf(
  subject: ImageTextEncoder,
  pictures: Pictures,
  first: number,
  count: number,
  options: RunOptions = {},
): Promise<Float32Array> {
  const features = new Float32Array(count * subject.dim);
  await eachChunk(pictures, first, count, options, async (pixels, at, n) => {
    const chunk = await subject.imageFeatures(pixels, n);
    if (chunk.length !== n * subject.dim) {
      throw new Error(`imageFeatures gave ${chunk.length} numbers for ${n} pictures of dimension ${subject.dim}.`);
    }
    features.set(chunk, (at - first) * subject.dim);
  });
  return features;
}

/** Renders the pictures chunk by chunk; `at` is the number of a chunk's first picture. */
export async function eachChunk(
  pictures: Pictures,
  first: number,
  count: number,
  options: RunOptions,
  use: (pixels: Float32Array, at: number, n: number) => Promise<void> | void,
): Promise<void> {
  const size = 3 * pictures.imageSize ** 2;
  const pixels = new Float32Array(Math.min(CHUNK, count) * size);
  for (let done = 0; done < count; done += CHUNK) {
    options.signal?.throwIfAborted();
    const n = Math.min(CHUNK, count - done);
    const view = pixels.subarray(0, n * size);
    await pictures.render(first + done, n, view);
    await use(view, first + done, n);
    options.progress?.({ step: done + n, steps: count });
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
}

/** Class-name features of a subject, checked: [classes, dim]. */
export async function namesOf(subject: ImageTextEncoder, classes: string[]): Promise<Float32Array> {
  const names = await subject.textFeatures(classes);
  if (names.length !== classes.length * subject.dim) {
    throw new Error(
      `textFeatures gave ${names.length} numbers for ${classes.length} names of dimension ${subject.dim}.`,
    );
  }
  return names;
}

/** Best wrong class of every picture and by how much the right one beats it; the first of equals, NaN margins kept. */
export function hardestWrong(
  features: Float32Array,
  names: Float32Array,
  dim: number,
  gold: ArrayLike<number>,
): { wrong: Int32Array; margin: Float64Array } {
  const n = features.length / dim;
  const classes = names.length / dim;
  const wrong = new Int32Array(n);
  const margin = new Float64Array(n);
  const scores = new Float64Array(classes);
  for (let i = 0; i < n; i++) {
    similarities(features, i * dim, names, dim, classes, scores);
    let best = gold[i] === 0 ? 1 : 0;
    for (let c = 0; c < classes; c++) if (c !== gold[i] && scores[c] > scores[best]) best = c;
    wrong[i] = best;
    margin[i] = scores[gold[i]] - scores[best];
  }
  return { wrong, margin };
}

/** Dot products of one picture with all names. Four names at a time share the loads; each sum has its own fixed order. */
export function similarities(
  features: Float32Array,
  at: number,
  names: Float32Array,
  dim: number,
  classes: number,
  out: Float64Array,
): void {
  let c = 0;
  for (; c + 4 <= classes; c += 4) {
    const base = c * dim;
    let s0 = 0;
    let s1 = 0;
    let s2 = 0;
    let s3 = 0;
    for (let k = 0; k < dim; k++) {
      const f = features[at + k];
      s0 += f * names[base + k];
      s1 += f * names[base + dim + k];
      s2 += f * names[base + 2 * dim + k];
      s3 += f * names[base + 3 * dim + k];
    }
    out[c] = s0;
    out[c + 1] = s1;
    out[c + 2] = s2;
    out[c + 3] = s3;
  }
  for (; c < classes; c++) out[c] = dot(features, at, names, c * dim, dim);
}

function dot(a: Float32Array, at: number, b: Float32Array, bt: number, dim: number): number {
  let sum = 0;
  for (let k = 0; k < dim; k++) sum += a[at + k] * b[bt + k];
  return sum;
}

export interface ItemScores {
  /** 1 where the right name beats every other; a tie is wrong. */
  top1: Uint8Array;
  /** 1 where the right name beats the foil; a tie is wrong. */
  twoway: Uint8Array;
  /** Pictures whose features are not finite; they count as wrong. */
  errors: Int32Array;
}

/** Scores of all items from their features [n, dim] and the names' [classes, dim]. */
export function scoreItems(
  features: Float32Array,
  names: Float32Array,
  dim: number,
  gold: ArrayLike<number>,
  foils: ArrayLike<number>,
): ItemScores {
  const n = features.length / dim;
  const { margin } = hardestWrong(features, names, dim, gold);
  const top1 = new Uint8Array(n);
  const twoway = new Uint8Array(n);
  const errors: number[] = [];
  for (let i = 0; i < n; i++) {
    top1[i] = margin[i] > 0 ? 1 : 0;
    const right = dot(features, i * dim, names, gold[i] * dim, dim);
    const wrong = dot(features, i * dim, names, foils[i] * dim, dim);
    twoway[i] = right > wrong ? 1 : 0;
    if (!Number.isFinite(right)) errors.push(i);
  }
  return { top1, twoway, errors: Int32Array.from(errors) };
}
