// Real, small things that the tests of this package score: a deterministic encoder that projects pixels, and a plan of
// hand-drawn pictures. Nothing of it is exported from the package.

import type { BenchmarkConfig, EvalGate } from '@fovea/recipe';
import { philox } from '@fovea/tensor/random';
import type { ImageTextEncoder } from './image-text-encoder.ts';
import type { EvalPlan, Item } from './plan.ts';

/** Side of the pooled picture that a projection sees. */
const POOLED = 6;
const INPUT = 3 * POOLED ** 2;

/** A random projection of the pooled picture; class names are the mean features of example pictures. */
export class ProjectionSubject implements ImageTextEncoder {
  readonly dim: number;
  /** Number of pictures of every call, for tests of chunking. */
  readonly calls: number[] = [];
  readonly #imageSize: number;
  readonly #weights: Float64Array;
  readonly #prototypes = new Map<string, Float32Array>();

  constructor(seed: number, imageSize: number, dim = 32, weightOf: (input: number) => number = () => 1) {
    this.dim = dim;
    this.#imageSize = imageSize;
    const rng = philox(seed, 'projection');
    this.#weights = Float64Array.from({ length: dim * INPUT }, (_, i) => rng.normal() * weightOf(i % INPUT));
  }

  /** Learns what the classes look like from `pixels` [n, 3, H, W] and their labels. */
  async learn(classes: string[], pixels: Float32Array, labels: ArrayLike<number>): Promise<this> {
    const features = await this.imageFeatures(pixels, labels.length);
    classes.forEach((name, label) => {
      const mean = new Float32Array(this.dim);
      for (let i = 0; i < labels.length; i++) {
        if (labels[i] === label) for (let k = 0; k < this.dim; k++) mean[k] += features[i * this.dim + k];
      }
      this.#prototypes.set(name, normalise(mean));
    });
    this.calls.length = 0;
    return this;
  }

  async imageFeatures(pixels: Float32Array, n: number): Promise<Float32Array> {
    this.calls.push(n);
    const size = 3 * this.#imageSize ** 2;
    const out = new Float32Array(n * this.dim);
    for (let i = 0; i < n; i++) {
      const input = pool(pixels.subarray(i * size, (i + 1) * size), this.#imageSize);
      const feature = new Float32Array(this.dim);
      for (let k = 0; k < this.dim; k++) {
        let sum = 0;
        for (let j = 0; j < INPUT; j++) sum += this.#weights[k * INPUT + j] * input[j];
        feature[k] = sum;
      }
      out.set(normalise(feature), i * this.dim);
    }
    return out;
  }

  async textFeatures(names: string[]): Promise<Float32Array> {
    const out = new Float32Array(names.length * this.dim);
    names.forEach((name, i) => {
      const prototype = this.#prototypes.get(name);
      if (!prototype) throw new Error(`No pictures of ${name} were learned.`);
      out.set(prototype, i * this.dim);
    });
    return out;
  }
}

/** Box means of a [3, H, W] picture on a coarse grid, minus 0.5. */
function pool(picture: Float32Array, side: number): Float64Array {
  const out = new Float64Array(INPUT);
  const counts = new Float64Array(INPUT);
  for (let c = 0; c < 3; c++) {
    for (let y = 0; y < side; y++) {
      for (let x = 0; x < side; x++) {
        const at = (c * POOLED + Math.floor((y * POOLED) / side)) * POOLED + Math.floor((x * POOLED) / side);
        out[at] += picture[(c * side + y) * side + x];
        counts[at]++;
      }
    }
  }
  return out.map((v, i) => v / counts[i] - 0.5);
}

function normalise(v: Float32Array): Float32Array {
  let square = 0;
  for (const x of v) square += x * x;
  const scale = square > 0 ? 1 / Math.sqrt(square) : 0;
  return v.map((x) => x * scale);
}

const SIDE = 12;

/** One hand-drawn picture: a coloured square of the class somewhere on a plain ground. */
export interface Drawing {
  gold: number;
  ground: [number, number, number];
  x: number;
  y: number;
}

/** `classes` · `per` drawings; each is a function of (stream, class, draw) alone. */
export function drawings(stream: string, classes: number, per: number): Drawing[] {
  return Array.from({ length: classes * per }, (_, i) => {
    const gold = Math.floor(i / per);
    const rng = philox(11, stream, i % per, gold);
    return { gold, ground: [rng.uniform(), rng.uniform(), rng.uniform()], x: rng.int(SIDE - 6), y: rng.int(SIDE - 6) };
  });
}

/** Pixels [n, 3, 12, 12] of drawings first … first + count − 1. */
export function paint(
  list: readonly Drawing[],
  first: number,
  count: number,
  out: Float32Array = new Float32Array(count * 3 * SIDE ** 2),
): Float32Array {
  for (let i = 0; i < count; i++) {
    const { gold, ground, x, y } = list[first + i];
    const colour = philox(12, 'class-colour', 0, gold);
    for (let c = 0; c < 3; c++) {
      const at = (3 * i + c) * SIDE ** 2;
      out.fill(ground[c], at, at + SIDE ** 2);
      const level = colour.uniform();
      for (let dy = 0; dy < 6; dy++) out.fill(level, at + (y + dy) * SIDE + x, at + (y + dy) * SIDE + x + 6);
    }
  }
  return out;
}

/** A plan over drawings: one retention split, one robustness split, ground colour and place as probes. */
export function drawnPlan(options: { classes?: number; per?: number; order?: (n: number) => number[] } = {}): EvalPlan {
  const { classes: count = 24, per = 14 } = options;
  const list = drawings('test', count, per);
  const order = options.order?.(list.length) ?? list.map((_, i) => i);
  const sorted = order.map((i) => list[i]);
  const items = order.map((i): Item => ({ id: `d/${i}`, clusterId: `class-${list[i].gold}`, gold: list[i].gold }));
  const rows = Int32Array.from(items.keys());
  return {
    source: 'drawings',
    classes: Array.from({ length: count }, (_, i) => `thing ${i}`),
    items,
    foils: Int32Array.from(items, ({ gold }) => (gold + 1) % count),
    foilKind: 'independent-encoder',
    splits: [
      { suite: 'retention', split: 'id', rows },
      { suite: 'robustvqa', split: 'V2', rows: rows.filter((_, i) => order[i] % 2 === 0) },
    ],
    probe: {
      rows,
      targets: [
        { name: 'background', columns: 3, values: Float64Array.from(sorted.flatMap((d) => d.ground)) },
        { name: 'x', columns: 1, values: Float64Array.from(sorted, (d) => d.x) },
      ],
    },
    omitted: [],
    imageSize: SIDE,
    async render(first, n, out) {
      paint(sorted, first, n, out);
    },
  };
}

/** An encoder that learned the drawings' classes from other drawings. */
export function drawnSubject(
  seed: number,
  classes = 24,
  weightOf?: (input: number) => number,
): Promise<ProjectionSubject> {
  const list = drawings('train', classes, 20);
  const names = Array.from({ length: classes }, (_, i) => `thing ${i}`);
  return new ProjectionSubject(seed, SIDE, 32, weightOf).learn(
    names,
    paint(list, 0, list.length),
    list.map((d) => d.gold),
  );
}

export const evalConfig = {
  suites: ['robustvqa', 'retention', 'probes'] as ('robustvqa' | 'retention' | 'probes')[],
  rendersPerConcept: 2,
  everyRounds: 1,
  newestOnly: false,
  bootstrap: 400,
  seed: 1,
  gates: [] as EvalGate[],
  benchmarks: [] as BenchmarkConfig[],
};
