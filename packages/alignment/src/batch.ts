// What a step is fed: pictures from the data set, and the noise and times that belong to each of them. Everything is a
// function of (seed, stage, sample number), so batch size, prefetching and restarts change nothing.

import type { Dataset } from '@fovea/data';
import { coefficientsAt, drawTimestep } from '@fovea/diffusion';
import type { Recipe, Stage } from '@fovea/recipe';
import type { NumericArray } from '@fovea/tensor';
import { fillNormal, philox } from '@fovea/tensor/random';
import type { Networks } from './networks.ts';

type Timesteps = Recipe['diffusion']['timesteps'];

export interface NoiseQuery {
  seed: number;
  /** Name of the stream of draws: the stage, or the stage's probe. */
  stream: string;
  /** Number of the first sample. */
  first: number;
  pictures: number;
  draws: number;
  /** Elements of what is denoised: C · H · W. */
  size: number;
}

/** What a feedback step draws beside pictures, for N = pictures · draws rows; row i·draws + d is draw d of picture i. */
export function drawsFor(query: Omit<NoiseQuery, 'size'>, recipe: Recipe, networks: Networks, timesteps?: Timesteps) {
  const { connector, latent, drawsLatents } = networks;
  const { seed, stream, first, pictures, draws } = query;
  const size = latent.reduce((a, b) => a * b, 1);
  const drawn: Record<string, NumericArray> = noiseFor({ ...query, size }, recipe, timesteps);
  const rows = <T>(fn: (d: number, picture: number) => T): T[] =>
    Array.from({ length: pictures * draws }, (_, row) => fn(row % draws, first + Math.floor(row / draws)));
  const { draw, dropout } = connector;
  if (draw) {
    const indices = rows((d, picture) => draw(philox(seed, `${stream}/tokens`, d, picture)));
    drawn.tokens = Int32Array.from(indices.flatMap((each) => [...each]));
  }
  if (dropout > 0)
    drawn.dropped = Float32Array.from(
      rows((d, picture) => (philox(seed, `${stream}/dropped`, d, picture).uniform() < dropout ? 1 : 0)),
    );
  if (drawsLatents) {
    drawn.latentNoise = new Float32Array(pictures * size);
    const out = drawn.latentNoise as Float32Array;
    for (let i = 0; i < pictures; i++) {
      if (networks.cached) networks.cached({ seed, stream }, first + i, out.subarray(i * size, (i + 1) * size));
      else fillNormal(out, i * size, size, seed, `${stream}/latent`, 0, first + i);
    }
  }
  return drawn;
}

/** Noise [N, size], times [N] and coefficients [N, 4] for N = pictures · draws; row i·draws + d is draw d of picture i. */
export function noiseFor(
  { seed, stream, first, pictures, draws, size }: NoiseQuery,
  { diffusion }: Recipe,
  timesteps = diffusion.timesteps,
) {
  const n = pictures * draws;
  const noise = new Float32Array(n * size);
  const t = new Float32Array(n);
  const coefficients = new Float32Array(4 * n);
  for (let i = 0; i < pictures; i++) {
    for (let d = 0; d < draws; d++) {
      const row = i * draws + d;
      fillNormal(noise, row * size, size, seed, `${stream}/noise`, d, first + i);
      const time = drawTimestep(philox(seed, `${stream}/time`, d, first + i), timesteps);
      const { a, b, x, e } = coefficientsAt(time, diffusion.target);
      t[row] = time;
      coefficients.set([a, b, x, e], 4 * row);
    }
  }
  return { noise, t, coefficients };
}

/** The inputs of one training step, without the optimiser's scalars. `step` is 0-based within the stage. */
export async function stepBatch(
  dataset: Dataset,
  recipe: Recipe,
  stage: Stage,
  step: number,
  networks: Networks,
): Promise<Record<string, NumericArray>> {
  const { batch: pictures } = stage;
  const first = step * pictures;
  const { pixels, labels } = await dataset.trainBatch({
    seed: recipe.seed,
    stream: stage.stage,
    first,
    size: pictures,
  });
  if (stage.stage === 'pretrain') return { pixels, labels };
  const { draws } = recipe.diffusion;
  const query = { seed: recipe.seed, stream: stage.stage, first, pictures, draws };
  return { pixels, labels, ...drawsFor(query, recipe, networks, timestepsOf(recipe, stage)) };
}

/** The align stage may look at other times than the denoiser was trained on. */
export const timestepsOf = (recipe: Recipe, stage: Stage) =>
  (stage.stage === 'align' ? stage.timesteps : undefined) ?? recipe.diffusion.timesteps;
