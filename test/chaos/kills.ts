// Processes that are killed at random instants, and at each named point of the code, or put to sleep there until somebody
// else has done their work.

import { existsSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { FAULT_POINTS, type FaultPoint, listWorkers, type RunRecord, readRun } from '@fovea/jobs';
import type { Rng } from '@fovea/tensor/random';
import { processes } from '../../apps/cli/test-fixtures/cli.ts';
import type { Scenario } from './scenario.ts';
import { type Kind, killGroup, send, until, type World } from './world.ts';

const KILLS_A_RUN = 12;
/** An engine may die this often under one job before the job counts as poison. */
const ENGINE_DEATHS = 2;

const TARGETS = ['engine', 'worker', 'tree', 'coordinator', 'coordinator-tree'] as const;
type Target = (typeof TARGETS)[number];

/** Kills one thing of the world at random; what it was, or null where it was not there. */
async function killOne(world: World, random: Rng, deaths: Map<string, number>): Promise<Target | null> {
  const target = TARGETS[random.int(TARGETS.length)];
  const isCoordinator = target.startsWith('coordinator');
  const names = world.names.filter((name) => (world.roleOf(name) === 'coordinator') === isCoordinator);
  const name = names[random.int(names.length)];
  if (target.endsWith('tree')) return killGroup(world.fleet.pid(name)) ? target : null;
  const [process, engine] = world.below(name);
  if (target !== 'engine') return process && send(process.pid, 'SIGKILL') ? target : null;
  const workers = await listWorkers(world.fleet.fleet);
  const job = workers.find((worker) => worker.name === name)?.job?.id;
  const count = (job && deaths.get(job)) || 0;
  if (!engine || count >= ENGINE_DEATHS) return null;
  if (job) deaths.set(job, count + 1);
  return send(engine.pid, 'SIGKILL') ? target : null;
}

/** Kills at random instants until the run has ended or enough is enough; how many were killed. */
async function disturb(world: World, run: RunRecord, random: Rng, atMost: number): Promise<Target[]> {
  const killed: Target[] = [];
  const deaths = new Map<string, number>();
  while (killed.length < atMost) {
    await sleep(random.between(50, 1500));
    if ((await readRun(world.fleet.store, run.id)).status === 'completed') break;
    const target = await killOne(world, random, deaths);
    if (target) killed.push(target);
  }
  return killed;
}

const atRandom = (target: number, inShort: number): Scenario => ({
  name: 'kills/random',
  short: true,
  async run(world, { random, short }) {
    const wanted = short ? inShort : target;
    const counts = new Map<Target, number>();
    let [kills, runs] = [0, 0];
    while (kills < wanted) {
      const kind: Kind = runs % 2 === 0 ? 'long' : 'long-two';
      await world.reference(kind);
      world.empty();
      const run = await world.submit(kind, `random-${runs++}`);
      const killed = await disturb(world, run, random, Math.min(short ? inShort / 2 : KILLS_A_RUN, wanted - kills));
      for (const each of killed) counts.set(each, (counts.get(each) ?? 0) + 1);
      kills += killed.length;
      await world.completes(run, kind);
    }
    return { kills, runs, text: [...counts].map(([name, n]) => `${n} × ${name}`).join(', ') };
  },
});

/** In the short form, all points in one run. */
const allPoints: Scenario = {
  name: 'points/kill-all',
  short: true,
  async run(world) {
    await world.reference('two');
    world.empty();
    for (const point of FAULT_POINTS) world.fleet.home.fault(`at-${point}`, 'kill');
    const run = await world.submit('two', 'points');
    await world.completes(run, 'two');
    const missed = FAULT_POINTS.filter((point) => !reached(world, point));
    if (missed.length > 0) throw new Error(`nobody came to ${missed.join(', ')}`);
    return { kills: FAULT_POINTS.length, runs: 1, text: 'each point once in one run' };
  },
};

const reached = (world: World, point: FaultPoint) => !existsSync(path.join(world.fleet.home.faults, `at-${point}`));

const killAt = (point: FaultPoint): Scenario => ({
  name: `points/kill-${point}`,
  short: false,
  async run(world) {
    for (const kind of ['one', 'two'] as const) {
      await world.reference(kind);
      world.empty();
      world.fleet.home.fault(`at-${point}`, 'kill');
      const run = await world.submit(kind, `kill-${point}`);
      await world.completes(run, kind);
      if (!reached(world, point)) throw new Error(`nobody came to ${point}`);
    }
    return { kills: 2, runs: 2, text: 'K = 1 and K = 2' };
  },
});

/** Sleeps past its lock, wakes when another has finished the run, and must change nothing then. */
const stopAt = (point: FaultPoint, short: boolean): Scenario => ({
  name: `points/stop-${point}`,
  short,
  async run(world, { short: isShort }) {
    const kinds = isShort ? (['two'] as const) : (['one', 'two'] as const);
    const spare = point.startsWith('plan') ? 'coordinator-b' : point.startsWith('score') ? 'eval-b' : 'train-c';
    for (const kind of kinds) {
      await world.reference(kind);
      world.empty();
      world.fleet.home.fault(`at-${point}`, 'stop');
      const run = await world.submit(kind, `stop-${point}`);
      await until(() => reached(world, point), `somebody to come to ${point}`);
      world.keep(spare, spare === 'coordinator-b' ? 'coordinator' : spare === 'eval-b' ? 'eval' : 'train');
      await world.ends(run, 'completed', 'failed');
      const before = await refsOf(world);
      const asleep = sleepers(world);
      if (asleep.length !== 1) throw new Error(`${asleep.length} processes are asleep at ${point}`);
      send(asleep[0], 'SIGCONT');
      await sleep(3000);
      const after = await refsOf(world);
      await world.drop(spare);
      if (before !== after) throw new Error(`the sleeper changed the store:\n${before}\n${after}`);
      await world.completes(run, kind);
    }
    return { kills: kinds.length, runs: kinds.length, text: kinds.join(' and ') };
  },
});

/** Every ref of runs and scores, and what it says. */
async function refsOf({ fleet: { store } }: World): Promise<string> {
  const refs = (await Promise.all(['runs', 'scores'].map((area) => store.listRefs(area)))).flat();
  return (await Promise.all(refs.map(async (ref) => `${ref} ${JSON.stringify(await store.readRef(ref))}`))).join('\n');
}

function sleepers(world: World): number[] {
  const own = new Set(world.names.flatMap((name) => world.below(name).map(({ pid }) => pid)));
  return processes().flatMap(({ pid, state }) => (own.has(pid) && state.startsWith('T') ? [pid] : []));
}

const SLEEP_IN_SHORT: FaultPoint[] = ['commit-set', 'plan-looked'];

export const killScenarios: Scenario[] = [
  atRandom(200, 12),
  allPoints,
  ...FAULT_POINTS.map(killAt),
  ...FAULT_POINTS.map((point) => stopAt(point, SLEEP_IN_SHORT.includes(point))),
];
