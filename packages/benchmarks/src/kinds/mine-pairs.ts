// Finds CLIP-blind pairs (Tong et al., CVPR 2024): two pictures that one encoder takes for nearly the same and another tells
// apart. Works on features that are there already, block by block and exactly; what comes out depends on no block size.
// Where the pictures' classes are known, the pairs become questions in MMVP-VLM's form.

import { FoveaError, sha256Hex } from '@fovea/artifacts';
import { z } from 'zod';
import type { Draft } from '../suite/draft.ts';
import { cleanName, ROBUSTVQA_TEXT_TEMPLATE } from './robustvqa-questions.ts';
import type { PictureFacts } from './user-files.ts';

export const minePairsSchema = z.strictObject({
  /** Least cosine of the encoder that confuses them. */
  above: z.number().gt(-1).lt(1).default(0.95),
  /** Cosines of the encoder that tells them apart are below this. */
  below: z.number().gt(-1).max(1).default(0.6),
  /** Pairs that are returned at most. */
  limit: z.int().min(1).default(150),
  /** Every picture in one pair at most. */
  disjoint: z.boolean().default(true),
});
export type MinePairsOptions = z.infer<typeof minePairsSchema>;

/** Features of n pictures as rows of a matrix [n, dim]; their lengths do not matter. */
export interface FeatureMatrix {
  values: Float32Array;
  dim: number;
}

/** Two pictures by row, `a` before `b`. */
export interface MinedPair {
  a: number;
  b: number;
  /** Cosine of the encoder that confuses them. */
  similar: number;
  /** Cosine of the encoder that tells them apart. */
  different: number;
}

/** Rows that are compared with each other at a time. */
const BLOCK = 512;
/** Candidates that are kept, so that a folder full of copies takes no n² memory. */
const KEPT = 200_000;
/** Columns after which a distance is looked at again. */
const STRIDE = 16;

/**
 * Pairs with cosine > `above` in `confused` and < `below` in `apart`, by falling difference of the two; equals by row.
 * Exact for any n; memory is that of the features and 200,000 candidates at most. The pairs are the same on any machine.
 * Throws a {@link FoveaError} where the matrices do not fit each other or hold a row that is zero or not finite.
 * @param run.progress rows done of all
 */
export async function minePairs(
  confused: FeatureMatrix,
  apart: FeatureMatrix,
  given: z.input<typeof minePairsSchema> = {},
  run: { signal?: AbortSignal; progress?: (event: { step: number; steps: number }) => void } = {},
): Promise<MinedPair[]> {
  const options = minePairsSchema.parse(given);
  const [near, far] = [unitRows(confused, 'confused'), unitRows(apart, 'apart')];
  const n = near.values.length / near.dim;
  if (far.values.length / far.dim !== n) {
    throw new FoveaError(
      `Pairs cannot be mined: there are features of ${n} and of ${far.values.length / far.dim} pictures; compute both from the same list.`,
    );
  }
  const columns = byVariance(near);
  let pairs: MinedPair[] = [];
  for (let first = 0; first < n; first += BLOCK) {
    run.signal?.throwIfAborted();
    for (let second = first; second < n; second += BLOCK) {
      for (const [a, b] of closeRows(columns, first, second, options.above)) {
        const pair = { a, b, similar: cosine(near, a, b), different: cosine(far, a, b) };
        if (pair.similar > options.above && pair.different < options.below) pairs.push(pair);
      }
      if (pairs.length > 2 * KEPT) pairs = ranked(pairs).slice(0, KEPT);
    }
    run.progress?.({ step: Math.min(n, first + BLOCK), steps: n });
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
  const best = ranked(pairs);
  return (options.disjoint ? disjoint(best) : best).slice(0, options.limit);
}

function unitRows({ values, dim }: FeatureMatrix, name: string): FeatureMatrix {
  if (dim < 1 || values.length % dim !== 0) {
    throw new FoveaError(`Pairs cannot be mined: "${name}" holds ${values.length} numbers, no rows of ${dim}.`);
  }
  const out = new Float32Array(values.length);
  for (let at = 0; at < values.length; at += dim) {
    let squares = 0;
    for (let k = 0; k < dim; k++) squares += values[at + k] ** 2;
    if (!(squares > 0 && squares < Number.POSITIVE_INFINITY)) {
      throw new FoveaError(
        `Pairs cannot be mined: "${name}" has a row of zeros or of numbers that are not finite (picture ${at / dim}); leave that picture out.`,
      );
    }
    const scale = 1 / Math.sqrt(squares);
    for (let k = 0; k < dim; k++) out[at + k] = values[at + k] * scale;
  }
  return { values: out, dim };
}

/** The same rows with their most varied columns first, padded to whole strides: distances then show early. */
function byVariance({ values, dim }: FeatureMatrix): FeatureMatrix {
  const n = values.length / dim;
  const sums = new Float64Array(dim);
  const squares = new Float64Array(dim);
  for (let i = 0; i < values.length; i++) {
    sums[i % dim] += values[i];
    squares[i % dim] += values[i] ** 2;
  }
  const variance = squares.map((square, k) => square / n - (sums[k] / n) ** 2);
  const order = Array.from({ length: dim }, (_, k) => k).sort((a, b) => variance[b] - variance[a] || a - b);
  const padded = STRIDE * Math.ceil(dim / STRIDE);
  const out = new Float32Array(n * padded);
  for (let row = 0; row < n; row++) {
    for (let k = 0; k < dim; k++) out[row * padded + k] = values[row * dim + order[k]];
  }
  return { values: out, dim: padded };
}

/**
 * Pairs of two blocks that may have a cosine above the threshold. |a − b|² = 2 − 2 cos for rows of length 1, and it only grows
 * from column to column, so most pairs are let go after a few strides; the slack outweighs fp32's rounding of the rows.
 */
function closeRows({ values, dim }: FeatureMatrix, first: number, second: number, above: number): [number, number][] {
  const n = values.length / dim;
  const most = 2 - 2 * above + 1e-4;
  const close: [number, number][] = [];
  for (let a = first; a < Math.min(n, first + BLOCK); a++) {
    for (let b = Math.max(second, a + 1); b < Math.min(n, second + BLOCK); b++) {
      let sum = 0;
      let k = 0;
      for (let i = a * dim, j = b * dim; k < dim && sum <= most; k += STRIDE) {
        for (const stop = i + STRIDE; i < stop; i++, j++) {
          const d = values[i] - values[j];
          sum += d * d;
        }
      }
      if (sum <= most) close.push([a, b]);
    }
  }
  return close;
}

function cosine({ values, dim }: FeatureMatrix, a: number, b: number): number {
  let dot = 0;
  let aa = 0;
  let bb = 0;
  for (let k = 0, i = a * dim, j = b * dim; k < dim; k++, i++, j++) {
    dot += values[i] * values[j];
    aa += values[i] ** 2;
    bb += values[j] ** 2;
  }
  return dot / Math.sqrt(aa * bb);
}

const ranked = (pairs: readonly MinedPair[]): MinedPair[] =>
  [...pairs].sort((p, q) => q.similar - q.different - (p.similar - p.different) || p.a - q.a || p.b - q.b);

function disjoint(pairs: readonly MinedPair[]): MinedPair[] {
  const used = new Set<number>();
  return pairs.filter(({ a, b }) => {
    if (used.has(a) || used.has(b)) return false;
    used.add(a).add(b);
    return true;
  });
}

export interface MinedSource {
  pictures: readonly PictureFacts[];
  /** Class of each picture, and the classes' names. */
  labels: ArrayLike<number>;
  classes: readonly string[];
  /** Hashes of the two encoders that chose the pairs; the first must not be the one under test. */
  encoders: { confused: string; apart: string };
  options: MinePairsOptions;
  name?: string;
}

/**
 * The pairs as a suite of pick items in MMVP-VLM's form, with class names as statements. Pairs within one class cannot be
 * asked so, and are counted in `omitted`. Throws a {@link FoveaError} where none is left.
 */
export function minedDraft(pairs: readonly MinedPair[], source: MinedSource): Draft {
  const { pictures, labels, encoders, options, name = 'clip-blind-pairs' } = source;
  const names = source.classes.map(cleanName);
  const nameOf = (row: number) => names[labels[row]];
  const asked = pairs.filter(({ a, b }) => nameOf(a).toLowerCase() !== nameOf(b).toLowerCase());
  if (asked.length === 0) {
    const why =
      pairs.length === 0
        ? `No two pictures of ${pictures.length} are alike to the one encoder and different to the other`
        : `None of ${pairs.length} pairs shows two classes, so none can be asked about by name`;
    throw new FoveaError(`${why}; lower "above", raise "below" or bring more pictures.`);
  }
  const left = pairs.length - asked.length;
  return {
    name,
    kind: 'mmvp-vlm',
    title: 'CLIP-blind pairs, mined',
    source: {
      builder: 'mine-pairs',
      version: 1,
      ...options,
      foil: encoders.confused,
      apart: encoders.apart,
      pictures: sha256Hex(pictures.map(({ sha256 }) => sha256).join('\n')),
    },
    prompt: { id: 'none', template: '{question}' },
    textTemplate: ROBUSTVQA_TEXT_TEMPLATE,
    omitted: left === 0 ? [] : [{ what: `${left} pairs`, reason: 'both pictures are of one class' }],
    notes: [`${asked.length} pairs of ${pictures.length} pictures`],
    items: asked.flatMap(({ a, b, similar, different }) =>
      [a, b].map((row, gold) => ({
        id: `${a}-${b}#${gold + 1}`,
        split: 'all',
        cluster: `${a}-${b}`,
        pair: `${a}-${b}`,
        pictures: [a, b].map((at) => ({ kind: 'file' as const, ...pictures[at] })),
        ask: { kind: 'pick' as const, text: nameOf(row), gold },
        meta: { similar: Number(similar.toPrecision(7)), different: Number(different.toPrecision(7)) },
      })),
    ),
    probes: [],
  };
}
