// A real engine in small: the same protocol, store and checkpoints as the real ones, and real deterministic arithmetic
// on 256 floats instead of a model. It can be told, by files in the folder FOVEA_FAULTS, to crash, freeze, fall silent,
// fail or wait in the middle of a piece of work, which is what the chaos tests need and no real engine should offer.

import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep, setImmediate as yieldLoop } from 'node:timers/promises';
import {
  canonicalJson,
  decodeSafetensors,
  encodeSafetensors,
  FoveaError,
  openStore,
  partialRef,
  readCheckpoint,
  type Store,
  StoreAway,
} from '@fovea/artifacts';
import { type EngineContext, serveEngine } from '../src/engine-child.ts';
import type { EngineRequest, MergeRequest, ReportRequest, ScoreRequest, TrainRequest } from '../src/schemas.ts';

const SIZE = 256;
const STEP_MS = Number(process.env.FOVEA_FIXTURE_STEP_MS) || 0;

serveEngine<EngineRequest>((request, context) => {
  switch (request.kind) {
    case 'train':
      return train(request, context);
    case 'merge':
      return merge(request, context);
    case 'score':
      return score(request, context);
    case 'report':
      return report(request, context);
    default:
      return request satisfies never;
  }
});

/**
 * Momentum descent towards a target that each track has for itself, with a gradient noise that each step has; of several
 * shards each takes its steps, keeps its own momentum and gives its move.
 */
async function train(request: TrainRequest, context: EngineContext) {
  const { storeRoot, runId, recipe, round, base, shard = { index: 0, of: 1 } } = request;
  const store = await openStore(storeRoot);
  const start = base ? await readCheckpoint(store, base) : null;
  const from = start
    ? await floats(store, start.weights.sha256)
    : Float32Array.from({ length: SIZE }, (_, i) => noise(recipe.seed, -1, i));
  const inner = shard.of > 1 && start?.inner ? start.inner[shard.index % start.inner.length] : start?.optimizer;
  let weights: Float32Array = from.slice();
  let moment: Float32Array = round.firstStep > 0 && inner ? await floats(store, inner.sha256) : new Float32Array(SIZE);
  let loss: number[] = [];
  const partial = partialRef(runId, round, shard);
  const kept = (await store.readRef(partial)) as { base: string | null; loss: number[]; x: string; m: string } | null;
  if (kept?.base === base) {
    [weights, moment, loss] = [await floats(store, kept.x), await floats(store, kept.m), kept.loss];
    note(`went-on-${round.track}-${round.round}`, String(loss.length));
  }
  const put = (data: Float32Array) => store.put(encodeSafetensors(new Map([['x', { shape: [SIZE], data }]])));
  const began = performance.now();
  const steps = Array.from({ length: round.steps }, (_, i) => i).filter((i) => i % shard.of === shard.index);
  for (const step of steps.slice(loss.length)) {
    if (context.signal.aborted) {
      const [x, m] = [(await put(weights)).sha256, (await put(moment)).sha256];
      await store.writeRef(partial, { base, loss, x, m });
      context.signal.throwIfAborted();
    }
    const place = `train-${round.track}-${round.round}`;
    const isHalf = step === Math.floor(round.steps / 2);
    const bad = isHalf && ((await fault(`${place}@${recipe.name}`, context)) ?? (await fault(place, context)));
    const rate = 20 * (recipe.stages[round.stageIndex]?.lr ?? 0);
    const at = round.firstStep + step;
    loss.push(bad === 'nan' ? Number.NaN : descend(weights, moment, round.track, recipe.seed, at, rate));
    await yieldLoop();
    if (STEP_MS > 0) await sleep(STEP_MS);
    context.progress({ step: loss.length, steps: steps.length, loss: loss.at(-1), imagesPerSecond: 1000 });
  }
  await fault(`put-${round.track}-${round.round}`, context);
  const metrics = metricsOf(loss, (performance.now() - began) / 1000);
  if (shard.of > 1) {
    const delta = await put(weights.map((x, i) => from[i] - x));
    return { delta, inner: await put(moment), samples: steps.length, metrics };
  }
  return {
    weights: await put(weights),
    optimizer: round.steps > 0 ? await put(moment) : null,
    step: (start?.step ?? 0) + round.steps,
    metrics: { ...metrics, probe: probeOf(loss, round.stage) },
  };
}

/** The mean of the shards' moves, weighted by their samples. */
async function merge({ storeRoot, round, base, shards }: MergeRequest, context: EngineContext) {
  await fault(`merge-${round.track}-${round.round}`, context);
  const store = await openStore(storeRoot);
  const start = await readCheckpoint(store, base);
  const weights = await floats(store, start.weights.sha256);
  const samples = shards.reduce((sum, { result }) => sum + result.samples, 0);
  const moves = await Promise.all(shards.map(({ result }) => floats(store, result.delta.sha256)));
  for (let i = 0; i < SIZE; i++) {
    let mean = 0;
    for (const [n, { result }] of shards.entries()) mean += (moves[n][i] * result.samples) / samples;
    weights[i] -= mean;
  }
  const blob = await store.put(encodeSafetensors(new Map([['x', { shape: [SIZE], data: weights }]])));
  const loss = shards.flatMap(({ result }) => result.metrics.loss);
  return {
    weights: blob,
    optimizer: null,
    inner: shards.map(({ result }) => result.inner),
    step: start.step + round.steps,
    metrics: { ...metricsOf(loss, 1), probe: probeOf(loss, round.stage) },
  };
}

const metricsOf = (loss: number[], seconds: number) => ({
  steps: loss.length,
  seconds,
  imagesPerSecond: 1000,
  loss,
  terms: { distance: loss },
  gradNorm: { all: 1 },
});

const probeOf = (loss: number[], stage: string) => ({
  before: loss[0] ?? 0,
  after: loss.at(-1) ?? 0,
  gap: stage === 'align' ? 0.1 : null,
});

/** Leaves a word for the test. */
function note(name: string, text: string): void {
  const folder = process.env.FOVEA_FAULTS;
  if (folder && existsSync(folder)) writeFileSync(path.join(folder, name), text);
}

/** What a track descends towards. */
function targetOf(track: string, i: number): number {
  const letters = [...track].reduce((total, letter) => total + letter.charCodeAt(0), 0);
  return Math.sin(letters * i);
}

function descend(
  weights: Float32Array,
  moment: Float32Array,
  track: string,
  seed: number,
  step: number,
  rate: number,
): number {
  let sum = 0;
  for (let i = 0; i < SIZE; i++) {
    const gradient = weights[i] - targetOf(track, i) + 0.1 * noise(seed, step, i);
    moment[i] = 0.9 * moment[i] + gradient;
    weights[i] -= rate * moment[i];
    sum += gradient * gradient;
  }
  return sum / SIZE;
}

/** A fixed pseudo-random number in [-1, 1) for every (seed, step, index). */
function noise(seed: number, step: number, i: number): number {
  let x = Math.imul(seed + 1, 0x9e3779b1) ^ Math.imul(step + 2, 0x85ebca6b) ^ Math.imul(i + 1, 0xc2b2ae35);
  x = Math.imul(x ^ (x >>> 15), 0x2c1b3c6d);
  return ((x ^ (x >>> 12)) >>> 0) / 2 ** 31 - 1;
}

async function score({ storeRoot, checkpoint, role, suites }: ScoreRequest, context: EngineContext) {
  await fault(`score-${role}`, context);
  const store = await openStore(storeRoot);
  const { weights, track } = await readCheckpoint(store, checkpoint);
  const found = await floats(store, weights.sha256);
  const distance = found.reduce((sum, each, i) => sum + (each - targetOf(track, i)) ** 2, 0) / SIZE;
  context.progress({ step: 1, steps: 1, text: suites.join(' ') });
  const card = scorecardOf(checkpoint, role, suites, 1 / (1 + distance));
  return { scorecard: await store.put(new TextEncoder().encode(canonicalJson(card))) };
}

/** As @fovea/benchmarks has it, with no item behind it: the nearer to the target, the better. */
function scorecardOf(checkpoint: string, role: string, suites: string[], value: number) {
  const results = suites.map((suite) => ({
    suite,
    split: 'id',
    metric: 'top1',
    value,
    n: SIZE,
    ci: [value - 0.1, value + 0.1],
    method: 'wilson',
    clusters: SIZE,
    chance: 0,
    errors: 0,
  }));
  return {
    version: 1,
    checkpoint,
    role,
    suiteVersion: 'test-1',
    questions: '0'.repeat(64),
    config: { seed: 1, bootstrap: 1, rendersPerConcept: 1, suites },
    classes: 2,
    foils: 'seeded-random',
    results,
    omitted: [],
    items: { ids: [], clusterNames: [], clusters: [], foils: [], top1: [], twoway: [], splits: {} },
    probes: { rows: [], targets: {} },
  };
}

async function report({ storeRoot, runId, recipe, scorecards }: ReportRequest, context: EngineContext) {
  await fault('report', context);
  const store = await openStore(storeRoot);
  const evals = [];
  for (const { scorecard, checkpoint, role } of scorecards) {
    const card = JSON.parse(new TextDecoder().decode(await store.get(scorecard)));
    for (const result of card.results) evals.push({ ...result, checkpoint, role });
  }
  const checkpoints = scorecards.map(({ checkpoint, round }) => ({ id: checkpoint, step: round, stage: 'align' }));
  const summary = {
    run: runId,
    recipe: recipe.name,
    status: 'completed',
    stages: [],
    checkpoints,
    evals,
    comparisons: [],
    report: 'report.html',
  };
  const put = (text: string) => store.put(new TextEncoder().encode(text));
  return { summary: await put(JSON.stringify(summary)), report: await put(`<title>${runId}</title>`) };
}

async function floats(store: Store, sha256: string): Promise<Float32Array> {
  return decodeSafetensors(await store.get(sha256), `blob ${sha256.slice(0, 12)}`).tensors.get('x')!
    .data as Float32Array;
}

/** Does what a file of this name in FOVEA_FAULTS says, once, and returns what that was. */
async function fault(name: string, { signal, progress }: EngineContext): Promise<string | undefined> {
  const file = path.join(process.env.FOVEA_FAULTS ?? '/nonexistent', name);
  if (!existsSync(file)) return undefined;
  const action = readFileSync(file, 'utf8').trim();
  if (action === 'wait') {
    // Until the test takes the file away, or ends somebody.
    writeFileSync(`${file}.pid`, String(process.pid));
    while (existsSync(file)) {
      await sleep(20);
      if (signal.aborted) return action;
      progress({ step: 0, steps: 1 });
    }
    return action;
  }
  rmSync(file);
  if (action === 'crash') process.kill(process.pid, 'SIGKILL');
  if (action === 'exit') process.exit(7);
  if (action === 'silent') await aborted(signal);
  if (action === 'freeze') Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  if (action === 'error') throw new Error('the fixture was told to fail');
  const away = /^away (\d+)$/.exec(action)?.[1];
  if (away !== undefined) {
    // As often as it says.
    if (Number(away) > 1) writeFileSync(file, `away ${Number(away) - 1}`);
    throw new StoreAway('The store cannot be reached; look at the network.');
  }
  if (action === 'user-error') throw new FoveaError('The picture cat.png cannot be read: it is no picture; remove it.');
  return action;
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
}
