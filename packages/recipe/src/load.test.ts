// What fields say of each other: recipes whose pictures and networks do not go together are refused, each in one sentence.

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { gatesOf, loadRecipe, parseRecipe } from './index.ts';

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(path.join(os.tmpdir(), 'fovea-recipe-'));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

const refusal = (recipe: string, ...set: string[]) =>
  loadRecipe(recipe, { set }).then(
    () => 'loaded',
    (error: Error) => error.message,
  );

describe('pictures of a folder', () => {
  it('are cropped as DIVA does, by its preset', async () => {
    const { data, autoencoder } = (await loadRecipe('diva')).recipe;
    expect(data).toMatchObject({ augment: { crop: { scale: [0.9, 1], ratio: [3 / 4, 4 / 3] }, flip: 0 } });
    expect(autoencoder?.cache).toBe(false);
    expect((await loadRecipe('deem')).recipe.data).toMatchObject({ augment: null });
  });

  it('that change at random have no latents to keep', async () => {
    const sentence = await refusal('diva', 'autoencoder.cache=true');
    expect(sentence).toMatch(/^The recipe "diva" has data\.augment and autoencoder\.cache, but .*set "cache: false"/);
    expect(sentence.split('\n')).toHaveLength(1);
    expect(await refusal('deem', 'data.augment={flip: 0.5}')).toMatch(/set "cache: false"/);
    expect(await refusal('deem', 'data.augment={flip: 0.5}', 'autoencoder.cache=false')).toBe('loaded');
    expect(await refusal('diva', 'autoencoder.cache=true', 'data.augment=null')).toBe('loaded');
  });

  it('need a side where the encoder comes from a folder', async () => {
    const file = path.join(dir, 'mine.yaml');
    const stages = 'stages: [{ stage: align, steps: 1, lr: 1e-5, alsoTrains: [projector] }]';
    const write = (encoder: string, more: string) =>
      writeFile(file, `name: mine\ndata: { kind: image-folder, path: p${more} }\nencoder: ${encoder}\n${stages}\n`);
    await write('{ from: ./clip }', '');
    expect(await refusal(file)).toMatch(/has an encoder from a folder and no data\.imageSize; give the side/);
    expect(await refusal(file, 'data.imageSize=224')).not.toMatch(/imageSize/);
    await write('{ width: 64 }', '');
    expect(await refusal(file)).not.toMatch(/no data\.imageSize/);
  });

  it('have ranges whose ends are in order, and shares that are shares', async () => {
    const cropped = (crop: string) => refusal('diva', `data.augment={crop: {${crop}}}`);
    expect(await cropped('scale: [0.9, 0.5]')).toMatch(
      /"data\.augment\.crop\.scale": the first number must not be above/,
    );
    expect(await cropped('scale: [0, 1]')).toMatch(/data\.augment\.crop\.scale/);
    expect(await cropped('scale: [0.5, 1.5]')).toMatch(/data\.augment\.crop\.scale/);
    expect(await cropped('ratio: [0, 1]')).toMatch(/data\.augment\.crop\.ratio/);
    expect(await refusal('diva', 'data.augment={flip: 2}')).toMatch(/"data\.augment\.flip"/);
  });
});

it.each([
  ['brackets', '['.repeat(2000), /nested more than 32 levels deep/],
  ['braces that would end the process', '{'.repeat(4000), /nested more than 32 levels deep/],
  ['dashes', '- '.repeat(2000), /nested more than 32 levels deep/],
  ['too many fields', 'a: 1\n'.repeat(20_000), /more than 10000 words and signs/],
])('a document of nothing but %s is a sentence, at once', (_what, text, sentence) => {
  expect(() => parseRecipe(text, 'x', '/')).toThrow(sentence);
});

it('a plan with more rounds than a run can have is a sentence', async () => {
  const set = ['stages.align.steps=9e15', 'stages.align.roundSteps=1'];
  await expect(loadRecipe('smoke', { set })).rejects.toThrow(/plans \d+ rounds, and 100000 are the most/);
});

it('gates change no hash, default to a point of top-1, and join what stopOn asks', async () => {
  const plain = await loadRecipe('smoke');
  expect(plain.recipe.eval.gates).toEqual([]);
  const gated = await loadRecipe('smoke', {
    set: ['eval.gates=[{suite: retention}]', 'stages.align.stopOn={drop: 0.02}'],
  });
  expect(gatesOf(gated.recipe)).toEqual([
    { suite: 'retention', metric: 'top1', maxDrop: 2 },
    { suite: 'retention', metric: 'top1', maxDrop: 1 },
  ]);
  const only = await loadRecipe('smoke', { set: ['eval.gates=[{suite: retention}]'] });
  expect(only.hash).toBe(plain.hash);
});

it.each([
  ['eval.gates=[{suite: probes}]', /no such metric; probes have r2-<target>/],
  ['eval.gates=[{suite: retention, metric: r2-colour}]', /a gate on r2-colour of retention/],
  ['eval.gates=[{suite: retention, metric: accuracy}]', /top1, twoway or r2-<target>/],
  ['eval.gates=[{suite: retention, maxDrop: -1}]', /eval\.gates/],
])('refuses the gate %s', async (set, sentence) => {
  await expect(loadRecipe('smoke', { set: [set] })).rejects.toThrow(sentence);
});

it('refuses a gate on a suite that is not scored', async () => {
  const set = ['eval.suites=[probes]', 'eval.gates=[{suite: retention}]'];
  await expect(loadRecipe('smoke', { set })).rejects.toThrow(/add retention to eval\.suites/);
});
