// A clock that is set an hour forward or back in the middle of a run, on one machine of the fleet or on all of them but
// Redis's.

import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Scenario } from './scenario.ts';
import { until, type WorldOptions } from './world.ts';

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

/**
 * Set and set right again: while an engine's crash makes a job wait for its next attempt, and while Redis is wiped, so that
 * all that waits for its time must come due.
 */
const jump = (what: string, names: readonly string[], hours: number, short: boolean): Scenario => ({
  name: `clock/${what}${hours > 0 ? '+' : '-'}1h`,
  short,
  own: withClocks,
  async run(world, { random }) {
    set(NAMES, 0);
    try {
      await world.reference('two');
      world.empty();
      world.fleet.home.fault('train-aligned-0', 'crash');
      const run = await world.submit('two', 'clock');
      await sleep(random.between(100, 500));
      set(names, hours * HOUR_MS);
      await until(() => !existsSync(path.join(world.fleet.home.faults, 'train-aligned-0')), 'an engine to crash');
      await sleep(100);
      set(names, 0);
      await world.completes(run, 'two');
      world.empty();
      const again = await world.submit('two', 'clock-back');
      await sleep(random.between(300, 1500));
      set(names, hours * HOUR_MS);
      await sleep(random.between(300, 1500));
      await world.fleet.fleet.redis.flushall();
      set(names, 0);
      await world.completes(again, 'two');
      return { kills: 0, runs: 2, text: 'set and set right twice, with a crashed engine and with a wiped Redis' };
    } finally {
      for (const name of NAMES) rmSync(`${FILE}-${name}`, { force: true });
    }
  },
});

export const clockScenarios: Scenario[] = [1, -1].flatMap((hours) => [
  jump('coordinator', ['coordinator'], hours, false),
  jump('trainer', ['train-a', 'train-b'], hours, hours > 0),
  jump('all', NAMES, hours, false),
]);
