// Commands that start nothing, run in this process, and what is refused before a run begins.

import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, realpath, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { openStore } from '@fovea/artifacts';
import sharp from 'sharp';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { TestHome } from '../test-fixtures/cli.ts';
import { findHome, shown, standAtRoot } from './home.ts';
import { main } from './main.ts';
import { type Summary, scoreTable, stageTable } from './summary.ts';

let dir: string;
let home: TestHome;
const said = { out: '', err: '' };
beforeEach(async () => {
  dir = await realpath(await mkdtemp(path.join(tmpdir(), 'fovea-commands-')));
  home = new TestHome(dir);
  Object.assign(said, { out: '', err: '' });
  vi.stubEnv('INIT_CWD', dir);
  vi.stubEnv('REDIS_URL', '');
  vi.stubEnv('FOVEA_HOME', '');
  vi.stubEnv('FOVEA_STORE', '');
  vi.spyOn(console, 'log').mockImplementation((text) => void (said.out += `${text}\n`));
  vi.spyOn(console, 'error').mockImplementation((text) => void (said.err += `${text}\n`));
});
afterEach(async () => {
  process.exitCode = 0;
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
  await rm(dir, { recursive: true, force: true });
});

async function fovea(...args: string[]): Promise<number> {
  process.exitCode = 0;
  await main(args);
  return Number(process.exitCode);
}

test('help, version and an unknown command', async () => {
  expect(await fovea('--help')).toBe(0);
  expect(said.out).toMatch(/train .*\n[\s\S]*runs [\s\S]*doctor /);
  expect(await fovea('train', '--help')).toBe(0);
  expect(said.out).toMatch(/--redis-port=<port>/);
  expect(said.out).not.toContain('\x1b');
  expect(await fovea('--version')).toBe(0);
  expect(said.out).toMatch(/\n0\.\d+\.\d+\n$/);
  expect(await fovea('trian')).toBe(2);
  expect(said.err).toMatch(
    /^"trian" is no command of Fovea: there are train, .*runs, .*doctor; `fovea --help` says what they do\.\n$/,
  );
});

test.each([
  [['--fast'], /has no flag --fast; it knows --recipe/],
  [['--seed', 'x'], /--seed takes a whole number from 0 to 4294967295, not "x"/],
  [['--redis-port', '70000'], /--redis-port takes a whole number from 1 to 65535/],
  [['--recipe', 'missing.yaml'], /The recipe file "missing.yaml" cannot be read/],
  [['--recipe', 'tiny.yaml', '--name', 'No Name'], /cannot be named "No Name"/],
  [['--resume'], /There is no run to resume yet/],
  [['--resume', 'nope'], /There is no run called "nope"/],
  [['--resume', '--seed', '1'], /--seed cannot be given together with --resume/],
])('fovea train %j is refused in one sentence, and nothing is left of it', async (args, sentence) => {
  expect(await fovea('train', ...args)).toBe(2);
  expect(said.err).toMatch(sentence);
  expect(said.err.trim()).not.toContain('\n');
  expect(existsSync(path.join(dir, 'runs'))).toBe(false);
  expect(existsSync(path.join(dir, '.fovea/store/refs/runs'))).toBe(false);
});

test('recipes are listed, shown and checked, with fields set on the way', async () => {
  expect(await fovea('recipe', 'list')).toBe(0);
  expect(said.out).toMatch(/un2clip +align \(some values unverified\)\n +un2CLIP/);
  said.out = '';
  expect(await fovea('recipe', 'show', 'dcr')).toBe(0);
  expect(said.out).toContain('guessed: stages.projector.weightDecay');
  said.out = '';
  expect(await fovea('recipe', 'check', 'deem-tiny', '--set', 'stages.align.lr=5e-4', '--set=data.concepts=6')).toBe(0);
  expect(said.out).toMatch(/align +\^vision_model +\d+ +\S+ M +4\.0e-5/);
  expect(said.out).toMatch(/align +all others +\d+ +\S+ M +5\.0e-4/);
});

test.each([
  [['recipe', 'bake'], /lists, shows or checks; it does not "bake"/],
  [['recipe', 'show'], /needs a recipe/],
  [['recipe', 'check', 'diva'], /clip-vit-large-patch14" cannot be read: no such folder/],
  [
    ['recipe', 'check', 'diva-tiny', '--set', 'lr'],
    /"lr" sets no field of the recipe: a path, "=" and a value are needed/,
  ],
  [['recipe', 'check', 'diva-tiny', '--set', 'stages.joint.lr=1'], /there is no "joint" in the list/],
  [['recipe', 'check', 'diva-tiny', '--set', 'name.x=1'], /"name" is a value, not a group of fields/],
  [['recipe', 'check', 'diva-tiny', '--set', '__proto__.x=1'], /a path, "=" and a value are needed/],
  [['recipe', 'check', 'diva-tiny', '--set', 'stages.align.lr=[1'], /its value is not YAML/],
  [['recipe', 'check', 'diva-tiny', '--set', 'stages.align.groups=[{match: nowhere, lr: 1}]'], /takes no parameter/],
  [['train', '--resume', '--set', 'seed=1'], /--set cannot be given together with --resume/],
])('fovea %j is refused in one sentence', async (args, sentence) => {
  expect(await fovea(...args)).toBe(2);
  expect(said.err).toMatch(sentence);
  expect(said.err.trim()).not.toContain('\n');
});

describe('a recipe over a folder of pictures', () => {
  const CHECK = ['recipe', 'check', './own.yaml'];
  const put = async (name: string, content?: Uint8Array) => {
    const file = path.join(dir, 'pictures', name);
    await mkdir(path.dirname(file), { recursive: true });
    const png = () => sharp({ create: { width: 9, height: 9, channels: 3, background: 'red' } }).png();
    await writeFile(file, content ?? (await png().toBuffer()));
  };
  beforeEach(async () => {
    const stages = '[{ stage: pretrain, steps: 1, lr: 0.001 }]';
    const data = '{ kind: image-folder, path: pictures, holdOut: 0.5 }';
    await writeFile(path.join(dir, 'own.yaml'), `name: own\ndata: ${data}\nstages: ${stages}\n`);
    for (const name of ['red fox/1.png', 'red fox/2.png', 'red fox/more/3.png', 'owl/1.png']) await put(name);
  });

  test('is checked with its classes, and those without a picture are named', async () => {
    await mkdir(path.join(dir, 'pictures/newt'));
    await put('notes/about.txt', Buffer.from('no picture'));
    expect(await fovea(...CHECK)).toBe(0);
    expect(said.out).toMatch(/2 classes, 2 to train on, 2 held out; the first of each can be decoded\./);
    expect(said.out).toMatch(/Without a picture, so no class: newt, notes\.\n/);
    expect(said.out).toMatch(/owl +1 +0\nred fox +1 +2\n/);
    said.out = '';
    expect(await fovea(...CHECK, '--json')).toBe(0);
    expect(JSON.parse(said.out).data).toEqual({
      classes: [
        { name: 'owl', train: 1, heldOut: 0 },
        { name: 'red fox', train: 1, heldOut: 2 },
      ],
      decoded: 2,
      empty: ['newt', 'notes'],
    });
  });

  test('is refused where it is not there, holds one class, or begins with a broken picture', async () => {
    const refused = async (sentence: RegExp, ...more: string[]) => {
      said.err = '';
      expect(await fovea(...CHECK, ...more)).toBe(2);
      expect(said.err).toMatch(sentence);
      expect(said.err.trim()).not.toContain('\n');
    };
    await refused(/The picture folder "nowhere" of the recipe's data cannot be read/, '--set', 'data.path=nowhere');
    await put('red fox/0.png', Buffer.from('not a picture'));
    await refused(/The picture "red fox\/0\.png" cannot be read/);
    await rm(path.join(dir, 'pictures/red fox'), { recursive: true });
    await refused(/holds 1 class folders with pictures; at least 2 are needed/);
  });

  test('decodes no more than the first of fifty classes', async () => {
    for (let i = 0; i < 60; i++) await put(`class ${String(i).padStart(2, '0')}/1.png`);
    await put('class 55/0.png', Buffer.from('not a picture'));
    expect(await fovea(...CHECK)).toBe(0);
    expect(said.out).toMatch(/62 classes, .*; the first of 50 classes can be decoded\.\n/);
    expect(said.out).toMatch(/… and 12 more\n/);
  });
});

test('a port that is taken, and a Redis that does not answer, leave nothing of the run', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as { port: number };
  expect(await fovea('train', '--recipe', 'tiny.yaml', '--redis-port', String(port), '--json')).toBe(2);
  expect(JSON.parse(said.out)).toEqual({
    status: 'failed',
    error: { message: expect.stringContaining(`Port ${port} of this machine is taken`), user: true },
  });
  await new Promise((resolve) => server.close(resolve));
  vi.stubEnv('REDIS_URL', `redis://127.0.0.1:${port}`);
  expect(await fovea('train', '--recipe', 'tiny.yaml')).toBe(2);
  expect(said.err).toMatch(/REDIS_URL\) does not answer/);
  expect(existsSync(path.join(dir, '.fovea/store/refs/runs'))).toBe(true);
  said.out = '';
  expect(await fovea('runs')).toBe(0);
  expect(said.out).toBe('There is no run yet; `npx fovea train` starts one.\n');
  expect(existsSync(path.join(dir, 'runs', 'latest'))).toBe(false);
});

test('a file in the place of runs/ is a sentence, and nothing is left of the run', async () => {
  await writeFile(path.join(dir, 'runs'), '');
  expect(await fovea('train', '--recipe', 'tiny.yaml')).toBe(2);
  expect(said.err).toMatch(/^The run tiny-\S+ cannot be prepared in [^\n]*: a part of that path is a file[^\n]*\n$/);
  said.out = '';
  await fovea('runs', '--json');
  expect(JSON.parse(said.out)).toEqual([]);
});

test('a damaged record of a run is a sentence beside the list of the others', async () => {
  await mkdir(path.join(home.refs, 'runs/a'), { recursive: true });
  await writeFile(path.join(home.refs, 'runs/a/run.json'), '{"torn');
  expect(await fovea('runs', '--json')).toBe(2);
  expect(said.err).toMatch(/^The file refs\/runs\/a\/run\.json in the store is damaged/);
  expect(JSON.parse(said.out)).toEqual([]);
});

test('doctor tells machine, engines, Redis and store, as text and as JSON', async () => {
  expect(await fovea('doctor', '--json')).toBe(0);
  const report = JSON.parse(said.out);
  expect(report.machine).toMatchObject({
    node: process.versions.node,
    threads: expect.any(Number),
    gpus: expect.any(Array),
  });
  const names = report.engines.map((engine: { name: string }) => engine.name);
  expect(names).toEqual(['onnxruntime-node', 'tfjs-node-gpu', 'tfjs-node', 'sharp']);
  expect(report.engines[0].devices).toContain('cpu');
  expect(report.devices.map(({ device }: { device: string }) => device)).toEqual(['cpu', 'cuda', 'webgpu']);
  for (const { usable, reason } of report.devices) {
    expect(usable).toBe(reason === null);
    if (reason !== null) expect(reason).toMatch(/^The device \w+ .*\.$/);
  }
  expect(report.redis).toMatchObject({ found: 'program', where: expect.stringMatching(/(redis|valkey)-server$/) });
  expect(report.store).toMatchObject({ path: path.join(dir, '.fovea/store'), writable: true });
  expect(existsSync(path.join(dir, '.fovea'))).toBe(false);
  said.out = '';
  expect(await fovea('doctor')).toBe(0);
  expect(said.out).toMatch(/machine +.*\nnode +.*\ngpu +/);
});

test('doctor --install-cuda says in one sentence why it could not, and leaves what was there', async () => {
  const folder = path.join(
    path.dirname(createRequire(import.meta.url).resolve('onnxruntime-node/package.json')),
    'bin',
  );
  const before = await readdir(folder, { recursive: true });
  // A proxy that refuses: the installer cannot fetch anything, on any machine.
  process.env.GLOBAL_AGENT_HTTPS_PROXY = 'http://127.0.0.1:9';
  try {
    expect(await fovea('doctor', '--install-cuda')).toBe(2);
  } finally {
    delete process.env.GLOBAL_AGENT_HTTPS_PROXY;
  }
  expect(said.err).toMatch(/^The CUDA 12 files of onnxruntime-node were not installed: .*reaches the NuGet feed\.\n$/);
  expect(await readdir(folder, { recursive: true })).toEqual(before);
});

test('the home is the repository for everyone in it, and their own folder for others', () => {
  const repository = fileURLToPath(new URL('../../../', import.meta.url)).replace(/\/$/, '');
  expect(findHome({}).root).toBe(repository);
  expect(findHome({ INIT_CWD: path.join(repository, 'apps/cli') }).root).toBe(repository);
  expect(findHome({ INIT_CWD: `${repository}-other` }).root).toBe(`${repository}-other`);
  expect(findHome({ INIT_CWD: dir })).toMatchObject({
    root: dir,
    storeDir: path.join(dir, '.fovea/store'),
    runsDir: path.join(dir, 'runs'),
  });
  expect(findHome({ INIT_CWD: dir, FOVEA_HOME: 'elsewhere' })).toMatchObject({
    dir: path.join(dir, 'elsewhere'),
    runsDir: path.join(dir, 'runs'),
  });
  const turbo = { INIT_CWD: path.join(repository, 'apps/cli') };
  standAtRoot(turbo);
  expect(turbo.INIT_CWD).toBe(repository);
  expect(shown(path.join(dir, 'runs/a'), { INIT_CWD: dir })).toBe('runs/a');
  expect(shown('/elsewhere/a', { INIT_CWD: dir })).toBe('/elsewhere/a');
});

test('the last table shows each role at its last checkpoint', () => {
  const evals = [
    ['baseline', 'a', 0.5],
    ['aligned', 'b', 0.6],
    ['aligned', 'c', 0.7],
  ].map(([role, checkpoint, value]) => ({
    suite: 'robustvqa',
    split: 'A',
    metric: 'twoway',
    role,
    checkpoint,
    value,
    n: 300,
    ci: [0.25, 0.75],
  }));
  const summary = {
    stages: [
      {
        name: 'align',
        role: 'aligned',
        steps: 200,
        seconds: 31.26,
        lossFirst: 1.5,
        lossLast: 0.25,
        conditionGap: 0.0125,
      },
    ],
    checkpoints: [
      { id: 'a', step: 10, stage: 'projector' },
      { id: 'b', step: 20, stage: 'align' },
      { id: 'c', step: 30, stage: 'align' },
    ],
    evals,
  } as unknown as Summary;
  expect(scoreTable(summary)).toBe(
    [
      'measure               n              baseline               aligned',
      '──────────────────  ───  ────────────────────  ────────────────────',
      'robustvqa A twoway  300  0.500 [0.250, 0.750]  0.700 [0.250, 0.750]',
    ].join('\n'),
  );
  expect(stageTable(summary).split('\n')[2]).toBe('align aligned    200     31.3  1.50 → 0.250         0.0125');
  expect(scoreTable({ ...summary, evals: [] })).toBeNull();
});

test('store: a whole store, garbage in two looks, and damage with exit code 2', async () => {
  const store = await openStore(path.join(dir, '.fovea/store'));
  const named = await store.put(Uint8Array.of(1, 2, 3));
  await store.put(Uint8Array.of(4));
  await store.writeRef('runs/a/x.json', named);
  expect(await fovea('store', 'verify')).toBe(0);
  expect(said.out).toMatch(/^The store at .* is whole: 1 refs name 1 blobs \(3 B\), and all were read\.\n$/);
  said.out = '';
  expect(await fovea('store', 'gc')).toBe(0);
  expect(said.out).toMatch(/in use +1 +3 B\nyoung, kept +1 +1 B\nmoved to the trash +0 /);
  said.out = '';
  expect(await fovea('store', 'gc', '--dry-run', '--min-age', '0', '--json')).toBe(0);
  expect(JSON.parse(said.out)).toMatchObject({ dryRun: true, minAge: 0, removed: { blobs: 1, bytes: 1 } });
  said.out = '';
  expect(await fovea('store', 'gc', '--min-age=0')).toBe(0);
  expect(said.out).toMatch(/removed +1 +1 B\n$/);
  await writeFile(home.blob(named.sha256), 'bad');
  said.out = '';
  expect(await fovea('store', 'verify')).toBe(2);
  expect(said.err).toMatch(
    /^A blob in the store is damaged: .*\(refs\/runs\/a\/x\.json needs it\)\.\nThe store at .* is damaged in 1 place/,
  );
  said.out = '';
  expect(await fovea('store', 'verify', '--json')).toBe(2);
  expect(JSON.parse(said.out).faults).toHaveLength(1);
  expect(await fovea('store', 'gc')).toBe(2);
  expect(said.err).toMatch(/Nothing was removed/);
});

test.each([
  [['store'], /there are `fovea store verify` and `fovea store gc`/],
  [['store', 'mend'], /"fovea store mend" says nothing to do/],
  [['store', 'gc', '--min-age', 'soon'], /--min-age takes a time such as 90m, 36h, 7d or 0, not "soon"/],
  [['store', 'verify', '--dry-run'], /belong to `fovea store gc`/],
])('fovea %j is refused in one sentence', async (args, sentence) => {
  expect(await fovea(...args)).toBe(2);
  expect(said.err).toMatch(sentence);
});
