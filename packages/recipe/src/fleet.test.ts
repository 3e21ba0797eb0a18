// Shards and retention in a recipe: their defaults, what is refused and how it is said, and that neither the fleet nor what
// it keeps changes what a recipe is.

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadRecipe, presetNames, type RecipeInput, recipeHash, recipeSchema } from './index.ts';

const input: RecipeInput = {
  name: 'fleet',
  data: { kind: 'emoji-world' },
  encoder: {},
  denoiser: {},
  weights: 'builtin:emoji',
  stages: [{ stage: 'align', steps: 20, lr: 1e-5, roundSteps: 10 }],
} as RecipeInput;
const parse = (extra: object) => recipeSchema.parse({ ...input, ...extra });

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'fovea-fleet-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function load(extra: object) {
  const file = path.join(folder, 'recipe.json');
  await writeFile(file, JSON.stringify({ ...input, ...extra }));
  return loadRecipe(file);
}

describe('shards and keep', () => {
  it('are one shard, any worker and every checkpoint where nothing is said', () => {
    const { shards, keep, engine } = parse({});
    expect(shards).toEqual({
      min: 1,
      max: 1,
      quorum: null,
      deadline: null,
      outer: { kind: 'average', lrScale: 'linear' },
      delta: 'fp32',
    });
    expect(keep).toEqual({ last: null, best: true, every: null });
    expect(engine.memory).toBe(0);
  });

  it('take DiLoCo’s outer optimiser with its numbers', () => {
    expect(parse({ shards: { max: 4, outer: { kind: 'nesterov' } } }).shards.outer).toEqual({
      kind: 'nesterov',
      lr: 0.7,
      momentum: 0.9,
    });
  });

  it.each([
    [{ shards: { min: 3, max: 2 } }, '"shards.min": it must not be above shards.max'],
    [{ shards: { max: 2, quorum: 3 } }, '"shards.quorum": it must not be above shards.max'],
    [{ shards: { max: 2, deadline: 60 } }, '"shards.deadline": late shards can be left out only where shards.quorum'],
    [{ shards: { max: 2, quorum: 1, deadline: 0 } }, '"shards.deadline"'],
    [{ shards: { max: 0 } }, '"shards.max"'],
    [{ shards: { max: 1.5 } }, '"shards.max"'],
    [{ shards: { outer: { kind: 'adam' } } }, '"shards.outer.kind"'],
    [{ shards: { outer: { kind: 'nesterov', momentum: 2 } } }, '"shards.outer.momentum"'],
    [{ shards: { delta: 'int4' } }, '"shards.delta"'],
    [{ shards: { most: 2 } }, 'unknown key "most"'],
    [{ keep: { last: 0 } }, '"keep.last"'],
    [{ keep: { newest: 3 } }, 'unknown key "newest"'],
    [{ engine: { memory: -1 } }, '"engine.memory"'],
    [{ shards: { max: 11 } }, 'cuts rounds of 10 steps (stage align) into up to 11 shards'],
  ])('are refused in one sentence that names the place: %j', async (extra, says) => {
    await expect(load(extra)).rejects.toMatchObject({ name: 'FoveaError', message: expect.stringContaining(says) });
  });

  it('accept as many shards as a round has steps', async () => {
    expect((await load({ shards: { max: 10, quorum: 8, deadline: 60 } })).recipe.shards.quorum).toBe(8);
  });

  it('change a recipe’s hash only where rounds may be cut', () => {
    const hash = (extra: object) => recipeHash(parse(extra));
    const plain = hash({});
    for (const same of [{ keep: { last: 1 } }, { engine: { memory: 40 } }, { shards: { delta: 'int8' } }])
      expect(hash(same)).toBe(plain);
    const cut = hash({ shards: { max: 2 } });
    expect(cut).not.toBe(plain);
    expect(hash({ shards: { max: 2, delta: 'int8' } })).not.toBe(cut);
  });

  it('leave every preset as it was: one shard', async () => {
    for (const name of await presetNames()) expect((await loadRecipe(name)).recipe.shards.max).toBe(1);
  });
});
