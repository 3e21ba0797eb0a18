// Redis restarted, killed, cut off, paused and wiped under runs that are going.

import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from '@fovea/jobs';
import type { Scenario } from './scenario.ts';
import { type Kind, send, type World } from './world.ts';

/** Fewer than the restarts after which a private Redis is given up. */
const TIMES = 2;

/** Does something to Redis a few times, at random instants of a run of each kind. */
const meanwhile = (name: string, act: (world: World) => Promise<void>, short = true): Scenario => ({
  name: `redis/${name}`,
  short,
  own: {},
  async run(world, { random, short }) {
    const kinds: Kind[] = short ? ['two'] : ['one', 'two'];
    const times = short ? 1 : TIMES;
    for (const kind of kinds) {
      await world.reference(kind);
      world.empty();
      const run = await world.submit(kind, name);
      for (let i = 0; i < times; i++) {
        await sleep(random.between(300, 2500));
        await act(world);
      }
      await world.completes(run, kind);
    }
    return { kills: 0, runs: kinds.length, text: times > 1 ? `${times} times a run` : 'once' };
  },
});

const kill = (signal: NodeJS.Signals) => async (world: World) => void send(world.fleet.redis.ownedPid ?? 0, signal);

/** For two seconds nobody keeps a connection for longer than a tenth of one. */
async function cutAll(world: World): Promise<void> {
  const own = connect(world.fleet.redis.url);
  for (let i = 0; i < 20; i++) {
    await own.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    await own.call('CLIENT', 'KILL', 'TYPE', 'pubsub', 'SKIPME', 'yes');
    await sleep(100);
  }
  own.disconnect();
}

async function pause(world: World): Promise<void> {
  const pid = world.fleet.redis.ownedPid ?? 0;
  send(pid, 'SIGSTOP');
  await sleep(10_000);
  send(pid, 'SIGCONT');
}

const wipe = (world: World) => world.fleet.fleet.redis.flushall();

async function wipeAndRebuild(world: World): Promise<void> {
  await wipe(world);
  const { code, err } = await world.fleet.fovea('runs', 'rebuild');
  if (code !== 0) throw new Error(`fovea runs rebuild: ${err}`);
}

export const redisScenarios: Scenario[] = [
  meanwhile('restarted', kill('SIGTERM'), false),
  meanwhile('killed', kill('SIGKILL')),
  meanwhile('connections-killed', cutAll),
  meanwhile('paused-10s', pause),
  meanwhile('wiped', async (world) => void (await wipe(world))),
  meanwhile('wiped-and-rebuilt', wipeAndRebuild),
];
