// Whole runs through the command line, with real processes, real Redis and real kills. The engine is the small one of
// packages/jobs/test-fixtures; everything else is what a person runs.

import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { cp, mkdtemp, readdir, readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { encodeSafetensors } from '@fovea/artifacts';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { type Ended, isAlive, mentioning, TestHome, until } from '../test-fixtures/cli.ts';
import { main } from './main.ts';

let dir: string;
/** Checkpoint ids of a run that nothing disturbed. */
let undisturbed: Record<string, string>;
const TRAIN = ['train', '--recipe', 'tiny.yaml'];
const RESUME = ['train', '--resume'];

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'fovea-train-'));
  const home = new TestHome(path.join(dir, 'reference'));
  const { code, out, err } = await home.fovea(TRAIN).ended;
  expect(err).toBe('');
  expect(code).toBe(0);
  undisturbed = home.ids;
  await theReference(home, out);
}, 120_000);
afterAll(async () => {
  for (const folder of mounted) execFileSync('umount', ['-l', folder]);
  await rm(dir, { recursive: true, force: true });
});

async function theReference(home: TestHome, out: string): Promise<void> {
  expect(Object.keys(undisturbed)).toEqual([
    'aligned/0',
    'aligned/1',
    'control/0',
    'control/1',
    'trunk/0',
    'trunk/1',
    'trunk/2',
  ]);
  expect(new Set(Object.values(undisturbed)).size).toBe(7);
  expect(home.run).toMatchObject({ status: 'completed', error: null, session: 1 });
  // Plain lines, since this is no terminal: no escape codes, a line per checkpoint and score, then the table.
  expect(out).not.toContain('\x1b');
  expect(out).toMatch(/align aligned: round 1 committed as [0-9a-f]{12} \(10 steps in .* loss .* → /);
  expect(out).toMatch(/scored baseline round 2/);
  expect(out).toMatch(/measure +n +baseline +aligned +control\n.*\nretention id top1 +256/);
  expect(out).toContain(`Report: runs/${home.runId}/report.html`);
  expect((await readdir(path.join(home.dir, 'runs', home.runId))).sort()).toEqual([
    'log',
    'recipe.yaml',
    'report.html',
    'summary.json',
  ]);
  expect(await readlink(path.join(home.dir, 'runs/latest'))).toBe(home.runId);
  expect(await readFile(path.join(home.dir, 'runs/latest/recipe.yaml'), 'utf8')).toContain(
    '--recipe tiny.yaml\nname: tiny\n',
  );
  expect(await readdir(path.join(home.dir, '.fovea/redis'))).toEqual([]);
  expect(mentioning(home.dir)).toEqual([]);
}

test('a run that loses its engine, worker, coordinator and Redis in turn ends with the same checkpoints', async () => {
  const home = new TestHome(path.join(dir, 'disasters'));
  for (const place of ['train-trunk-1', 'train-trunk-2', 'train-aligned-1', 'train-control-1'])
    home.fault(place, 'wait');
  home.fault('train-aligned-0', 'silent');
  home.fault('train-control-0', 'exit');
  home.fault('score-baseline', 'crash');
  home.fault('report', 'error');
  const cli = home.fovea([...TRAIN, '--json']);
  // The engine in the middle of a round.
  process.kill(await home.standsAt('train-trunk-1'), 'SIGKILL');
  home.lift('train-trunk-1');
  // The worker, and its engine goes with it.
  const engine = await home.standsAt('train-trunk-2');
  process.kill(await cli.find('train-worker/src/main.ts'), 'SIGKILL');
  await until(() => !isAlive(engine), 'the orphaned engine to end');
  home.lift('train-trunk-2');
  // Redis while a round is computed.
  await home.standsAt('train-aligned-1');
  process.kill(await cli.find('redis-server'), 'SIGKILL');
  home.lift('train-aligned-1');
  // The coordinator.
  await home.standsAt('train-control-1');
  process.kill(await cli.find('coordinator/src/main.ts'), 'SIGKILL');
  home.lift('train-control-1');
  const { code, out } = await cli.ended;
  const log = await readFile(path.join(home.dir, 'runs', home.runId, 'log'), 'utf8');
  expect(code, log).toBe(0);
  expect(home.ids).toEqual(undisturbed);
  expect(JSON.parse(out)).toMatchObject({
    run: home.runId,
    status: 'completed',
    directory: path.join(home.dir, 'runs', home.runId),
  });
  expect(JSON.parse(out).evals).toHaveLength(5);
  for (const trace of [
    'ended by SIGKILL',
    'taken over from a process that died',
    'said nothing for 2 s',
    'exit code 7',
    'told to fail',
  ])
    expect(log).toContain(trace);
  expect(mentioning(home.dir)).toEqual([]);
}, 150_000);

/** A command in this very process: cheaper than one of its own, for those that start nothing. */
async function here(home: TestHome, args: string[]): Promise<Ended> {
  for (const [name, value] of Object.entries(home.env)) vi.stubEnv(name, value);
  vi.stubEnv('REDIS_URL', '');
  const said = { out: '', err: '' };
  const log = vi.spyOn(console, 'log').mockImplementation((text) => void (said.out += `${text}\n`));
  const error = vi.spyOn(console, 'error').mockImplementation((text) => void (said.err += `${text}\n`));
  try {
    process.exitCode = 0;
    await main(args);
    return { code: Number(process.exitCode), ...said };
  } finally {
    process.exitCode = 0;
    log.mockRestore();
    error.mockRestore();
    vi.unstubAllEnvs();
  }
}

test('a run that is killed, out of disk, stopped and outlived by a worker ends with the same checkpoints', async () => {
  const home = new TestHome(path.join(dir, 'resumed'));
  const disk = smallDisk(path.join(home.dir, '.fovea'));
  await killed(home);
  if (disk) await full(home, disk);
  await stopped(home);
  await cp(home.dir, path.join(dir, 'damaged'), { recursive: true });

  const last = await outlived(home);
  expect(last.code, last.err).toBe(0);
  expect(home.ids).toEqual(undisturbed);
  expect(JSON.parse(last.out)).toMatchObject({ status: 'completed' });
  expect(home.run).toMatchObject({ status: 'completed', error: null });
  // Nothing is left to do, and saying so starts nothing.
  const { session } = home.run;
  expect(await here(home, RESUME)).toMatchObject({ code: 0 });
  expect(home.run).toMatchObject({ session });
}, 240_000);

/** Killed without a word in the middle of a round: nothing below it stays, and the record tells. */
async function killed(home: TestHome): Promise<void> {
  home.fault('train-trunk-2', 'wait');
  const cli = home.fovea(TRAIN);
  await home.standsAt('train-trunk-2');
  const second = await here(home, [...RESUME, '--json']);
  expect(second.code).toBe(2);
  expect(JSON.parse(second.out).error.message).toContain(
    `${home.runId} is being driven by process ${cli.child.pid} on `,
  );
  expect(JSON.parse((await here(home, ['runs', '--json'])).out)).toMatchObject([{ id: home.runId, status: 'running' }]);
  const family = cli.below().map((each) => each.pid);
  expect(family.length).toBeGreaterThan(4);
  cli.child.kill('SIGKILL');
  await until(() => !family.some(isAlive), 'the orphans to end');
  const [run] = JSON.parse((await here(home, ['runs', '--json'])).out);
  expect(run).toMatchObject({
    id: home.runId,
    status: 'interrupted',
    checkpoints: [{ round: 0 }, { round: 1, track: 'trunk' }],
  });
  home.lift('train-trunk-2');
}

/** No room for the checkpoint of a round: one sentence, and what was there is there. */
async function full(home: TestHome, disk: string): Promise<void> {
  home.fault('put-aligned-0', 'wait');
  const cli = home.fovea(RESUME);
  await home.standsAt('put-aligned-0');
  await writeFile(path.join(disk, 'fill'), new Uint8Array(16 << 20)).catch(() => undefined);
  home.lift('put-aligned-0');
  const { code, err } = await cli.ended;
  expect(code, err).toBe(2);
  expect(err).toMatch(/^[^\n]*(no space is left|disk is full)[^\n]*\n$/);
  expect(Object.keys(home.ids)).toEqual(['trunk/0', 'trunk/1', 'trunk/2']);
  await rm(path.join(disk, 'fill'));
}

/** Ctrl-C in the middle of a round, and then everything but the store is lost. */
async function stopped(home: TestHome): Promise<void> {
  home.fault('train-aligned-1', 'wait');
  const cli = home.fovea([...RESUME, home.runId]);
  await home.standsAt('train-aligned-1');
  cli.child.kill('SIGINT');
  const { code, out, err } = await cli.ended;
  expect({ code, err }).toEqual({ code: 130, err: '' });
  expect(out).toContain(`npx fovea train --resume ${home.runId}`);
  expect(home.run.status).toBe('stopped');
  expect(Object.keys(home.ids)).toEqual(['aligned/0', 'trunk/0', 'trunk/1', 'trunk/2']);
  expect(mentioning(home.dir)).toEqual([]);
  home.lift('train-aligned-1');
  for (const lost of ['runs', '.fovea/redis', '.fovea/cache'])
    await rm(path.join(home.dir, lost), { recursive: true, force: true });
}

/** A worker that sleeps past its lock is shut out by one that took over, and what it brings when it wakes changes nothing. */
async function outlived(home: TestHome): Promise<Ended> {
  home.fault('train-control-0', 'wait');
  const lock = { FOVEA_LOCK_MS: '800' };
  const cli = home.fovea([...RESUME, '--json'], lock);
  const engine = await home.standsAt('train-control-0');
  const sleeper = await cli.find('train-worker/src/main.ts');
  process.kill(sleeper, 'SIGSTOP');
  await rm(path.join(home.faults, 'train-control-0.pid'));
  const heir = home.worker('train', 'train-1', lock);
  expect(await home.standsAt('train-control-0')).not.toBe(engine);
  home.lift('train-control-0');
  await until(() => 'control/0' in home.ids, 'the heir to commit');
  process.kill(sleeper, 'SIGCONT');
  const ended = await cli.ended;
  const log = await readFile(path.join(home.dir, 'runs', home.runId, 'log'), 'utf8');
  expect(heir.out).toContain('committed round 0 of control');
  expect(log).toMatch(/lock of the job was lost|[Mm]issing lock|could not renew lock/);
  // Redis is gone by now, and it stops all the same.
  heir.child.kill('SIGTERM');
  expect((await heir.ended).code).toBe(0);
  return ended;
}

const mounted: string[] = [];

/** A disk of 8 MB at a folder; null, with the reason printed, where nothing can be mounted. */
function smallDisk(folder: string): string | null {
  mkdirSync(folder);
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', folder], { stdio: 'pipe' });
    mounted.push(folder);
    return folder;
  } catch (error) {
    console.warn(
      `skipped the full disk: a small tmpfs cannot be mounted here: ${String((error as { stderr?: unknown }).stderr).trim()}`,
    );
    return null;
  }
}

test('a run whose encoder was exchanged is not gone on with, and one over another encoder has other checkpoints', async () => {
  const [home, other] = ['own', 'other'].map((name) => new TestHome(path.join(dir, name)));
  const args = ['train', '--recipe', './own.yaml'];
  for (const [each, value] of [[home, 1] as const, [other, 2] as const]) {
    await writeFile(path.join(each.dir, 'own.yaml'), OWN_RECIPE);
    await encoderOf(each, value);
  }
  home.fault('train-aligned-0', 'wait');
  const cli = home.fovea(args);
  await home.standsAt('train-aligned-0');
  cli.child.kill('SIGINT');
  expect((await cli.ended).code).toBe(130);
  home.lift('train-aligned-0');
  await encoderOf(home, 2);
  const before = [home.run, home.ids];
  const { code, err } = await here(home, RESUME);
  expect(code).toBe(2);
  expect(err).toMatch(
    /^The files of the recipe's encoder\.from "\.\/clip" are not those that the run began with \([0-9a-f]{12} then, [0-9a-f]{12} now\); put the old ones back, or start a new run\.\n$/,
  );
  expect([home.run, home.ids]).toEqual(before);
  await encoderOf(home, 1);
  const resumed = await home.fovea(RESUME).ended;
  expect(resumed.code, resumed.err).toBe(0);
  expect((await other.fovea(args).ended).code).toBe(0);
  expect(Object.keys(other.ids)).toEqual(['aligned/0', 'trunk/0', 'trunk/1']);
  expect(Object.keys(home.ids)).toEqual(Object.keys(other.ids));
  expect(Object.values(home.ids).filter((id) => Object.values(other.ids).includes(id))).toEqual([]);
  await rm(path.join(home.dir, 'clip'), { recursive: true });
  expect(await here(home, args)).toMatchObject({ code: 2, err: expect.stringMatching(/"\.\/clip" cannot be read/) });
}, 120_000);

const OWN_RECIPE = `name: own
data: { kind: emoji-world }
encoder: { from: ./clip }
stages:
  - { stage: projector, steps: 10, roundSteps: 10, lr: 0.001 }
  - { stage: align, steps: 10, roundSteps: 10, lr: 0.001, roles: [aligned] }
eval: { suites: [retention] }
engine: { hangTimeout: 10 }
`;

/** A folder as far as the engine of the tests looks into one. */
async function encoderOf(home: TestHome, value: number): Promise<void> {
  const tensor = { shape: [1], data: Float32Array.of(value) };
  mkdirSync(path.join(home.dir, 'clip'), { recursive: true });
  await writeFile(path.join(home.dir, 'clip/config.json'), '{}');
  await writeFile(path.join(home.dir, 'clip/model.safetensors'), encodeSafetensors(new Map([['w', tensor]])));
}

test('a flipped byte is one sentence, its round can be made again, and a fault in an evaluation costs no training', async () => {
  const home = new TestHome(path.join(dir, 'damaged'));
  const head = JSON.parse(await readFile(home.blob(home.ids['trunk/2']), 'utf8'));
  const file = home.blob(head.weights.sha256);
  const bytes = await readFile(file);
  bytes[bytes.length >> 1] ^= 1;
  await writeFile(file, bytes);
  const before = [home.run, home.ids];
  const { code, out, err } = await here(home, RESUME);
  expect(code).toBe(2);
  expect(err).toMatch(
    /^A blob in the store is damaged: the \d+ bytes of blobs\/[0-9a-f/]+ hash to [0-9a-f]{12}…; [^\n]+\.\n$/,
  );
  expect(out).toBe('');
  expect([home.run, home.ids]).toEqual(before);
  await rm(file);
  home.fault('score-aligned', 'user-error');
  const again = await home.fovea(RESUME).ended;
  expect(again.out).toContain('tracks/trunk/2.json had lost its data and is trained again');
  expect(again.err).toBe('The picture cat.png cannot be read: it is no picture; remove it.\n');
  expect(again.code).toBe(2);
  expect(home.run).toMatchObject({ status: 'failed', error: { message: again.err.trim() } });
  expect(home.ids).toEqual(undisturbed);
  expect((await here(home, ['runs'])).out).toMatch(
    /tiny-\S+ +tiny\.yaml +failed +control 2\/2 +7 +[0-9a-f]{12}\ntiny-\S+: The picture cat\.png/,
  );
}, 120_000);
