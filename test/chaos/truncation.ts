// A store in the middle of a run of which one file was cut off, as a disk or a copy does it. Whoever goes on with the run
// comes to the same checkpoints or hears one sentence that names the file; nothing in between, and nobody dies of it.

import { cpSync, readdirSync, rmSync, statSync, truncateSync } from 'node:fs';
import path from 'node:path';
import { isUserError, verifyStore } from '@fovea/artifacts';
import { listWorkers, pauseRun, purge, type RunRecord, readRun, rebuildRuns, resumeRun } from '@fovea/jobs';
import type { Scenario } from './scenario.ts';
import { until, type World } from './world.ts';

/** Cases that the short form draws. */
const IN_SHORT = 8;
const AREAS = ['blobs', 'refs'];

interface Case {
  file: string;
  size: number;
}

/** A run that was paused in the middle of a round of two shards, one of them done, the other with some steps of its own. */
async function halfDone(world: World): Promise<RunRecord> {
  await world.reference('two');
  world.empty();
  world.fleet.home.fault('train-control-0', 'wait');
  const run = await world.submit('two', 'truncated');
  await world.fleet.home.standsAt('train-control-0');
  const shards = `runs/${run.id}/shards/control/0`;
  await until(async () => (await world.fleet.store.listRefs(shards)).length === 1, 'one of the two shards to be done');
  await pauseRun(world.fleet.fleet, run.id);
  await world.ends(run, 'paused');
  await idle(world);
  world.fleet.home.lift('train-control-0');
  return run;
}

const idle = (world: World) =>
  until(async () => (await listWorkers(world.fleet.fleet)).every(({ job }) => job === null), 'the workers to be idle');

function casesOf(snapshot: string): Case[] {
  return AREAS.flatMap((area) => readdirSync(path.join(snapshot, area), { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(snapshot, path.join(entry.parentPath, entry.name)))
    .sort()
    .flatMap((file) => {
      const { size } = statSync(path.join(snapshot, file));
      return [...new Set([0, 1, size >> 1, size - 1])]
        .filter((at) => at >= 0 && at < size)
        .map((at) => ({ file, size: at }));
    });
}

/** What came of it: `same` or `sentence`; throws where it was neither. */
async function play(world: World, run: RunRecord, snapshot: string, { file, size }: Case, isRebuild: boolean) {
  const { fleet } = world.fleet;
  await purge(fleet.redis, fleet.prefix, run.id);
  world.empty();
  for (const area of AREAS) cpSync(path.join(snapshot, area), path.join(fleet.store.root, area), { recursive: true });
  truncateSync(path.join(fleet.store.root, file), size);
  const what = `${file} cut to ${size} bytes`;
  try {
    if (isRebuild) await rebuildRuns(fleet, run.id);
    else await resumeRun(fleet, run.id);
  } catch (error) {
    if (!isUserError(error)) throw new Error(`${what}: ${(error as Error).stack}`);
    return checkSentence(what, file, error.message);
  }
  let now = run;
  const ended = async () => ['completed', 'failed'].includes((now = await readRun(fleet.store, run.id)).status);
  await until(ended, `${what}: the run to end`, 60_000);
  await idle(world);
  if (now.status === 'failed') return checkSentence(what, file, now.error?.message ?? '');
  const [found, reference] = [await world.checkpoints(run), await world.reference('two')];
  if (JSON.stringify(found) !== JSON.stringify(reference))
    throw new Error(`${what}: ${JSON.stringify(found)} is not ${JSON.stringify(reference)}`);
  const stays = (await verifyStore(fleet.store)).faults.filter((fault) => !names(fault, file));
  if (stays.length > 0) throw new Error(`${what}: ${stays.join('\n')}`);
  return 'same';
}

const names = (sentence: string, file: string) => sentence.includes(path.basename(file, '.json').slice(0, 12));

function checkSentence(what: string, file: string, sentence: string): 'sentence' {
  if (!names(sentence, file) || !/^[A-Z][^\n]*\.$/.test(sentence)) throw new Error(`${what} is told as: ${sentence}`);
  return 'sentence';
}

/** The processes but their engines. */
const processesOf = (world: World) => world.names.map((name) => world.below(name)[0]?.pid).join();

export const truncationScenarios: Scenario[] = [
  {
    name: 'truncation',
    short: true,
    own: { env: { FOVEA_FIXTURE_STEP_MS: '0' } },
    async run(world, { random, short }) {
      const run = await halfDone(world);
      const snapshot = path.join(world.dir, 'snapshot');
      for (const area of AREAS)
        cpSync(path.join(world.fleet.store.root, area), path.join(snapshot, area), { recursive: true });
      const all = casesOf(snapshot);
      const chosen = short ? Array.from({ length: IN_SHORT }, () => all[random.int(all.length)]) : all;
      const before = processesOf(world);
      const counts = { same: 0, sentence: 0 };
      for (const each of chosen) counts[await play(world, run, snapshot, each, random.int(2) === 0)]++;
      if (processesOf(world) !== before) throw new Error('a process died of a file that was cut off');
      rmSync(snapshot, { recursive: true });
      return {
        kills: 0,
        runs: chosen.length,
        text: `${chosen.length} of ${all.length} cuts: ${counts.same} the same, ${counts.sentence} a sentence`,
      };
    },
  },
];
