// Sweep files: what they mean, and that each fault in one is a sentence.

import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { FoveaError } from '@fovea/artifacts';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { assignmentsOf, checkPoint, loadRecipe, loadSweep, parseSweep, pointsOf, rungsOf } from './index.ts';

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(path.join(os.tmpdir(), 'fovea-sweep-'));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

const sweep = (fields: object = {}) => parseSweep(JSON.stringify({ name: 's', recipe: 'smoke', ...fields }), 's.yaml');
const lr = 'stages.align.lr';

test('a grid is every combination, the first field slowest', () => {
  const points = pointsOf(sweep({ space: { [lr]: [0.1, 0.2], 'engine.precision': ['fp32', 'bf16', 'fp16'] } }));
  expect(points).toHaveLength(6);
  expect(points[1].values).toEqual({ [lr]: 0.1, 'engine.precision': 'bf16' });
  expect(new Set(points.map(({ id }) => id)).size).toBe(6);
  expect(pointsOf(sweep({ space: { [lr]: [0.2, 0.1] } }))[1].id).toBe(
    pointsOf(sweep({ space: { [lr]: [0.1] } }))[0].id,
  );
});

test('random points are the same every time, within their bounds, and as many more with more samples', () => {
  const space = { [lr]: { min: 1e-6, max: 1e-2, log: true }, 'stages.align.batch': { min: 2, max: 5, int: true } };
  const draw = (samples: number, seed = 1) => pointsOf(sweep({ space, search: { kind: 'random', samples, seed } }));
  const points = draw(200);
  expect(draw(200)).toEqual(points);
  expect(draw(20)).toEqual(points.slice(0, 20));
  expect(draw(20, 2)).not.toEqual(points.slice(0, 20));
  const rates = points.map(({ values }) => values[lr] as number);
  expect(Math.min(...rates)).toBeGreaterThanOrEqual(1e-6);
  expect(Math.max(...rates)).toBeLessThanOrEqual(1e-2);
  const low = rates.filter((rate) => rate < 1e-4).length;
  expect(low, 'half of them in the lower half of the logarithm').toBeGreaterThan(75);
  expect(low).toBeLessThan(125);
  expect([...new Set(points.map(({ values }) => values['stages.align.batch']))].sort()).toEqual([2, 3, 4, 5]);
});

test('few values are drawn without repeating one, and refused when there are not enough', () => {
  const of = (samples: number) => sweep({ space: { [lr]: [1, 2, 3] }, search: { kind: 'random', samples } });
  expect(pointsOf(of(3)).map(({ values }) => values[lr])).toHaveLength(3);
  expect(() => pointsOf(of(4))).toThrow(/draws 4 points, but its space has hardly more than 3/);
});

test('a point is what --set takes, and the recipe that comes of it', async () => {
  const given = sweep({ set: { 'stages.align.steps': 30 }, roles: ['aligned', 'control'], space: { [lr]: [3e-5] } });
  const [{ values }] = pointsOf(given);
  const set = assignmentsOf(given, values);
  expect(set).toEqual(['stages.align.steps=30', 'stages.align.roles=["aligned","control"]', 'stages.align.lr=0.00003']);
  const { recipe } = await loadRecipe('smoke', { set });
  expect(recipe.stages[2]).toMatchObject({ steps: 30, lr: 3e-5, roles: ['aligned', 'control'] });
  expect(() => checkPoint(given, recipe)).not.toThrow();
});

test('nothing varied is one point: a control matrix of seeds times roles', () => {
  const matrix = sweep({ seeds: [0, 1, 2], roles: ['aligned', 'control', 'placebo'] });
  expect(pointsOf(matrix)).toHaveLength(1);
  expect(pointsOf(matrix)[0].values).toEqual({});
  expect(matrix.metric).toMatchObject({
    suite: 'robustvqa',
    split: 'V2',
    metric: 'top1',
    role: 'aligned',
    against: 'control',
  });
});

test('rungs are r·η^k rounds up to the last', async () => {
  const asha = { kind: 'asha', samples: 16 };
  const { recipe } = await loadRecipe('smoke', { set: ['stages.align.steps=200', 'eval.everyRounds=1'] });
  const rungs = (more: object) =>
    rungsOf(sweep({ space: { [lr]: { min: 1, max: 2 } }, search: { ...asha, ...more } }), recipe);
  expect(rungs({})).toEqual([1, 4, 16, 20]);
  expect(rungs({ eta: 2, grace: 3, max: 12 })).toEqual([3, 6, 12]);
  expect(rungs({ max: 16 })).toEqual([1, 4, 16]);
  expect(rungsOf(sweep(), recipe)).toEqual([20]);
});

test('the recipe of a sweep file is relative to it', async () => {
  await mkdir(path.join(dir, 'in'));
  await writeFile(path.join(dir, 'in/s.yaml'), 'name: s\nrecipe: ../own.yaml\n');
  expect((await loadSweep(path.join(dir, 'in/s.yaml'))).recipe).toBe(path.join(dir, 'own.yaml'));
  await expect(loadSweep(path.join(dir, 'none.yaml'))).rejects.toThrow(/cannot be read: no such file/);
});

const asha = { kind: 'asha', samples: 4 };
test.each([
  [{ space: { 'stages align': [1] } }, /at "space.*a field of the recipe/],
  [{ space: { [lr]: 3 } }, /at "space\.stages\.align\.lr": a list of values, or/],
  [{ space: { [lr]: [] } }, /it lists no value/],
  [{ space: { [lr]: [1, 1] } }, /two of its values are the same/],
  [{ space: { [lr]: { min: 2, max: 1 } }, search: asha }, /a list of values, or|min must be below max/],
  [{ space: { [lr]: { min: 0, max: 1, log: true } }, search: asha }, /a list of values, or|above 0/],
  [{ space: { [lr]: { min: 1, max: 2 } } }, /between bounds, which a grid cannot/],
  [{ search: asha }, /varies nothing/],
  [{ space: { [lr]: [1] }, set: { [lr]: 2 } }, /both sets and varies "stages\.align\.lr"/],
  [{ set: { seed: 2 } }, /list the seeds/],
  [{ seeds: [1, 1] }, /two of them are the same/],
  [{ seeds: [-1] }, /at "seeds\.0"/],
  [{ metric: { against: 'aligned' } }, /compares aligned with itself/],
  [{ roles: ['aligned'], set: { 'stages.align.roles': ['control'] } }, /leave one out/],
  [{ speed: 3 }, /Unrecognized key/],
  [{ space: { a: [...Array(40).keys()], b: [...Array(40).keys()] } }, /1600 points, and 1000 are the most/],
])('%j is refused in one sentence', (fields, sentence) => {
  expect(() => sweep(fields)).toThrow(FoveaError);
  expect(() => sweep(fields)).toThrow(sentence);
});

test('a document that is no mapping is refused by name', () => {
  expect(() => parseSweep('- 1', 'x.yaml')).toThrow('The sweep "x.yaml" must be a mapping');
  expect(() => parseSweep('a: [', 'x.yaml')).toThrow('The sweep "x.yaml" is not valid YAML');
});

test.each([
  [{ metric: { role: 'placebo' } }, ['stages.align.roles=[aligned, control]'], /compares placebo, which is not among/],
  [
    { metric: { suite: 'probes', metric: 'r2-x' } },
    ['eval.suites=[retention]'],
    /compares probes, which is not among the suites retention/,
  ],
  [{ search: asha }, [], /rounds, where the recipe scores nothing/],
  [{ search: { ...asha, max: 9 } }, ['eval.everyRounds=1'], /but the align stage has 2/],
  [{ search: { ...asha, grace: 3 } }, ['eval.everyRounds=1'], /has rungs at 3 to 2 rounds/],
  [{ search: { ...asha, samples: 3 } }, ['eval.everyRounds=1'], /of 3 points none would reach the last; draw 4/],
  [{ search: asha }, ['eval.everyRounds=1', 'stages.align.stopOn={drop: 0.1}'], /leave one of them out/],
])('a recipe that cannot be judged as %j says is refused', async (fields, set, sentence) => {
  const given = sweep({
    space: { [lr]: { min: 0.001, max: 0.002 } },
    search: { kind: 'random', samples: 2 },
    ...fields,
  });
  const { recipe } = await loadRecipe('smoke', { set });
  expect(() => checkPoint(given, recipe)).toThrow(sentence);
  expect(() => checkPoint(given, recipe)).toThrow(FoveaError);
});
