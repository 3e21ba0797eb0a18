// Does a run that is cut into shards learn as one that is not? The align stage of a recipe at equal total samples for
// K = 1, 2, 4, over several seeds: loss on the fixed pictures with intervals, and what moves between machines. The real
// trainer and store in one process, without a queue: the shards of a round are computed one after the other.
//
//   npm run learning -- [--short] [--recipe emoji] [--seeds 5] [--first 0] [--shards 1,2,4] [--delta fp32,fp16,int8]
//                       [--outer average|nesterov] [--round 50] [--set path=value …]

import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { type DeltaResult, decodeDelta, openData, type RoundResult, type Shard, Trainer } from '@fovea/alignment';
import { openStore, readCheckpoint, type Store, writeCheckpoint } from '@fovea/artifacts';
import { loadRecipe, planOf, type Recipe, type Round } from '@fovea/recipe';

const { values: given } = parseArgs({
  options: {
    short: { type: 'boolean', default: false },
    recipe: { type: 'string' },
    seeds: { type: 'string' },
    first: { type: 'string', default: '0' },
    shards: { type: 'string', default: '1,2,4' },
    delta: { type: 'string' },
    outer: { type: 'string', default: 'average' },
    round: { type: 'string' },
    set: { type: 'string', multiple: true, default: [] },
  },
});
const preset = given.recipe ?? (given.short ? 'smoke' : 'emoji');
const seeds = Number(given.seeds ?? (given.short ? 2 : 5));
const first = Number(given.first);
const counts = given.shards.split(',').map(Number);
const deltas = (given.delta ?? (given.short ? 'fp16' : 'fp32,fp16,int8')).split(',');

/** One trained branch. */
interface Outcome {
  /** Objective on the fixed pictures before and after. */
  before: number;
  after: number;
  /** Bytes of a worker for each step of its own: moves that it sends, and all that it sends and fetches. */
  sent: number;
  all: number;
  /** Bytes of all gradients in fp32. */
  gradients: number;
}

async function recipeOf(seed: number, max: number, delta: string): Promise<{ recipe: Recipe; recipeDir: string }> {
  const round = given.round ? [`stages.align.roundSteps=${given.round}`] : [];
  const set = [
    `shards.max=${max}`,
    `shards.delta=${delta}`,
    `shards.outer.kind=${given.outer}`,
    ...round,
    ...given.set,
  ];
  return loadRecipe(preset, { seed, set });
}

class Bench {
  readonly #store: Store;
  readonly #trainer: Trainer;

  constructor(store: Store, cacheDir: string) {
    this.#store = store;
    this.#trainer = new Trainer({
      store,
      openDataset: (recipe, recipeDir) => openData(recipe, { recipeDir, cacheDir }),
    });
  }

  /** The trunk, once for a seed. */
  async trunk(recipe: Recipe, recipeDir: string): Promise<string> {
    let base: string | null = null;
    for (const round of planOf(recipe).get('trunk') as Round[])
      base = (await this.#round(recipe, recipeDir, round, base, 1)).id;
    return base as string;
  }

  async branch(recipe: Recipe, recipeDir: string, start: string, of: number): Promise<Outcome> {
    const rounds = planOf(recipe).get('aligned') as Round[];
    let base = start;
    let before: number | null = null;
    let after = 0;
    const sum = { sent: 0, all: 0, steps: 0, gradients: 0 };
    for (const round of rounds) {
      const { id, result, parts } = await this.#round(recipe, recipeDir, round, base, of);
      before ??= result.metrics.probe.before;
      after = result.metrics.probe.after;
      const { weights, inner } = await readCheckpoint(this.#store, base);
      parts.forEach(({ delta, inner: own }, k) => {
        // A worker fetches the weights and its moments, and sends its move and its moments.
        sum.sent += delta.size;
        sum.all += delta.size + weights.size + own.size + (inner ? inner[k % inner.length].size : 0);
        sum.steps += Math.ceil((round.steps - k) / of);
      });
      if (parts.length > 0) {
        const move = decodeDelta(await this.#store.get(parts[0].delta.sha256), 'the move');
        sum.gradients = Object.values(move).reduce((bytes, { data }) => bytes + 4 * data.length, 0);
      }
      base = id;
    }
    const steps = Math.max(1, sum.steps);
    return {
      before: before as number,
      after,
      sent: sum.sent / steps,
      all: sum.all / steps,
      gradients: sum.gradients,
    };
  }

  async #round(recipe: Recipe, recipeDir: string, round: Round, base: string | null, of: number) {
    const runId = `${recipe.seed}-${of}-${recipe.shards.delta}`;
    const request = { runId, recipe, recipeDir, round };
    const never = new AbortController().signal;
    const parts: (Shard & { result: DeltaResult })[] = [];
    let result: RoundResult;
    if (of === 1) result = await this.#trainer.train({ ...request, base }, () => {}, never);
    else {
      for (let index = 0; index < of; index++) {
        const shard = { index, of };
        const part = await this.#trainer.train({ ...request, base, shard }, () => {}, never);
        parts.push({ ...shard, result: part as DeltaResult });
      }
      result = await this.#trainer.merge({ ...request, base: base as string, shards: parts }, () => {});
    }
    const { metrics: _metrics, step, ...blobs } = result;
    const id = await writeCheckpoint(this.#store, {
      ...{ version: 1, parent: base, track: round.track, stage: round.stage, round: round.round, step },
      ...blobs,
      cursor: { step: round.firstStep + round.steps },
      seed: recipe.seed,
      recipe: '0'.repeat(64),
    });
    return { id, result, parts: parts.map((part) => part.result) };
  }

  dispose(): Promise<void> {
    return this.#trainer.dispose();
  }
}

/** Two-sided 97.5 % points of Student's t for 1 … 9 degrees of freedom. */
const T = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262];

/** Mean and half of its 95 % interval over seeds. */
function interval(values: number[]): { mean: number; half: number } {
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  if (values.length < 2) return { mean, half: Number.NaN };
  const variance = values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (values.length - 1);
  return { mean, half: (T[values.length - 2] ?? 1.96) * Math.sqrt(variance / values.length) };
}

const show = ({ mean, half }: { mean: number; half: number }) => `${mean.toFixed(4)} ± ${half.toFixed(4)}`;

async function main(): Promise<void> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'fovea-learning-'));
  const outcomes = new Map<string, Outcome[]>();
  const bench = new Bench(await openStore(path.join(folder, 'store')), path.join(folder, 'cache'));
  try {
    for (let seed = first; seed < first + seeds; seed++) {
      const whole = await recipeOf(seed, 1, 'fp32');
      const start = await bench.trunk(whole.recipe, whole.recipeDir);
      for (const of of counts) {
        for (const delta of of === 1 ? ['fp32'] : deltas) {
          const { recipe, recipeDir } = await recipeOf(seed, of, delta);
          const began = performance.now();
          const outcome = await bench.branch(recipe, recipeDir, start, of);
          const key = of === 1 ? '1' : `${of} ${delta}`;
          outcomes.set(key, [...(outcomes.get(key) ?? []), outcome]);
          const seconds = ((performance.now() - began) / 1000).toFixed(0);
          console.error(
            `seed ${seed}, K = ${key}: ${outcome.before.toFixed(4)} -> ${outcome.after.toFixed(4)} in ${seconds} s`,
          );
        }
      }
    }
    report(outcomes);
  } finally {
    await bench.dispose();
    await rm(folder, { recursive: true, force: true });
  }
}

const HEAD = [
  'K',
  'code',
  'loss before',
  'loss after',
  'less K = 1, paired',
  'kB sent',
  '× less',
  'kB in all',
  '× less',
];
const WIDTHS = [3, 5, 17, 17, 19, 8, 7, 10, 7];

function report(outcomes: Map<string, Outcome[]>): void {
  const whole = outcomes.get('1') ?? [];
  const line = (cells: string[]) =>
    console.log(
      cells
        .map((cell, i) => cell.padEnd(WIDTHS[i]))
        .join('  ')
        .trimEnd(),
    );
  console.log(`${preset}, align stage, ${given.outer}, n = ${seeds} seeds, mean ± half of the 95 % interval`);
  console.log('bytes of a worker for each of its steps; × less than a ring all-reduce of fp32 gradients in every step');
  line(HEAD);
  for (const [key, all] of outcomes) {
    const [of, delta = ''] = key.split(' ');
    const losses = [show(interval(all.map(({ before }) => before))), show(interval(all.map(({ after }) => after)))];
    if (of === '1') {
      line([of, delta, ...losses]);
      continue;
    }
    // In a ring each of K workers sends 2 (K - 1) / K of the gradients, and fetches as much.
    const ring = ((2 * (Number(of) - 1)) / Number(of)) * all[0].gradients;
    const bytes = (each: number, ring: number) => [(each / 1e3).toFixed(1), (ring / each).toFixed(1)];
    const paired = whole.length > 0 ? show(interval(all.map(({ after }, i) => after - whole[i].after))) : '';
    line([of, delta, ...losses, paired, ...bytes(all[0].sent, ring), ...bytes(all[0].all, 2 * ring)]);
  }
}

await main();
