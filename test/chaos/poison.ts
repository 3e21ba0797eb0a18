// Work that cannot be done or should not be there: engines that hang, engines and workers that die of the same job every
// time, jobs of an older version, and garbage in the queues.

import { existsSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { JobBook, jobId, jobOptions, type RunRecord, readRun, resumeRun } from '@fovea/jobs';
import type { Scenario } from './scenario.ts';
import { send, until, type World } from './world.ts';

const QUEUE = 'train-cpu-8g';

/** Engines that are silent or frozen in every kind of job. */
const hung: Scenario = {
  name: 'jobs/hung-engine',
  short: true,
  async run(world) {
    await world.reference('two');
    world.empty();
    const faults = { 'train-trunk-1': 'silent', 'train-aligned-0': 'freeze', 'merge-control-0': 'silent' };
    for (const [place, action] of Object.entries({ ...faults, 'score-aligned': 'freeze', report: 'silent' }))
      world.fleet.home.fault(place, action);
    const run = await world.submit('two', 'hung');
    await world.completes(run, 'two');
    const met = Object.keys(faults).filter((place) => !existsSync(path.join(world.fleet.home.faults, place)));
    if (met.length < 3) throw new Error(`only ${met} was met`);
    return { kills: 0, runs: 1, text: '5 hung engines' };
  },
};

/** Does a fault every time it is met until the run has failed; its record. */
async function poisoned(world: World, run: RunRecord, fault: string, action: string): Promise<RunRecord> {
  const file = path.join(world.fleet.home.faults, fault);
  const again = setInterval(() => existsSync(file) || writeFileSync(file, action), 10);
  let last = run;
  try {
    const ended = async () =>
      ['completed', 'failed'].includes((last = await readRun(world.fleet.store, run.id)).status);
    await until(ended, `${run.id} to be given up`, 400_000);
  } finally {
    clearInterval(again);
    world.fleet.home.lift(fault);
  }
  if (last.status !== 'failed') throw new Error(`${run.id} is ${last.status}, though it is poison`);
  if (!/^[^\n]{10,}$/.test(last.error?.message ?? '')) throw new Error(`${run.id} failed with: ${last.error?.message}`);
  return last;
}

/** After the poison is gone the run goes on to where it would have come without. */
async function cured(world: World, run: RunRecord): Promise<void> {
  await resumeRun(world.fleet.fleet, run.id);
  await until(async () => (await readRun(world.fleet.store, run.id)).status !== 'failed', 'the run to be resumed');
  await world.ends(run, 'completed', 'failed');
  await world.completes(run, 'one');
}

const poisonEngine: Scenario = {
  name: 'jobs/poison-engine',
  short: true,
  async run(world) {
    await world.reference('one');
    world.empty();
    const run = await world.submit('one', 'poison');
    const failed = poisoned(world, run, 'train-aligned-0@poison', 'crash');
    const healthy = await world.submit('one', 'healthy');
    const { error } = await failed;
    const { status } = await world.ends(healthy, 'completed', 'failed');
    if (status !== 'completed') throw new Error(`the healthy run is ${status}`);
    const retries = (await world.events(run)).filter((event) => event.type === 'retrying' && event.kind === 'shard');
    if (retries.length < 2) throw new Error(`it was tried again only ${retries.length} times`);
    await cured(world, run);
    await world.completes(healthy, 'one');
    return { kills: 3, runs: 2, text: `failed with "${error?.message}" beside a healthy run` };
  },
};

const poisonWorker: Scenario = {
  name: 'jobs/poison-worker',
  short: false,
  async run(world) {
    await world.reference('one');
    world.empty();
    const run = await world.submit('one', 'poison');
    const { error } = await poisoned(world, run, 'at-shard-computed', 'kill');
    await cured(world, run);
    return { kills: 20, runs: 1, text: `failed with "${error?.message}"` };
  },
};

/** Jobs of version 1 under the very ids that the coordinator is about to give, and garbage of every kind. */
const foreign: Scenario = {
  name: 'jobs/older-schema-and-garbage',
  short: true,
  async run(world) {
    await world.reference('one');
    world.empty();
    const coordinator = world.below('coordinator')[0].pid;
    send(coordinator, 'SIGSTOP');
    const run = await world.submit('one', 'foreign');
    const book = new JobBook(world.fleet.fleet, () => undefined);
    const queue = book.queue(QUEUE);
    const round = { track: 'trunk', round: 0, stage: 'init', stageIndex: -1, firstStep: 0, steps: 0, scored: false };
    const shard = { kind: 'shard', version: 2, run: run.id, session: 1, round, base: null, shard: { index: 0, of: 1 } };
    const id = jobId(shard as never);
    const older = { kind: 'shard', version: 1, run: run.id, session: 1, round, base: null, shard: 0, of: 1 };
    await queue.add('shard', older, { ...jobOptions(shard as never, 1), attempts: 1 });
    const garbage = [
      {},
      null,
      'text',
      17,
      [],
      { run: '../../etc' },
      { ...shard, run: `${run.id}x` },
      { ...shard, session: 99 },
    ];
    for (const [i, data] of [...garbage, { ...shard, round: { ...round, track: '../..' } }].entries())
      await queue.add('shard', data, { jobId: `garbage.${i}`, priority: 1 });
    send(coordinator, 'SIGCONT');
    await world.ends(run, 'completed', 'failed');
    await until(async () => (await queue.getFailedCount()) >= garbage.length + 1, 'the garbage to be refused');
    for (const job of await queue.getFailed()) if (job.id?.startsWith('garbage.')) await job.remove();
    await book.close();
    await world.completes(run, 'one');
    return {
      kills: 0,
      runs: 1,
      text: `${id.replace(run.id, '…')} of version 1, and ${garbage.length + 1} pieces of garbage`,
    };
  },
};

export const poisonScenarios: Scenario[] = [hung, poisonEngine, poisonWorker, foreign];
