// The product as its user meets it: the command line in a folder of its own, real processes, a real Redis. The smoke
// recipe runs whole; a second run of it is interrupted and resumed and must come to the same checkpoints.

import { type ChildProcess, spawn } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { decodeSafetensors } from '@fovea/artifacts';
import { runOnnx } from '@fovea/tensor';
import { philox } from '@fovea/tensor/random';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const CLI = fileURLToPath(new URL('../apps/cli/bin/fovea.js', import.meta.url));
const RUN_MS = 240_000;

interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
}

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'fovea-e2e-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

function start(
  args: string[],
  env: Record<string, string> = {},
): { child: ChildProcess; ended: Promise<Ended>; out: { stdout: string } } {
  const child = spawn(process.execPath, [CLI, ...args], {
    cwd: folder,
    env: { ...process.env, REDIS_URL: '', INIT_CWD: folder, NO_COLOR: '1', ...env },
  });
  const out = { stdout: '', stderr: '' };
  child.stdout.on('data', (data) => (out.stdout += data));
  child.stderr.on('data', (data) => (out.stderr += data));
  return { child, out, ended: new Promise((resolve) => child.on('close', (code) => resolve({ code, ...out }))) };
}

const fovea = (...args: string[]) => start(args).ended;
/** Folder name, and so id, of the run that was started under a name. */
const runOf = async (name: string) =>
  (await readdir(path.join(folder, 'runs'))).find((id) => id.startsWith(`${name}-`)) ?? '';
const readJson = async (...parts: string[]) => JSON.parse(await readFile(path.join(folder, ...parts), 'utf8'));

/** A sentence for the user: exit code 2, one line, no stack. */
function expectSentence({ code, stderr }: Ended, pattern: RegExp): void {
  expect(stderr).toMatch(pattern);
  expect(stderr).not.toMatch(/\n\s+at /);
  expect(code).toBe(2);
}

describe('a run', () => {
  let ids: string[];

  it(
    'trains, scores and reports',
    async () => {
      const { code, stdout, stderr } = await fovea('train', '--recipe', 'smoke', '--name', 'first', '--json');
      expect(code, stderr).toBe(0);
      const summary = await readJson('runs', 'latest', 'summary.json');
      expect(JSON.parse(stdout)).toMatchObject({ run: summary.run, status: 'completed' });
      expect(summary.stages.map((s: { name: string; role: string }) => `${s.name} ${s.role}`)).toEqual([
        'pretrain baseline',
        'projector baseline',
        'align aligned',
        'align control',
        'align placebo',
      ]);
      const pretrain = summary.stages[0];
      expect(pretrain).toMatchObject({ steps: 60 });
      expect(pretrain.lossLast).toBeLessThan(pretrain.lossFirst);
      expect(summary.stages.every((s: { imagesPerSecond: number }) => s.imagesPerSecond > 0)).toBe(true);
      expect(new Set(summary.evals.map((e: { role: string }) => e.role))).toEqual(
        new Set(['baseline', 'aligned', 'control', 'placebo']),
      );
      for (const { value, ci, n } of summary.evals) {
        expect(n).toBeGreaterThan(0);
        expect(ci[0]).toBeLessThanOrEqual(value);
        expect(ci[1]).toBeGreaterThanOrEqual(value);
      }
      ids = summary.checkpoints.map((c: { id: string }) => c.id);
      const html = await readFile(path.join(folder, 'runs', 'latest', 'report.html'), 'utf8');
      expect(html).toContain('data:image/png;base64,');
      expect(html).not.toMatch(/(src|href)="https?:/);
    },
    RUN_MS,
  );

  it(
    'comes to the same checkpoints when it is interrupted and resumed',
    async () => {
      const { child, ended, out } = start(['train', '--recipe', 'smoke', '--name', 'second']);
      await until(
        async () => out.stdout.includes('pretrain: round 1 committed'),
        () => out.stdout,
      );
      child.kill('SIGINT');
      const stopped = await ended;
      expect(stopped.code).toBe(130);
      expect(stopped.stdout + stopped.stderr).toContain('--resume');
      const resumed = await fovea('train', '--resume', await runOf('second'), '--json');
      expect(resumed.code, resumed.stderr).toBe(0);
      const summary = await readJson('runs', await runOf('second'), 'summary.json');
      expect(summary.checkpoints.map((c: { id: string }) => c.id)).toEqual(ids);
    },
    RUN_MS,
  );

  it(
    'is listed, judged again and compared',
    async () => {
      const runs = JSON.parse((await fovea('runs', '--json')).stdout);
      expect(runs.map((run: { id: string }) => run.id).sort()).toEqual([await runOf('first'), await runOf('second')]);
      const evaluated = await fovea('eval', '--checkpoint', ids[0].slice(0, 10), '--suite', 'retention', '--json');
      expect(evaluated.code, evaluated.stderr).toBe(0);
      expect(JSON.parse(evaluated.stdout).results.every((r: { suite: string }) => r.suite === 'retention')).toBe(true);
      const compared = await fovea('compare', 'aligned', 'baseline', '--json');
      expect(compared.code, compared.stderr).toBe(0);
      expect(JSON.parse(compared.stdout).comparisons.length).toBeGreaterThan(0);
    },
    RUN_MS,
  );

  it(
    'exports an encoder that stock onnxruntime loads',
    async () => {
      const exported = await fovea('export', '--checkpoint', 'aligned', '--out', 'out', '--batch', '2', '--json');
      expect(exported.code, exported.stderr).toBe(0);
      expect((await readdir(path.join(folder, 'out'))).sort()).toEqual([
        'config.json',
        'encoder.onnx',
        'model.safetensors',
        'preprocessor_config.json',
      ]);
      const rng = philox(1, 'e2e');
      const pixels = {
        data: Float32Array.from({ length: 2 * 3 * 48 * 48 }, () => rng.uniform()),
        shape: [2, 3, 48, 48],
      };
      const { features } = await runOnnx(await readFile(path.join(folder, 'out', 'encoder.onnx')), { pixels });
      expect(features.length).toBe(2 * 64);
      expect(features.slice(0, 64).reduce((sum, x) => sum + x * x, 0)).toBeCloseTo(1, 4);
      const mixed = await fovea('export', '--checkpoint', 'aligned', '--out', 'mix', '--alpha', '0,0.5,1');
      expect(mixed.code, mixed.stderr).toBe(0);
      const weights = async (at: string) =>
        decodeSafetensors(await readFile(path.join(folder, at, 'model.safetensors')), at).tensors;
      const [start, half, end] = [
        await weights('mix/alpha-0'),
        await weights('mix/alpha-0.5'),
        await weights('mix/alpha-1'),
      ];
      expect(end).toEqual(await weights('out'));
      const name = 'vision_model.post_layernorm.weight';
      const [a, b, c] = [start, half, end].map((tensors) => tensors.get(name)?.data as Float32Array);
      expect(a).not.toEqual(c);
      b.forEach((x, i) => expect(x).toBeCloseTo((a[i] + c[i]) / 2, 6));
      expectSentence(await fovea('export', '--checkpoint', 'aligned', '--alpha', '2'), /numbers from 0 to 1/);
      expectSentence(await fovea('export', '--checkpoint', 'aligned', '--adapters'), /has no adapters/);
    },
    RUN_MS,
  );

  it(
    'says which file of a checkpoint is damaged, and loses nothing',
    async () => {
      const { checkpoints } = await readJson('runs', await runOf('first'), 'summary.json');
      const id = checkpoints.at(-1).id;
      const blob = (hash: string) => path.join(folder, '.fovea/store/blobs', hash.slice(0, 2), hash);
      const { weights } = JSON.parse(await readFile(blob(id), 'utf8'));
      const good = await readFile(blob(weights.sha256));
      const bad = Buffer.from(good);
      bad[bad.length - 5] ^= 1;
      await writeFile(blob(weights.sha256), bad);
      expectSentence(await fovea('export', '--checkpoint', id, '--out', 'never'), /damaged/);
      await expect(stat(path.join(folder, 'never'))).rejects.toThrow();
      await writeFile(blob(weights.sha256), good);
      expect((await fovea('export', '--checkpoint', id, '--out', 'again')).code).toBe(0);
    },
    RUN_MS,
  );
});

describe('a user’s own pictures', () => {
  it(
    'train from a folder',
    async () => {
      for (const [name, background] of Object.entries({
        'red cat': '#c03030',
        'blue dog': '#3030c0',
        bird: '#30c030',
      })) {
        await mkdir(path.join(folder, 'pictures', name), { recursive: true });
        for (let i = 0; i < 12; i++) {
          await sharp({ create: { width: 40 + i, height: 36, channels: 3, background } })
            .jpeg()
            .toFile(path.join(folder, 'pictures', name, `${i}.jpg`));
        }
      }
      const stage = 'steps: 6, batch: 8, lr: 1.0e-3, warmup: 1, roundSteps: 6';
      await writeFile(
        path.join(folder, 'mine.yaml'),
        `name: mine
data: { kind: image-folder, path: pictures, imageSize: 32 }
encoder: { width: 32, layers: 1, heads: 2, projection: 16 }
denoiser: { width: 32, layers: 1, heads: 2 }
stages:
  - { stage: pretrain, ${stage} }
  - { stage: projector, ${stage} }
  - { stage: align, ${stage}, contrastive: 1, roles: [aligned, control], trainable: { rank: 2, alpha: 2 } }
eval: { bootstrap: 200 }
`,
      );
      const { code, stderr } = await fovea('train', '--recipe', './mine.yaml', '--name', 'own');
      expect(code, stderr).toBe(0);
      const summary = await readJson('runs', await runOf('own'), 'summary.json');
      expect(summary.status).toBe('completed');
      expect(new Set(summary.evals.map((e: { role: string }) => e.role))).toEqual(
        new Set(['baseline', 'aligned', 'control']),
      );
      await writeFile(path.join(folder, 'pictures', 'bird', 'bad.jpg'), 'not a picture');
      expectSentence(
        await fovea('train', '--recipe', './mine.yaml', '--name', 'bad'),
        /bird\/bad\.jpg.*cannot be read/,
      );
    },
    RUN_MS,
  );
});

describe('bad input', () => {
  it.each([
    ['a recipe that is not there', ['train', '--recipe', 'emojis'], /no recipe called "emojis"/],
    ['an unknown command', ['trian'], /no command/],
    ['an unknown flag', ['train', '--fast'], /no flag --fast/],
    ['an unknown suite', ['eval', '--suite', 'pope'], /no suite called "pope"/],
    ['an unknown checkpoint', ['export', '--checkpoint', 'abcdef12'], /There is no checkpoint/],
    ['an unknown run', ['train', '--resume', 'nowhere'], /nowhere/],
  ] as [string, string[], RegExp][])('%s', async (_name, args, pattern) => {
    expectSentence(await fovea(...args), pattern);
  });

  it('an unknown key in a recipe', async () => {
    await writeFile(
      path.join(folder, 'typo.yaml'),
      'name: typo\ndata: { kind: emoji-world, stylez: [] }\nstages: [{ stage: pretrain, steps: 1, lr: 1 }]\n',
    );
    expectSentence(await fovea('train', '--recipe', './typo.yaml'), /unknown key "stylez" at "data"/);
  });

  it('a Redis that does not answer', async () => {
    const { ended } = start(['train', '--recipe', 'smoke'], { REDIS_URL: 'redis://127.0.0.1:1' });
    expectSentence(await ended, /Redis/);
  });

  it('a picture folder that is not there', async () => {
    await writeFile(
      path.join(folder, 'gone.yaml'),
      'name: gone\ndata: { kind: image-folder, path: nowhere }\nstages: [{ stage: pretrain, steps: 1, lr: 1.0e-3 }]\n',
    );
    expectSentence(await fovea('train', '--recipe', './gone.yaml'), /picture folder "nowhere"/);
  });
});

async function until(condition: () => Promise<boolean>, seen: () => string): Promise<void> {
  const end = Date.now() + 120_000;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`waited two minutes in vain; seen so far:\n${seen()}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
