// The real eval engine as its worker starts it: nothing is judged through other files than those of the run.

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { FoveaError } from '@fovea/artifacts';
import { EngineProcess } from '@fovea/jobs';
import { recipeSchema } from '@fovea/recipe';
import { afterAll, beforeAll, expect, test } from 'vitest';

let dir: string;
let engine: EngineProcess;
beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'fovea-eval-engine-'));
  engine = new EngineProcess({ entry: new URL('./engine.ts', import.meta.url), hangTimeoutMs: 60_000 });
});
afterAll(async () => {
  await engine.close();
  await rm(dir, { recursive: true, force: true });
});

test('an encoder that is gone or another is a sentence before anything is scored', { timeout: 120_000 }, async () => {
  const recipe = recipeSchema.parse({
    name: 'own',
    data: { kind: 'emoji-world' },
    encoder: { from: '.' },
    stages: [{ stage: 'projector', steps: 1, lr: 1e-3 }],
  });
  const score = () =>
    engine.run({
      kind: 'score',
      storeRoot: path.join(dir, 'store'),
      cacheDir: path.join(dir, 'cache'),
      recipe,
      recipeDir: dir,
      sources: { 'encoder.from': 'a'.repeat(64) },
      checkpoint: 'f'.repeat(64),
      role: 'baseline',
      suites: ['probes'],
    });
  const gone = score();
  await expect(gone).rejects.toThrow(FoveaError);
  await expect(gone).rejects.toThrow(/holds no \.safetensors file/);
  await writeFile(path.join(dir, 'model.safetensors'), Buffer.from('\x02\0\0\0\0\0\0\0{}', 'latin1'));
  await expect(score()).rejects.toThrow(/encoder\.from "\." are not those that the run began with \(aaaaaaaaaaaa then/);
});
