// A store whose disk is full, read-only or reports errors for a while. A run may fail over it, with a sentence; when the
// disk is good again it is resumed and ends as if nothing had been.

import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type RunRecord, readRun, resumeRun } from '@fovea/jobs';
import type { Scenario } from './scenario.ts';
import { type Kind, until, type World } from './world.ts';

const EIO = fileURLToPath(new URL('../../packages/artifacts/test-fixtures/eio.c', import.meta.url));

/** Puts the store on a small disk of its own. */
function smallDisk(dir: string): void {
  const store = path.join(dir, 'store');
  mkdirSync(store);
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', store], { stdio: 'pipe' });
}

function cannotMount(): string | null {
  const dir = path.join('/tmp', `fovea-chaos-mount-${process.pid}`);
  try {
    mkdirSync(dir);
    smallDisk(dir);
    return null;
  } catch (error) {
    return `a small disk cannot be mounted here: ${String((error as { stderr?: unknown }).stderr ?? error).trim()}`;
  } finally {
    unmount(dir);
    rmSync(dir, { recursive: true, force: true });
  }
}

function unmount(dir: string): void {
  try {
    execFileSync('umount', ['-l', path.join(dir, 'store')], { stdio: 'pipe' });
  } catch {
    // It was not mounted.
  }
}

/** Resumes a run as often as it fails for the disk's sake, which must be said in a sentence. */
async function mended(world: World, run: RunRecord, kind: Kind, sentence: RegExp): Promise<string> {
  // What began on the bad disk must have ended on it.
  await sleep(2000);
  const found = await readRun(world.fleet.store, run.id);
  if (found.status === 'failed') {
    if (!sentence.test(found.error?.message ?? '')) throw new Error(`${run.id} says: ${found.error?.message}`);
    await resumeRun(world.fleet.fleet, run.id);
    await until(async () => (await readRun(world.fleet.store, run.id)).status !== 'failed', 'the run to be resumed');
  }
  await world.completes(run, kind);
  return found.status === 'failed' ? 'failed with a sentence' : 'went on';
}

const disturbed = (
  name: string,
  short: boolean,
  sentence: RegExp,
  spoil: (store: string) => void,
  mend: (store: string) => void,
): Scenario => ({
  name: `disk/${name}`,
  short,
  own: { prepare: smallDisk, finish: unmount },
  skip: cannotMount,
  async run(world, { random }) {
    const said: string[] = [];
    for (const kind of ['one', 'two'] as const) {
      await world.reference(kind);
      world.empty();
      const run = await world.submit(kind, name);
      await sleep(random.between(300, 2500));
      const store = world.fleet.store.root;
      spoil(store);
      await sleep(4000);
      mend(store);
      said.push(await mended(world, run, kind, sentence));
    }
    return { kills: 0, runs: 2, text: said.join(', ') };
  },
});

const fill = (store: string) => {
  try {
    writeFileSync(path.join(store, 'fill'), new Uint8Array(8 << 20));
  } catch {
    // As full as can be.
  }
};
const remount = (how: string) => (store: string) =>
  void execFileSync('mount', ['-o', `remount,${how}`, store], { stdio: 'pipe' });

const noGcc = (): string | null => {
  try {
    execFileSync('gcc', ['--version'], { stdio: 'pipe' });
    return null;
  } catch {
    return 'there is no gcc to make a disk fail with';
  }
};

/** One worker's disk reports errors; when the machine is exchanged, all is well. */
const broken = (call: string): Scenario => ({
  name: `disk/eio-${call.replace(/\W+/g, '-')}`,
  short: false,
  own: {},
  skip: noGcc,
  async run(world) {
    await world.reference('two');
    world.empty();
    const shim = path.join(world.dir, 'eio.so');
    execFileSync('gcc', ['-shared', '-fPIC', '-o', shim, EIO, '-ldl'], { stdio: 'pipe' });
    await world.drop('train-a');
    world.keep('train-a', 'train', { LD_PRELOAD: shim, STORE_EIO: call });
    await world.fleet.workers(3);
    const run = await world.submit('two', 'eio');
    await world.ends(run, 'failed', 'completed');
    await world.drop('train-a');
    world.keep('train-a', 'train', {});
    return { kills: 1, runs: 1, text: await mended(world, run, 'two', /input\/output error/) };
  },
});

export const diskScenarios: Scenario[] = [
  disturbed('full', true, /no space is left/, fill, (store) => rmSync(path.join(store, 'fill'), { force: true })),
  disturbed('read-only', false, /read-only/, remount('ro'), remount('rw')),
  broken('fsync:/blobs/'),
  broken('write:/tmp/'),
  broken('read:/blobs/'),
];
