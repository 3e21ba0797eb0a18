// One batch as equal slices, computed one after the other and averaged: gradient accumulation inside one program. A
// slice's activations fit a core's cache where the batch's do not, and only one slice's are alive at a time.

import { TensorError } from './errors.ts';
import type { ScanBody, Spec } from './graph.ts';
import { isRecording, mapValues, recordBody, valueBehind } from './recorder.ts';
import type { NamedTensors, Tensor } from './tf.ts';
import tf from './tf.ts';

export interface SliceResult {
  /** Averaged over the slices: scalars of a mean loss, its gradients. */
  mean: NamedTensors;
  /** Joined along the first axis, in the order of the slices: one row per picture, say. */
  rows?: NamedTensors;
}

/**
 * Calls `fn` on each of `count` slices of the batched tensors [count · n, ...] -> [n, ...]. `fn` may read any other
 * tensor, and differentiates inside itself: the result as a whole has no gradient. Means of equal slices are means of
 * the batch, so the numbers are those of `fn` on the whole batch up to rounding. With a count of 1 that is what it does.
 */
export function microBatches<T extends NamedTensors>(
  count: number,
  batched: T,
  fn: (slice: T) => SliceResult,
): Required<SliceResult> {
  for (const [name, { shape }] of Object.entries(batched)) {
    if (shape.length === 0 || shape[0] % count !== 0)
      throw new TensorError(
        `"${name}" of shape [${shape}] cannot be cut into ${count} equal slices; choose a divisor.`,
      );
  }
  if (count === 1) return { rows: {}, ...fn(batched) };
  return isRecording() ? recordSlices(count, batched, fn) : eagerSlices(count, batched, fn);
}

const average = (sums: NamedTensors, count: number) => mapValues(sums, (sum) => tf.mul(sum, 1 / count));

function eagerSlices<T extends NamedTensors>(count: number, batched: T, fn: (slice: T) => SliceResult) {
  const sums: NamedTensors = {};
  const rows: Record<string, Tensor[]> = {};
  for (let i = 0; i < count; i++) {
    const slice = mapValues(batched, (x) => {
      const n = x.shape[0] / count;
      return tf.slice(x, [i * n, ...x.shape.slice(1).map(() => 0)], [n, ...x.shape.slice(1)]);
    });
    const result = fn(slice as T);
    for (const [name, x] of Object.entries(result.mean)) sums[name] = sums[name] ? tf.add(sums[name], x) : x;
    for (const [name, x] of Object.entries(result.rows ?? {})) (rows[name] ??= []).push(x);
  }
  return { mean: average(sums, count), rows: mapValues(rows, (parts) => tf.concat(parts, 0)) };
}

function recordSlices<T extends NamedTensors>(count: number, batched: T, fn: (slice: T) => SliceResult) {
  const names = Object.keys(batched);
  const specs = names.map((name): Spec => {
    const { shape, dtype } = batched[name];
    return { shape: [shape[0] / count, ...shape.slice(1)], dtype: dtype as Spec['dtype'] };
  });
  let keys: { mean: string[]; rows: string[] } = { mean: [], rows: [] };
  const { graph, result } = recordBody(specs, (slices) => {
    const { mean, rows = {} } = fn(Object.fromEntries(names.map((name, i) => [name, slices[i]])) as T);
    keys = { mean: Object.keys(mean), rows: Object.keys(rows) };
    return { sums: Object.values(mean).map(valueBehind), rows: Object.values(rows).map(valueBehind) };
  });
  const body: ScanBody = { graph, ...result };
  const outputs = tf.engine().runKernel('FoveaScan', batched as never, { count, body } as never) as Tensor | Tensor[];
  const list = [outputs].flat();
  const named = (given: string[], from: number) => Object.fromEntries(given.map((key, i) => [key, list[from + i]]));
  return { mean: average(named(keys.mean, 0), count), rows: named(keys.rows, keys.mean.length) };
}

/**
 * How many slices to cut `batch` rows into so that the largest activation of a slice, at `bytesPerRow` each, stays
 * within `budget` bytes: the smallest such divisor of the batch, or the batch itself. It depends on shapes alone, never
 * on the machine, so that the same seed gives the same bits everywhere.
 */
export function sliceCount(batch: number, bytesPerRow: number, budget = 2 ** 20): number {
  for (let count = 1; count < batch; count++) {
    if (batch % count === 0 && (batch / count) * bytesPerRow <= budget) return count;
  }
  return batch;
}
