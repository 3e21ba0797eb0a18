// The real train engine as its worker starts it: a round is not begun over other files than those of the run.

import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { encodeSafetensors, FoveaError } from '@fovea/artifacts';
import { EngineProcess, type TrainRequest, trainResultSchema } from '@fovea/jobs';
import { clipVitSpecs, initialise, readClipVitConfig } from '@fovea/models';
import { planOf, recipeSchema, recipeSources } from '@fovea/recipe';
import { afterAll, beforeAll, expect, test } from 'vitest';

const CLIP = {
  model_type: 'clip_vision_model',
  hidden_size: 16,
  intermediate_size: 32,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  image_size: 16,
  patch_size: 8,
  projection_dim: 12,
};

let dir: string;
let engine: EngineProcess;
beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'fovea-train-engine-'));
  engine = new EngineProcess({ entry: new URL('./engine.ts', import.meta.url), hangTimeoutMs: 60_000 });
});
afterAll(async () => {
  await engine.close();
  await rm(dir, { recursive: true, force: true });
});

async function putEncoder(seed: number): Promise<void> {
  const folder = path.join(dir, 'clip');
  await mkdir(folder, { recursive: true });
  await writeFile(path.join(folder, 'config.json'), JSON.stringify(CLIP));
  const processor = { image_processor_type: 'CLIPImageProcessor', size: { shortest_edge: 16 } };
  await writeFile(path.join(folder, 'preprocessor_config.json'), JSON.stringify(processor));
  const weights = initialise(clipVitSpecs(readClipVitConfig(CLIP, 'clip')), seed);
  await writeFile(path.join(folder, 'model.safetensors'), encodeSafetensors(new Map(Object.entries(weights))));
}

test('an encoder that was exchanged between two rounds is a sentence', { timeout: 120_000 }, async () => {
  const recipe = recipeSchema.parse({
    name: 'own',
    data: {
      kind: 'emoji-world',
      imageSize: 16,
      concepts: 4,
      trainStyles: ['noto'],
      redrawStyles: [],
      heldOutStyles: [],
    },
    encoder: { from: 'clip' },
    stages: [
      { stage: 'projector', steps: 1, batch: 2, lr: 1e-3 },
      { stage: 'align', steps: 1, batch: 2, lr: 1e-3 },
    ],
  });
  await putEncoder(1);
  const cacheDir = path.join(dir, 'cache');
  const given = { kind: 'train', storeRoot: path.join(dir, 'store'), cacheDir, recipe, recipeDir: dir } as const;
  const sources = await recipeSources(recipe, dir, cacheDir);
  const [first, second] = planOf(recipe).get('trunk')!;
  const run = (rest: Pick<TrainRequest, 'round' | 'base'>) => engine.run({ ...given, runId: 'run', sources, ...rest });
  const { weights } = trainResultSchema.parse(await run({ round: first, base: null }));
  expect(weights.size).toBeGreaterThan(0);
  await putEncoder(2);
  const refused = run({ round: second, base: 'f'.repeat(64) });
  await expect(refused).rejects.toThrow(FoveaError);
  await expect(refused).rejects.toThrow(
    /^The files of the recipe's encoder\.from "clip" are not those that the run began with/,
  );
});
