// A real engine in small: the same protocol, store and checkpoints as the real ones, and real deterministic arithmetic
// on 256 floats instead of a model. It can be told, by files in the folder FOVEA_FAULTS, to crash, freeze, fall silent,
// fail or wait in the middle of a piece of work, which is what the chaos tests need and no real engine should offer.

import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep, setImmediate as yieldLoop } from 'node:timers/promises';
import {
  canonicalJson,
  decodeSafetensors,
  encodeSafetensors,
  FoveaError,
  openStore,
  readCheckpoint,
  type Store,
} from '@fovea/artifacts';
import { type EngineContext, serveEngine } from '../src/engine-child.ts';
import type { EngineRequest, ReportRequest, ScoreRequest, TrainRequest } from '../src/schemas.ts';

const SIZE = 256;
const STEP_MS = Number(process.env.FOVEA_FIXTURE_STEP_MS) || 0;

serveEngine<EngineRequest>((request, context) => {
  switch (request.kind) {
    case 'train':
      return train(request, context);
    case 'score':
      return score(request, context);
    case 'report':
      return report(request, context);
    default:
      return request satisfies never;
  }
});

/** Momentum descent towards a target that each track has for itself, with a gradient noise that each step has. */
async function train({ storeRoot, recipe, round, base }: TrainRequest, context: EngineContext) {
  const store = await openStore(storeRoot);
  const start = base ? await readCheckpoint(store, base) : null;
  const weights = start
    ? await floats(store, start.weights.sha256)
    : Float32Array.from({ length: SIZE }, (_, i) => noise(recipe.seed, -1, i));
  const moment = start?.optimizer ? await floats(store, start.optimizer.sha256) : new Float32Array(SIZE);
  const loss: number[] = [];
  const began = performance.now();
  for (let step = 0; step < round.steps; step++) {
    const bad = step === Math.floor(round.steps / 2) && (await fault(`train-${round.track}-${round.round}`, context));
    loss.push(bad === 'nan' ? Number.NaN : descend(weights, moment, round.track, recipe.seed, round.firstStep + step));
    await yieldLoop();
    if (STEP_MS > 0) await sleep(STEP_MS);
    context.signal.throwIfAborted();
    context.progress({ step: step + 1, steps: round.steps, loss: loss[step], imagesPerSecond: 1000 });
  }
  await fault(`put-${round.track}-${round.round}`, context);
  const put = (data: Float32Array) => store.put(encodeSafetensors(new Map([['x', { shape: [SIZE], data }]])));
  const seconds = (performance.now() - began) / 1000;
  return {
    weights: await put(weights),
    optimizer: round.steps > 0 ? await put(moment) : null,
    step: (start?.step ?? 0) + round.steps,
    metrics: {
      steps: round.steps,
      seconds,
      imagesPerSecond: 1000,
      loss,
      terms: { distance: loss },
      gradNorm: { all: 1 },
      probe: { before: loss[0] ?? 0, after: loss.at(-1) ?? 0, gap: round.stage === 'align' ? 0.1 : null },
    },
  };
}

function descend(weights: Float32Array, moment: Float32Array, track: string, seed: number, step: number): number {
  let sum = 0;
  const target = [...track].reduce((total, letter) => total + letter.charCodeAt(0), 0);
  for (let i = 0; i < SIZE; i++) {
    const gradient = weights[i] - Math.sin(target * i) + 0.1 * noise(seed, step, i);
    moment[i] = 0.9 * moment[i] + gradient;
    weights[i] -= 0.02 * moment[i];
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
  const weights = await floats(store, (await readCheckpoint(store, checkpoint)).weights.sha256);
  const value = weights.reduce((sum, each) => sum + each, 0) / SIZE;
  context.progress({ step: 1, steps: 1, text: suites.join(' ') });
  const results = suites.map((suite) => ({
    suite,
    split: 'id',
    metric: 'mean',
    value,
    n: SIZE,
    ci: [value - 0.1, value + 0.1],
  }));
  return {
    scorecard: await store.put(new TextEncoder().encode(canonicalJson({ version: 1, checkpoint, role, results }))),
  };
}

async function report({ storeRoot, runId, runDir, recipe, scorecards }: ReportRequest, context: EngineContext) {
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
  return {
    summary: await writeWhole(path.join(runDir, 'summary.json'), JSON.stringify(summary)),
    report: await writeWhole(path.join(runDir, 'report.html'), `<title>${runId}</title>`),
  };
}

async function writeWhole(file: string, text: string): Promise<string> {
  await writeFile(`${file}.tmp`, text);
  await rename(`${file}.tmp`, file);
  return file;
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
      signal.throwIfAborted();
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
  if (action === 'user-error') throw new FoveaError('The picture cat.png cannot be read: it is no picture; remove it.');
  return action;
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
}
