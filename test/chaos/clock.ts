// A clock that is set an hour forward or back in the middle of a run, on one machine of the fleet or on all of them but
// Redis's.

import { rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Scenario } from './scenario.ts';
import type { WorldOptions } from './world.ts';

const HOUR_MS = 3_600_000;
const PRELOAD = `--import ${new URL('./shift-clock.mjs', import.meta.url).href}`;
const NAMES = ['coordinator', 'train-a', 'train-b', 'eval-a'];
const FILE = path.join(tmpdir(), `fovea-chaos-clock-${process.pid}`);

const withClocks: WorldOptions = {
  only: Object.fromEntries(
    NAMES.map((name) => [name, { NODE_OPTIONS: PRELOAD, FOVEA_CHAOS_CLOCK: `${FILE}-${name}` }] as const),
  ),
};

const set = (names: readonly string[], shift: number) => {
  for (const name of names) writeFileSync(`${FILE}-${name}`, String(shift));
};

/** There and back, with a failure on the wrong clock and Redis wiped under it, so that all that waits must come due. */
const jump = (what: string, names: readonly string[], hours: number, short: boolean): Scenario => ({
  name: `clock/${what}${hours > 0 ? '+' : '-'}1h`,
  short,
  own: withClocks,
  async run(world, { random }) {
    set(NAMES, 0);
    try {
      await world.reference('two');
      world.empty();
      for (const round of ['train-trunk-1', 'train-aligned-0', 'train-control-1'])
        world.fleet.home.fault(round, 'crash');
      const run = await world.submit('two', 'clock');
      await sleep(random.between(300, 1500));
      set(names, hours * HOUR_MS);
      await sleep(random.between(1000, 2500));
      set(names, 0);
      await world.fleet.fleet.redis.flushall();
      await sleep(random.between(500, 1500));
      set(names, hours * HOUR_MS);
      await world.completes(run, 'two');
      const again = await world.submit('two', 'clock-back');
      await sleep(500);
      set(names, 0);
      await world.completes(again, 'two');
      return { kills: 0, runs: 2, text: `set 4 times, engine crashes and a wiped Redis between` };
    } finally {
      for (const name of NAMES) rmSync(`${FILE}-${name}`, { force: true });
    }
  },
});

export const clockScenarios: Scenario[] = [1, -1].flatMap((hours) => [
  jump('coordinator', ['coordinator'], hours, false),
  jump('trainer', ['train-a', 'train-b'], hours, false),
  jump('all', NAMES, hours, hours < 0),
]);
