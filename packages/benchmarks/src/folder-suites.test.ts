import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type ImageFolder, openImageFolder } from '@fovea/data';
import { type ImageFolderConfig, type Recipe, recipeSchema } from '@fovea/recipe';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { planFor, scoreCheckpoint } from './score-checkpoint.ts';
import { drawings, ProjectionSubject, paint } from './testing.ts';

const CLASSES = 6;
const PER = 20;
let root: string;
let recipe: Recipe;
let folder: ImageFolder;

const open = (holdOut: number) => openImageFolder({ ...(recipe.data as ImageFolderConfig), holdOut }, root, 3);

async function learned(seed: number): Promise<ProjectionSubject> {
  const { pixels, labels } = await folder.read(folder.train);
  return new ProjectionSubject(seed, 12).learn(folder.classes, pixels, labels);
}

beforeAll(async () => {
  root = await mkdtemp(path.join(tmpdir(), 'fovea-folder-'));
  const list = drawings('folder', CLASSES, PER);
  for (let i = 0; i < list.length; i++) {
    const dir = path.join(root, 'pictures', `thing_${list[i].gold}`);
    await mkdir(dir, { recursive: true });
    const planes = paint(list, i, 1);
    const bytes = Buffer.from(
      Array.from({ length: 3 * 144 }, (_, at) => Math.round(255 * planes[(at % 3) * 144 + Math.floor(at / 3)])),
    );
    await sharp(bytes, { raw: { width: 12, height: 12, channels: 3 } })
      .png()
      .toFile(path.join(dir, `${i}.png`));
  }
  recipe = recipeSchema.parse({
    name: 'folder',
    data: { kind: 'image-folder', path: 'pictures', imageSize: 12, holdOut: 0.5 },
    stages: [{ stage: 'projector', steps: 1, lr: 1e-3 }],
    eval: { bootstrap: 200 },
  });
  folder = await open(0.5);
}, 30_000);

afterAll(() => rm(root, { recursive: true, force: true }));

describe('picture folders', () => {
  it('score names on held-out pictures and read colour and brightness', async () => {
    const [subject, foil] = [await learned(1), await learned(2)];
    const card = await scoreCheckpoint({ recipe, dataset: folder, subject, foil, checkpoint: 'c', role: 'baseline' });
    expect(card.results.map((r) => `${r.suite}/${r.split}/${r.metric}`)).toEqual([
      'retention/id/top1',
      'retention/id/twoway',
      'probes/id/r2-colour',
      'probes/id/r2-brightness',
    ]);
    expect(card.results[0]).toMatchObject({
      n: CLASSES * PER * 0.5,
      clusters: CLASSES * PER * 0.5,
      chance: 1 / CLASSES,
    });
    expect(card.results[2].ci[0]).toBeGreaterThan(0.5);
    expect(card.items.ids[0]).toMatch(/^id\/thing_0\/\d+\.png$/);
    expect(card.foils).toBe('independent-encoder');
    expect(card.omitted).toEqual([{ suite: 'robustvqa', split: 'all', reason: expect.any(String) }]);
  });

  it('read probe targets from the pixels themselves', async () => {
    const plan = await planFor({ recipe, dataset: folder, foil: null });
    const [colour, brightness] = plan.probe!.targets;
    const { pixels } = await folder.read(folder.heldOut.slice(7, 8));
    const mean = [0, 1, 2].map((c) => pixels.subarray(c * 144, (c + 1) * 144).reduce((a, b) => a + b) / 144);
    mean.forEach((v, c) => {
      expect(colour.values[3 * 7 + c]).toBeCloseTo(v, 5);
    });
    expect(brightness.values[7]).toBeCloseTo(0.2126 * mean[0] + 0.7152 * mean[1] + 0.0722 * mean[2], 5);
  });

  it('draw wrong names from the seed without a foil encoder', async () => {
    const plan = await planFor({ recipe, dataset: folder, foil: null });
    expect(plan.foilKind).toBe('seeded-random');
    plan.items.forEach((item, i) => {
      expect(plan.foils[i]).not.toBe(item.gold);
    });
  });

  it('say so when nothing was held out, or too little for probes', async () => {
    const none = await open(0);
    await expect(planFor({ recipe, dataset: none, foil: null })).rejects.toThrow(
      /keeps no picture.*raise data\.holdOut/,
    );
    const few = await planFor({ recipe, dataset: await open(0.05), foil: null });
    expect(few.probe).toBeNull();
    expect(few.omitted.map((o) => o.suite)).toEqual(['robustvqa', 'probes']);
  });
});
