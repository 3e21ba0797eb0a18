// The merge of a round that was cut into shards: the mean of their moves weighted by samples, the outer optimiser, a look
// at the fixed batch, and the next checkpoint's blobs. The shards are added in order of their index, in fp64, so the
// result does not depend on who was done first.

import { type BlobRef, encodeSafetensors, FoveaError, type Store } from '@fovea/artifacts';
import type { Weights } from '@fovea/models';
import { prefixed } from '@fovea/tensor';
import type { Branch } from './branch.ts';
import { outerOf } from './outer.ts';
import type { MergeRequest, Report, RoundMetrics, RoundResult } from './round.ts';
import {
  AVERAGE,
  type Base,
  checkAfter,
  nameOfShard,
  putWeights,
  readDelta,
  readTensors,
  startingParameters,
  under,
} from './round-state.ts';

type Part = MergeRequest['shards'][number];

/** Before the outer optimiser's tensors in a merged checkpoint's optimiser blob. */
const OUTER = 'outer/';

/**
 * Merges a round's shards. Throws a FoveaError where they took no step, a move is damaged or of another recipe, or the
 * merged weights give no finite loss.
 */
export async function mergeRound(
  store: Store,
  branch: Branch,
  base: Base,
  request: MergeRequest,
  report: Report,
): Promise<RoundResult> {
  const { recipe, round } = request;
  const parts = inOrder(request);
  const start = startingParameters(branch, base, recipe);
  const before = await branch.probe((name) => start[name].data);
  const delta = await mean(parts, (part) => {
    report({ step: parts.indexOf(part), steps: parts.length, text: 'merging the shards' });
    return readDelta(store, part.result.delta, branch, nameOfShard(round, part));
  });
  const { parameters, outer } = await step(store, base, request, start, delta);
  const after = await branch.probe((name) => parameters[name].data);
  checkAfter(after, round, branch.context.stage);
  const averages = branch.context.stage.ema === null ? {} : await averageOf(store, parts, base.id);
  const carried = new Map(Object.entries({ ...prefixed(OUTER, outer), ...prefixed(AVERAGE, averages) }));
  return {
    weights: await putWeights(store, base, parameters),
    optimizer: carried.size > 0 ? await store.put(encodeSafetensors(carried)) : null,
    inner: parts.map(({ result }) => result.inner),
    step: base.manifest.step + round.steps,
    metrics: { ...metricsOf(parts), probe: { before: before.objective, after: after.objective, gap: after.gap } },
  };
}

/** The shards in order of their index. */
function inOrder({ shards, round }: MergeRequest): Part[] {
  const parts = [...shards].sort((a, b) => a.index - b.index);
  const [{ of }] = parts;
  const wrong = parts.some((part, i) => part.of !== of || part.index >= of || part.index === parts[i - 1]?.index);
  if (wrong) throw new Error(`the shards of round ${round.round} of ${round.track} are not parts of one whole`);
  if (samplesOf(parts) === 0)
    throw new FoveaError(
      `The shards of round ${round.round} of ${round.track} that are there took no step, so there is nothing to merge; lower shards.max or raise shards.quorum.`,
    );
  return parts;
}

const samplesOf = (parts: readonly Part[]): number => parts.reduce((sum, { result }) => sum + result.samples, 0);

interface Mean {
  shape: number[];
  data: Float64Array;
}

/** Mean of the shards' tensors, weighted by samples; one shard's are in memory at a time. */
async function mean(parts: readonly Part[], read: (part: Part) => Promise<Weights>): Promise<Record<string, Mean>> {
  const total = samplesOf(parts);
  const out: Record<string, Mean> = {};
  for (const part of parts) {
    const share = part.result.samples / total;
    for (const [name, { shape, data }] of Object.entries(await read(part))) {
      out[name] ??= { shape, data: new Float64Array(data.length) };
      const sum = out[name].data;
      for (let i = 0; i < sum.length; i++) sum[i] += share * data[i];
    }
  }
  return out;
}

/** One step of the outer optimiser: the next parameters, and its state by `<buffer>/<parameter>`. */
async function step(
  store: Store,
  { id, manifest }: Base,
  { recipe, round }: MergeRequest,
  start: Weights,
  delta: Record<string, Mean>,
): Promise<{ parameters: Weights; outer: Weights }> {
  const { init, update } = outerOf(recipe.shards.outer);
  // A base that was not cut keeps the inner optimiser's moments there.
  const hasOuter = round.firstStep > 0 && manifest.inner !== undefined && manifest.optimizer !== null;
  const last = hasOuter ? under((await readTensors(store, manifest.optimizer as BlobRef, id)).tensors, OUTER) : {};
  const parameters: Weights = {};
  const outer: Weights = {};
  for (const [name, { shape, data }] of Object.entries(start)) {
    const state = init(data.length);
    for (const buffer of Object.keys(state)) state[buffer] = last[`${buffer}/${name}`]?.data ?? state[buffer];
    const next = update(data, delta[name].data, state);
    parameters[name] = { shape, data: next.parameter };
    for (const [buffer, values] of Object.entries(next.state)) outer[`${buffer}/${name}`] = { shape, data: values };
  }
  return { parameters, outer };
}

/** The shards' moving averages as one: a mean is linear, so averaging them is averaging the trajectories. */
async function averageOf(store: Store, parts: readonly Part[], id: string): Promise<Weights> {
  const averages = await mean(parts, async ({ result }) =>
    under((await readTensors(store, result.inner, id)).tensors, AVERAGE),
  );
  return Object.fromEntries(
    Object.entries(averages).map(([name, { shape, data }]) => [name, { shape, data: Float32Array.from(data) }]),
  );
}

/** The shards' metrics as one round's: series in the order of the steps, time as the slowest took. */
function metricsOf(parts: readonly Part[]): Omit<RoundMetrics, 'probe'> {
  const all = parts.map(({ result }) => result.metrics);
  const steps = all.reduce((sum, each) => sum + each.steps, 0);
  const seconds = Math.max(...all.map((each) => each.seconds));
  const names = (of: (each: (typeof all)[number]) => object) => [
    ...new Set(all.flatMap((each) => Object.keys(of(each)))),
  ];
  return {
    steps,
    seconds,
    imagesPerSecond: seconds > 0 ? samplesOf(parts) / seconds : 0,
    loss: interleave(all.map(({ loss }) => loss)),
    terms: Object.fromEntries(
      names(({ terms }) => terms).map((name) => [name, interleave(all.map(({ terms }) => terms[name] ?? []))]),
    ),
    gradNorm: Object.fromEntries(
      names(({ gradNorm }) => gradNorm).map((name) => [
        name,
        all.reduce((sum, { gradNorm, steps: own }) => sum + ((gradNorm[name] ?? 0) * own) / steps, 0),
      ]),
    ),
  };
}

/** Steps are dealt one to each shard in turn. */
const interleave = (series: readonly number[][]): number[] =>
  Array.from({ length: Math.max(...series.map(({ length }) => length)) }, (_, i) =>
    series.flatMap((each) => (i < each.length ? [each[i]] : [])),
  ).flat();
