// Rounds that are cut into shards: the same data and the same bits whoever computes them and in whatever order, a merge
// that is what the papers say, and a shard that goes on where it was stopped.

import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import {
  decodeSafetensors,
  encodeSafetensors,
  openStore,
  partialRef,
  readCheckpoint,
  type Store,
} from '@fovea/artifacts';
import type { BatchQuery, Dataset } from '@fovea/data';
import { planOf, type Recipe, type Round, recipeHash } from '@fovea/recipe';
import { philox } from '@fovea/tensor/random';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { decodeDelta } from './delta.ts';
import type { DeltaResult, MergeRequest, RoundRequest, RoundResult, Shard } from './round.ts';
import { checkpointWeights } from './subject.ts';
import { commit, dataset, recipeOf, trainChain, trainShards } from './testing.ts';
import { Trainer } from './train-round.ts';
import { decodeWeights } from './weights.ts';

const optimiser = { batch: 4, lr: 3e-3, warmup: 2 };
/** Rounds of six steps, then of two. */
const STAGES = [
  { stage: 'pretrain', steps: 8, roundSteps: 6, ...optimiser },
  { stage: 'projector', steps: 8, roundSteps: 6, ...optimiser },
  { stage: 'align', steps: 8, roundSteps: 6, ...optimiser, contrastive: 1, retention: 0.5 },
];
const fleet = (shards: object, stages: object[] = STAGES): Recipe =>
  recipeOf(stages, { shards: { max: 4, ...shards } });

let folder: string;
let store: Store;
beforeAll(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'fovea-shards-'));
  store = await openStore(folder);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** What is asked of the data while a test listens. */
let heard: (query: BatchQuery) => void = () => {};
const audible: Dataset = {
  ...dataset,
  trainBatch(query) {
    heard(query);
    return dataset.trainBatch(query);
  },
};
const trainers: Trainer[] = [];
/** A new process's trainer, with nothing compiled. */
const open = (): Trainer => {
  trainers.push(new Trainer({ store, openDataset: async () => audible }));
  return trainers[trainers.length - 1];
};
let shared: Trainer;
beforeAll(() => {
  shared = open();
});
afterEach(() => {
  heard = () => {};
});
afterAll(async () => {
  for (const trainer of trainers) await trainer.dispose();
});

const roundsOf = (recipe: Recipe): Round[] => {
  const plan = planOf(recipe);
  return [...(plan.get('trunk') as Round[]), ...((plan.get('aligned') as Round[]) ?? [])];
};
const never = () => new AbortController().signal;
const quiet = () => {};

/** Checkpoints of ordinary training, one a round; whatever the recipe says of shards. */
const chains = new Map<string, Promise<string[]>>();
function chainOf(recipe: Recipe): Promise<string[]> {
  const key = JSON.stringify(recipe.stages);
  if (!chains.has(key))
    chains.set(
      key,
      trainChain(open, store, roundsOf(recipe), { recipe, recipeDir: folder }).then((done) => done.map(({ id }) => id)),
    );
  return chains.get(key) as Promise<string[]>;
}

/** A request for the n-th round of a recipe's trunk and aligned branch, from ordinary training before it. */
async function requestOf(recipe: Recipe, n: number, runId = recipeHash(recipe).slice(0, 8)) {
  const round = roundsOf(recipe)[n];
  return { runId, recipe, recipeDir: folder, round, base: (await chainOf(recipe))[n - 1] };
}

const blobsOf = ({ metrics: _metrics, ...blobs }: RoundResult | DeltaResult) => blobs;
const shardsOf = async (request: Awaited<ReturnType<typeof requestOf>>, of: number, trainer = shared) => {
  const parts: (Shard & { result: DeltaResult })[] = [];
  for (let index = 0; index < of; index++)
    parts.push({
      index,
      of,
      result: (await trainer.train({ ...request, shard: { index, of } }, quiet, never())) as DeltaResult,
    });
  return parts;
};
const weightsOf = async (result: RoundResult) => decodeWeights(await store.get(result.weights.sha256), 'it').weights;

describe('a shard', () => {
  it('that is the whole round gives the bits of ordinary training', async () => {
    const recipe = fleet({});
    const rounds = roundsOf(recipe);
    let base: string | null = null;
    const ids: string[] = [];
    for (const round of rounds) {
      const request = { runId: 'run', recipe, recipeDir: folder, round, base, shard: { index: 0, of: 1 } };
      base = await commit(store, recipe, round, base, (await shared.train(request, quiet, never())) as RoundResult);
      ids.push(base);
    }
    expect(ids).toEqual(await chainOf(recipe));
    expect(await chainOf(recipeOf(STAGES)), 'and the recipe’s shards change nothing').toEqual(ids);
  });

  it.each([2, 3, 4])('of %i reads its own part of the data, and together they read all of it', async (of) => {
    const recipe = fleet({});
    for (const n of [1, 2]) {
      const request = await requestOf(recipe, n);
      const { round } = request;
      const seen: number[][] = Array.from({ length: of }, () => []);
      for (let index = 0; index < of; index++) {
        heard = ({ stream, first, size }) => {
          for (let i = 0; i < size; i++) if (stream === round.stage) seen[index].push(first + i);
        };
        await shared.train({ ...request, shard: { index, of } }, quiet, never());
      }
      const whole = Array.from({ length: round.steps * 4 }, (_, i) => round.firstStep * 4 + i);
      expect(seen.flat().sort((a, b) => a - b)).toEqual(whole);
      expect(new Set(seen.flat()).size).toBe(whole.length);
    }
  });

  it('gives the same bits twice, on a new trainer and on one that has done others', async () => {
    const request = await requestOf(fleet({ delta: 'int8' }), 5);
    const [a, b] = [await shardsOf(request, 2), await shardsOf(request, 2)];
    const alone = await open().train({ ...request, shard: { index: 1, of: 2 } }, quiet, never());
    expect(b.map(({ result }) => blobsOf(result))).toEqual(a.map(({ result }) => blobsOf(result)));
    expect(blobsOf(alone)).toEqual(blobsOf(a[1].result));
  });

  it('that diverges is an error of the user, and leaves no move', async () => {
    const stages = [{ ...STAGES[0], lr: 1e30, clip: 0, warmup: 0, steps: 4 }];
    const request = {
      ...(await requestOf(fleet({}), 1, 'diverges')),
      recipe: fleet({}, [...stages, ...STAGES.slice(1)]),
    };
    for (const index of [0, 1])
      await expect(shared.train({ ...request, shard: { index, of: 2 } }, quiet, never())).rejects.toMatchObject({
        name: 'FoveaError',
        message: expect.stringMatching(/lower the stage's lr/),
      });
  });

  it('of a round that trains nothing is refused', async () => {
    const recipe = fleet({});
    const request = { runId: 'run', recipe, recipeDir: folder, round: roundsOf(recipe)[0], base: null };
    await expect(shared.train({ ...request, shard: { index: 0, of: 2 } }, quiet, never())).rejects.toThrow('not cut');
  });
});

describe('a merge', () => {
  it('does not depend on the order in which its shards are given', async () => {
    const request = await requestOf(fleet({ outer: { kind: 'nesterov' } }), 5);
    const parts = await shardsOf(request, 4);
    const first = await shared.merge({ ...request, shards: parts }, quiet);
    for (const order of [
      [3, 2, 1, 0],
      [1, 3, 0, 2],
    ]) {
      const again = await open().merge({ ...request, shards: order.map((i) => parts[i]) }, quiet);
      expect(again).toEqual(first);
    }
    expect(first.inner).toEqual(parts.map(({ result }) => result.inner));
    expect(first.step).toBe(2 * 8 + 6);
  });

  it('weights the moves by samples, with a shard missing too', async () => {
    const request = await requestOf(fleet({}), 1);
    const base = decodeWeights(
      await store.get((await readCheckpoint(store, request.base)).weights.sha256),
      'base',
    ).weights;
    const parts = await shardsOf(request, 4);
    expect(parts.map(({ result }) => result.samples)).toEqual([8, 8, 4, 4]);
    for (const given of [[0, 1, 2, 3], [0, 2], [3]]) {
      const some = given.map((i) => parts[i]);
      const merged = await shared.merge({ ...request, shards: some }, quiet);
      const total = some.reduce((sum, { result }) => sum + result.samples, 0);
      const deltas = await Promise.all(
        some.map(async ({ result }) => decodeDelta(await store.get(result.delta.sha256), '')),
      );
      const weights = await weightsOf(merged);
      for (const [name, { data }] of Object.entries(base)) {
        const wanted = data.map((x, i) => {
          const mean = some.reduce(
            (sum, { result }, k) => sum + (result.samples / total) * (deltas[k][name]?.data[i] ?? 0),
            0,
          );
          return x - mean;
        });
        expect(weights[name].data, name).toEqual(wanted);
      }
      expect(merged.inner).toEqual(some.map(({ result }) => result.inner));
      expect(merged.metrics.steps).toBe(total / 4);
      expect(merged.metrics.probe.after).not.toBe(merged.metrics.probe.before);
    }
  });

  it('puts the losses in the order of the steps', async () => {
    const request = await requestOf(fleet({}), 1);
    const parts = await shardsOf(request, 4);
    const [a, b, c, d] = parts.map(({ result }) => result.metrics.loss);
    const { metrics } = await shared.merge({ ...request, shards: parts }, quiet);
    expect(metrics.loss).toEqual([a[0], b[0], c[0], d[0], a[1], b[1]]);
    expect(metrics.terms.contrastive).toHaveLength(6);
    expect(metrics.gradNorm.vision).toBeGreaterThan(0);
  });

  it('of shards of one SGD step each is one step on all their pictures', async () => {
    const sgd = { optimizer: 'sgd', momentum: 0, weightDecay: 0, clip: 0, warmup: 0, schedule: 'constant', lr: 0.1 };
    const stages = (batch: number, steps: number) => [
      STAGES[0],
      { stage: 'projector', ...sgd, batch, steps, roundSteps: steps },
      STAGES[2],
    ];
    const [whole, cut] = [
      recipeOf(stages(8, 1)),
      fleet({ max: 1, outer: { kind: 'average', lrScale: 'none' } }, stages(4, 2)),
    ];
    const base = (await chainOf(recipeOf([STAGES[0], STAGES[1], STAGES[2]])))[2];
    const at = (recipe: Recipe, runId: string) => ({
      runId,
      recipe,
      recipeDir: folder,
      round: roundsOf(recipe)[3],
      base,
    });
    const one = await weightsOf(await shared.train(at(whole, 'one'), quiet, never()));
    const request = at(cut, 'two');
    const two = await weightsOf(await shared.merge({ ...request, shards: await shardsOf(request, 2) }, quiet));
    const start = decodeWeights(await store.get((await readCheckpoint(store, base)).weights.sha256), '').weights;
    let moved = 0;
    for (const [name, { data }] of Object.entries(one))
      data.forEach((x, i) => {
        moved = Math.max(moved, Math.abs(x - start[name].data[i]));
        expect(Math.abs(two[name].data[i] - x), `${name}[${i}]`).toBeLessThan(1e-6);
      });
    expect(moved).toBeGreaterThan(1e-3);
  });

  it('refuses shards that took no step, parts of different wholes, and moves that do not fit', async () => {
    const request = await requestOf(fleet({}), 2);
    const parts = await shardsOf(request, 4);
    expect(
      parts.map(({ result }) => result.samples),
      'a round of two steps',
    ).toEqual([4, 4, 0, 0]);
    const merge = (shards: MergeRequest['shards']) => shared.merge({ ...request, shards }, quiet);
    await expect(merge(parts.slice(2))).rejects.toMatchObject({ name: 'FoveaError', message: /took no step/ });
    await expect(merge([parts[0], parts[0]])).rejects.toThrow('not parts of one whole');
    await expect(merge([parts[0], { ...parts[1], of: 3 }])).rejects.toThrow('not parts of one whole');
    const other = (await shardsOf(await requestOf(fleet({}), 3), 2))[0];
    await expect(merge([parts[0], { ...parts[1], result: other.result }])).rejects.toMatchObject({
      name: 'FoveaError',
      message: /shard 2 of 4 of round 2 of trunk does not fit/,
    });
    const all = await merge(parts);
    expect(all.inner).toHaveLength(4);
  });

  it('that gives weights without a finite loss is refused', async () => {
    const request = await requestOf(fleet({ outer: { kind: 'nesterov', lr: 1e38, momentum: 0 } }), 1);
    const parts = await shardsOf(request, 2);
    await expect(shared.merge({ ...request, shards: parts }, quiet)).rejects.toMatchObject({
      name: 'FoveaError',
      message: expect.stringContaining('not kept'),
    });
  });
});

describe('rounds after rounds', () => {
  const stages = [{ ...STAGES[0], steps: 24, roundSteps: 4, ema: 0.9 }, ...STAGES.slice(1)];
  const recipe = fleet({ outer: { kind: 'nesterov' }, delta: 'int8' }, stages);

  it('carry each shard’s moments and debts, the outer momentum and the average, while K changes', async () => {
    const rounds = roundsOf(recipe).filter(({ stage }) => stage === 'init' || stage === 'pretrain');
    const run = async (ks: number[]) => {
      let base = (await chainOf(recipe))[0];
      const ids: string[] = [];
      for (const [i, of] of ks.entries()) {
        const request = { runId: 'changes', recipe, recipeDir: folder, round: rounds[i + 1], base };
        if (of > 1) base = (await trainShards(shared, store, request, of)).id;
        else base = await commit(store, recipe, request.round, base, await shared.train(request, quiet, never()));
        ids.push(base);
      }
      return ids;
    };
    const ks = [2, 4, 3, 1, 2];
    const ids = await run(ks);
    expect(await run(ks)).toEqual(ids);
    const manifests = await Promise.all(ids.map((id) => readCheckpoint(store, id)));
    expect(manifests.map(({ inner }) => inner?.length)).toEqual([2, 4, 3, undefined, 2]);
    const readOf = async ({ sha256 }: { sha256: string }) => decodeSafetensors(await store.get(sha256), 'it');
    const first = await readOf(manifests[0].inner?.[1] as { sha256: string });
    const fourth = await readOf(manifests[1].inner?.[3] as { sha256: string });
    expect([first.metadata.updates, fourth.metadata.updates]).toEqual(['2', '3']);
    expect(first.tensors.has('residual/visual_projection.weight')).toBe(true);
    const outer = await readOf(manifests[1].optimizer as { sha256: string });
    const names = new Set([...outer.tensors.keys()].map((name) => name.split('/')[0]));
    expect(names).toEqual(new Set(['outer', 'ema']));
    const ordinary = await readOf(manifests[3].optimizer as { sha256: string });
    expect(ordinary.metadata.updates, 'shard 0 took 2 + 1 + 2 steps, then 4').toBe('9');
    expect([...ordinary.tensors.keys()].some((name) => name.startsWith('residual/'))).toBe(false);
  });

  it('are judged by the merged average', async () => {
    const { id, parts } = await trainShards(shared, store, await requestOf(recipe, 1, 'changes'), 2);
    const averages = await Promise.all(
      parts.map(async ({ result }) => decodeSafetensors(await store.get(result.inner.sha256), 'it').tensors),
    );
    const { weights } = await checkpointWeights(store, id, recipe);
    const name = 'visual_projection.weight';
    const wanted = (weights[name].data as Float32Array).map(
      (_, i) => averages.reduce((sum, each) => sum + (each.get(`ema/${name}`)?.data[i] as number), 0) / 2,
    );
    expect(weights[name].data).toEqual(wanted);
  });

  it('come to the same place by int8 moves with feedback as by fp32 ones', async () => {
    const last = async (delta: string) => {
      const recipe = fleet({ delta }, stages);
      let base = (await chainOf(recipe))[0];
      for (const round of roundsOf(recipe).filter(({ stage }) => stage === 'pretrain'))
        base = (await trainShards(shared, store, { runId: delta, recipe, recipeDir: folder, round, base }, 2)).id;
      return decodeWeights(await store.get((await readCheckpoint(store, base)).weights.sha256), '').weights;
    };
    const [exact, half, eight] = [await last('fp32'), await last('fp16'), await last('int8')];
    const name = 'visual_projection.weight';
    const off = (other: typeof exact) => {
      const d = exact[name].data.map((x, i) => x - other[name].data[i]);
      return Math.sqrt(d.reduce((s, x) => s + x * x, 0) / exact[name].data.reduce((s, x) => s + x * x, 0));
    };
    expect(off(half)).toBeLessThan(1e-4);
    expect(off(eight)).toBeLessThan(1e-2);
    expect(off(half)).toBeLessThan(off(eight));
  });
});

describe('a shard that is stopped', () => {
  const recipe = fleet({ delta: 'fp16' });
  /** Trains on the shared trainer, and stops it when the data of the given step is asked for. */
  async function stopAt(stage: string, step: number, request: RoundRequest): Promise<unknown> {
    const stop = new AbortController();
    heard = ({ stream, first }) => {
      if (stream === stage && first === step * 4) stop.abort(new Error('preempted'));
    };
    const answer = await shared.train(request, quiet, stop.signal).catch((error: Error) => error.message);
    heard = quiet;
    return answer;
  }

  it.each(
    [
      ['pretrain', 1],
      ['projector', 3],
      ['align', 5],
    ].flatMap(([stage, n]) => [1, 2].map((of) => [stage, of, n] as [string, number, number])),
  )('goes on to the same bits: %s, K = %i', async (stage, of, n) => {
    const request = await requestOf(recipe, n, `stop-${stage}-${of}`);
    for (let index = 0; index < of; index++) {
      const shard = { index, of };
      const whole = await shared.train({ ...request, shard }, quiet, never());
      const mine = Array.from({ length: 6 }, (_, step) => step).filter((step) => step % of === index);
      const stops = [...new Set([philox(1, stage, of, n).int(mine.length - 1) + 1, mine.length - 1])];
      for (const at of stops.sort()) {
        expect(await stopAt(stage, mine[at], { ...request, shard })).toBe('preempted');
        expect(await store.readRef(partialRef(request.runId, request.round, shard))).not.toBeNull();
      }
      const read: number[] = [];
      heard = ({ stream, first }) => {
        if (stream === stage) read.push(first / 4);
      };
      const result = await open().train({ ...request, shard }, quiet, never());
      heard = quiet;
      expect(blobsOf(result)).toEqual(blobsOf(whole));
      expect(result.metrics.loss).toEqual(whole.metrics.loss);
      expect(result.metrics.terms).toEqual(whole.metrics.terms);
      expect(result.metrics.gradNorm).toEqual(whole.metrics.gradNorm);
      expect(read.length, 'only the steps that were left').toBeLessThan(mine.length);
    }
  });

  it('hears a stop that comes by itself, from a timer', async () => {
    const stages = [{ ...STAGES[0], steps: 3000, roundSteps: 3000 }, ...STAGES.slice(1)];
    const long = recipeOf(stages);
    const init = recipeOf(STAGES);
    const request = {
      runId: 'timer',
      recipe: long,
      recipeDir: folder,
      round: roundsOf(long)[1],
      base: (await chainOf(init))[0],
    };
    const stop = new AbortController();
    let started = () => {};
    const starts = new Promise<void>((resolve) => {
      started = resolve;
    });
    heard = ({ stream }) => {
      if (stream === 'pretrain') started();
    };
    const training = shared.train(request, quiet, stop.signal).catch((error: Error) => error);
    await starts;
    setTimeout(() => stop.abort(new Error('preempted')), 200);
    expect(await training).toMatchObject({ message: 'preempted' });
    const partial = (await store.readRef(partialRef('timer', request.round, { index: 0, of: 1 }))) as {
      loss: number[];
    };
    expect(partial.loss.length).toBeGreaterThan(0);
    expect(partial.loss.length).toBeLessThan(3000);
  });

  it('writes nothing when it is stopped before its first step', async () => {
    const request = await requestOf(recipe, 1, 'early');
    const stop = new AbortController();
    stop.abort(new Error('preempted'));
    await expect(shared.train(request, quiet, stop.signal)).rejects.toThrow('preempted');
    expect(await store.listRefs('runs/early')).toEqual([]);
  });

  it('starts anew, and says so in the log, where its partial state is of no use', async () => {
    const request = await requestOf(recipe, 1, 'damaged');
    const ref = partialRef('damaged', request.round, { index: 0, of: 1 });
    const whole = blobsOf(await shared.train(request, quiet, never()));
    expect(await stopAt('pretrain', 3, request)).toBe('preempted');
    const good = (await store.readRef(ref)) as Record<string, unknown> & { state: { sha256: string }; loss: number[] };
    const tensors = new Map(decodeSafetensors(await store.get(good.state.sha256), 'it').tensors) as Map<
      string,
      { shape: number[]; data: Float32Array }
    >;
    const put = (change: (map: typeof tensors) => unknown) => {
      const map = new Map(tensors);
      change(map);
      return store.put(encodeSafetensors(map));
    };
    const name = 'p/visual_projection.weight';
    const cases: [string, unknown][] = [
      ['is none of this version', { ...good, version: 2 }],
      ['is none of this version', { ...good, loss: [null] }],
      ['is none of this version', 'x'],
      ['is of another start', { ...good, base: 'b'.repeat(64) }],
      ['is of another start', { ...good, recipe: 'b'.repeat(64) }],
      ['has more steps', { ...good, loss: Array(7).fill(1) }],
      ['cannot be read', { ...good, state: { sha256: 'c'.repeat(64), size: 1 } }],
      ['cannot be read', { ...good, state: await store.put(Uint8Array.of(1, 2, 3)) }],
      ['does not fit', { ...good, state: await put((map) => map.delete(name)) }],
      ['does not fit', { ...good, state: await put((map) => map.set(name, { shape: [1], data: Float32Array.of(1) })) }],
      [
        'does not fit',
        { ...good, state: await put((map) => map.set('p/other', { shape: [1], data: Float32Array.of(1) })) },
      ],
    ];
    const log = vi.spyOn(console, 'error').mockImplementation(() => {});
    const startsAnew = async (why: string) => {
      log.mockClear();
      expect(blobsOf(await shared.train(request, quiet, never())), why).toEqual(whole);
      expect(log.mock.calls.flat().join('\n')).toContain(why);
    };
    try {
      for (const [why, value] of cases) {
        await store.writeRef(ref, value);
        await startsAnew(why);
      }
      await store.writeRef(ref, good);
      const file = path.join(folder, 'refs', ...ref.split('/'));
      await writeFile(file, (await readFile(file)).subarray(0, 40));
      await startsAnew('cannot be read');
      await store.writeRef(ref, good);
      const blob = path.join(folder, 'blobs', good.state.sha256.slice(0, 2), good.state.sha256);
      const bytes = await readFile(blob);
      bytes[bytes.length - 1] ^= 1;
      await writeFile(blob, bytes);
      await startsAnew('cannot be read');
    } finally {
      log.mockRestore();
    }
  });
});

describe('learning', () => {
  it('comes nearly as far with shards as without at equal samples, and moves far fewer bytes', async () => {
    const stages = [
      { stage: 'pretrain', batch: 8, lr: 5e-3, warmup: 4, steps: 240, roundSteps: 60 },
      ...STAGES.slice(1),
    ];
    const gained: number[] = [];
    for (const of of [1, 2, 4]) {
      const recipe = recipeOf(stages, { shards: { max: of, delta: 'fp16' } });
      let base = (await chainOf(recipeOf(STAGES)))[0];
      const probes: number[] = [];
      let sent = 0;
      let gradients = 0;
      for (const round of roundsOf(recipe).filter(({ stage }) => stage === 'pretrain')) {
        const request = { runId: `learning-${of}`, recipe, recipeDir: folder, round, base };
        if (of === 1) {
          const result = await shared.train(request, quiet, never());
          base = await commit(store, recipe, round, base, result);
          probes.push(result.metrics.probe.before, result.metrics.probe.after);
        } else {
          const { id, parts, metrics } = await trainShards(shared, store, request, of);
          base = id;
          probes.push(metrics.probe.before, metrics.probe.after);
          sent += parts.reduce((sum, { result }) => sum + result.delta.size, 0);
          const delta = decodeDelta(await store.get(parts[0].result.delta.sha256), '');
          gradients = Object.values(delta).reduce((bytes, { data }) => bytes + 4 * data.length, 0);
        }
      }
      const [before, after] = [probes[0], probes[probes.length - 1]];
      gained.push(before - after);
      // In a ring all-reduce each worker sends 2 (K − 1) / K of the gradients in each of its steps.
      const ratio = ((2 * (of - 1)) / of) * (gradients / (sent / 240));
      const bytes =
        of > 1 ? `; ${(sent / 240).toFixed(0)} B sent a step, ${ratio.toFixed(1)} × less than all-reduce` : '';
      console.log(`K = ${of}: loss on fixed pictures ${before.toFixed(4)} -> ${after.toFixed(4)}${bytes}`);
      if (of > 1) expect(ratio, 'limited by the tiny model’s headers').toBeGreaterThan(20);
    }
    for (const each of gained) expect(each).toBeGreaterThan(0.8 * gained[0]);
  });
});
