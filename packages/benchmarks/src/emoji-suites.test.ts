import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type EmojiWorld, openEmojiWorld } from '@fovea/data';
import { type Recipe, recipeSchema } from '@fovea/recipe';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { EvalPlan } from './plan.ts';
import { planFor, scoreCheckpoint } from './score-checkpoint.ts';
import { hardestWrong } from './scoring.ts';
import { ProjectionSubject } from './testing.ts';

const recipe: Recipe = recipeSchema.parse({
  name: 'suites',
  data: {
    kind: 'emoji-world',
    imageSize: 24,
    concepts: 40,
    trainStyles: ['noto', 'twemoji'],
    heldOutStyles: ['openmoji'],
  },
  stages: [{ stage: 'projector', steps: 1, lr: 1e-3 }],
  eval: { bootstrap: 200, rendersPerConcept: 1 },
});

let cacheDir: string;
let world: EmojiWorld;
let foil: ProjectionSubject;
let plan: EvalPlan;

/** A projection that learned the concepts from training pictures. */
async function learned(seed: number): Promise<ProjectionSubject> {
  const { pixels, labels } = await world.trainBatch({ seed: 5, stream: 'examples', first: 0, size: 1600 });
  return new ProjectionSubject(seed, 24).learn(world.classes, pixels, labels);
}

beforeAll(async () => {
  cacheDir = await mkdtemp(path.join(tmpdir(), 'fovea-suites-'));
  if (recipe.data.kind !== 'emoji-world') throw new Error('unreachable');
  world = await openEmojiWorld(recipe.data, cacheDir);
  foil = await learned(1);
  plan = await planFor({ recipe, dataset: world, foil });
}, 60_000);

afterAll(() => rm(cacheDir, { recursive: true, force: true }));

const rowsOf = (of: EvalPlan, split: string) => of.splits.find((s) => s.split === split)!.rows;

async function pixelsOf(of: EvalPlan, rows: ArrayLike<number>): Promise<Float32Array> {
  const size = 3 * of.imageSize ** 2;
  const out = new Float32Array(rows.length * size);
  for (let i = 0; i < rows.length; i++) await of.render(rows[i], 1, out.subarray(i * size, (i + 1) * size));
  return out;
}

describe('questions', () => {
  it('hold the splits of the benchmark with at least 300 items in each', () => {
    expect(plan.splits.map((s) => `${s.suite}/${s.split}`)).toEqual([
      'retention/id',
      'robustvqa/V2',
      'robustvqa/V2/noto-v1',
      'robustvqa/V2/fxemoji',
      'robustvqa/R/openmoji',
      'robustvqa/A',
      'robustvqa/A-unfiltered',
    ]);
    for (const split of plan.splits) expect(split.rows.length).toBeGreaterThanOrEqual(300);
    expect(plan.omitted).toEqual([]);
    expect(new Set(plan.items.map((item) => item.id)).size).toBe(plan.items.length);
    for (const { clusterId, gold } of plan.items) expect(world.classes[gold]).toBe(clusterId);
  });

  it('are the same again, and others for another seed', async () => {
    const again = await planFor({ recipe, dataset: world, foil: await learned(1) });
    expect(again).not.toBe(plan);
    expect(await planFor({ recipe, dataset: world, foil })).toBe(plan); // kept for the same foil and data
    expect(again.items).toEqual(plan.items);
    expect(again.foils).toEqual(plan.foils);
    expect(await pixelsOf(again, [0, 500, 1000])).toEqual(await pixelsOf(plan, [0, 500, 1000]));
    const other = await planFor({ recipe: { ...recipe, eval: { ...recipe.eval, seed: 9 } }, dataset: world, foil });
    expect(await pixelsOf(other, [0])).not.toEqual(await pixelsOf(plan, [0]));
  });

  it('take foils from the foil encoder alone, and A from its errors alone', async () => {
    const rows = rowsOf(plan, 'A-unfiltered');
    const gold = Array.from(rows, (row) => plan.items[row].gold);
    const features = await foil.imageFeatures(await pixelsOf(plan, rows), rows.length);
    const { wrong, margin } = hardestWrong(features, await foil.textFeatures(world.classes), foil.dim, gold);
    expect(Array.from(rows, (row) => plan.foils[row])).toEqual([...wrong]);
    expect([...rowsOf(plan, 'A')]).toEqual([...rows].filter((_, i) => margin[i] <= 0));
    expect(rowsOf(plan, 'A').length).toBeLessThan(rows.length);
  });

  it('do not depend on the subject', async () => {
    const cards = [];
    for (const seed of [2, 3]) {
      const subject = await learned(seed);
      cards.push(
        await scoreCheckpoint({ recipe, dataset: world, subject, foil, checkpoint: `c${seed}`, role: 'baseline' }),
      );
    }
    expect(cards[0].questions).toBe(cards[1].questions);
    expect(cards[0].items.foils).toEqual(cards[1].items.foils);
    expect(cards[0].items.splits).toEqual(cards[1].items.splits);
    expect(cards[0].items.top1).not.toEqual(cards[1].items.top1);
    await expect(
      scoreCheckpoint({ recipe, dataset: world, subject: foil, foil, checkpoint: 'c', role: 'baseline' }),
    ).rejects.toThrow(/other than/);
  });

  it('draw wrong names from the seed without a foil encoder, and have no A then', async () => {
    const without = await planFor({ recipe, dataset: world, foil: null });
    expect(without.foilKind).toBe('seeded-random');
    expect(without.splits.map((s) => s.split)).not.toContain('A');
    expect(rowsOf(without, 'A-unfiltered').length).toBeGreaterThanOrEqual(300);
    expect(without.omitted).toEqual([
      { suite: 'robustvqa', split: 'A', reason: expect.stringContaining('no independent encoder') },
    ]);
    for (let i = 0; i < without.items.length; i++) expect(without.foils[i]).not.toBe(without.items[i].gold);
    // Uniform over the other names: every concept serves as a foil.
    expect(new Set(without.foils).size).toBe(world.classes.length);
  });

  it('ask only the suites that are wanted, and name unknown ones', async () => {
    const retention = await planFor({ recipe, dataset: world, foil, suites: ['retention'] });
    expect(retention.splits.map((s) => s.suite)).toEqual(['retention']);
    expect(retention.probe).toBeNull();
    await expect(planFor({ recipe, dataset: world, foil, suites: ['pope'] })).rejects.toThrow(
      /no suite called "pope"; the suites are/,
    );
  });
});

describe('scores', () => {
  it('find in probes what the pixels hold', async () => {
    const subject = await learned(2);
    const card = await scoreCheckpoint({ recipe, dataset: world, subject, foil, checkpoint: 'c2', role: 'baseline' });
    const value = (metric: string) => card.results.find((r) => r.metric === metric)!;
    expect(value('r2-background').ci[0]).toBeGreaterThan(0.3);
    expect(card.results.filter((r) => r.suite === 'probes').map((r) => r.metric)).toEqual([
      'r2-background',
      'r2-scale',
      'r2-x',
      'r2-y',
      'r2-rotation',
    ]);
    const id = card.results.find((r) => r.split === 'id' && r.metric === 'top1')!;
    expect(id.ci[0]).toBeGreaterThan(id.chance);
    expect(id.clusters).toBe(40);
  });
});
