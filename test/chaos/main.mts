// The chaos tests: every scenario disturbs runs of a real fleet, one at a time, and checks that nothing of it can be
// seen in what they give. Prints a table and exits with 1 if anything did not hold.
//
//   npm run chaos -- [--short] [--seed n] [--only name] [--list]

import { parseArgs } from 'node:util';
import { philox } from '@fovea/tensor/random';
import { clockScenarios } from './clock.ts';
import { diskScenarios } from './disks.ts';
import { killScenarios } from './kills.ts';
import { poisonScenarios } from './poison.ts';
import { redisScenarios } from './redis.ts';
import type { Scenario } from './scenario.ts';
import { truncationScenarios } from './truncation.ts';
import { type Kind, type Reference, World } from './world.ts';

const { values: given } = parseArgs({
  options: {
    short: { type: 'boolean', default: false },
    seed: { type: 'string' },
    only: { type: 'string', multiple: true },
    list: { type: 'boolean', default: false },
  },
});
const seed = Number(given.seed ?? (given.short ? 6 : Date.now() % 1e6));
const every = [
  ...killScenarios,
  ...redisScenarios,
  ...clockScenarios,
  ...diskScenarios,
  ...truncationScenarios,
  ...poisonScenarios,
];
const scenarios = every.filter(({ name, short }) =>
  given.only ? given.only.some((part) => name.includes(part)) : short || !given.short,
);

interface Row {
  name: string;
  seconds: number;
  kills: number;
  runs: number;
  text: string;
  failed: boolean;
}

const references = new Map<Kind, Reference>();
const held: { world: World | null } = { world: null };

/** The world that a scenario disturbs; one of its own is closed after it, and a shared one after a failure. */
async function worldFor(scenario: Scenario): Promise<World> {
  if (scenario.own) return World.open(references, scenario.own);
  held.world ??= await World.open(references);
  return held.world;
}

async function play(scenario: Scenario): Promise<Row> {
  const began = performance.now();
  const row = (more: Pick<Row, 'kills' | 'runs' | 'text' | 'failed'>): Row => ({
    name: scenario.name,
    seconds: (performance.now() - began) / 1000,
    ...more,
  });
  const reason = scenario.skip?.();
  if (reason) return row({ kills: 0, runs: 0, text: `skipped: ${reason}`, failed: false });
  let world: World | null = null;
  try {
    world = await worldFor(scenario);
    const done = await scenario.run(world, { random: philox(seed, scenario.name), short: given.short });
    if (scenario.own) await world.close();
    return row({ ...done, failed: false });
  } catch (error) {
    console.error(`${scenario.name} failed: ${(error as Error).stack}`);
    if (world) console.error(world.log.slice(-8000));
    await world?.close().catch((error) => console.error(String(error)));
    if (world === held.world) held.world = null;
    return row({ kills: 0, runs: 0, text: (error as Error).message.split('\n')[0], failed: true });
  }
}

if (given.list) {
  for (const { name, short } of scenarios) console.log(`${name}${short ? ' (short)' : ''}`);
  process.exit(0);
}
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => void World.closeAll().finally(() => process.exit(130)));
console.log(`seed ${seed}, ${scenarios.length} scenarios`);
const rows: Row[] = [];
const began = performance.now();
for (const scenario of scenarios) {
  const row = await play(scenario);
  rows.push(row);
  console.log(line(row));
}
await held.world?.close();
const failed = rows.filter((row) => row.failed).length;
const sum = (of: (row: Row) => number) => rows.reduce((total, row) => total + of(row), 0);
const minutes = ((performance.now() - began) / 60_000).toFixed(1);
console.log(
  `seed ${seed}: ${rows.length - failed} of ${rows.length} held; ${sum((row) => row.runs)} runs, ${sum((row) => row.kills)} kills, ${minutes} min`,
);
process.exit(failed > 0 || rows.length === 0 ? 1 : 0);

function line({ name, seconds, kills, runs, text, failed }: Row): string {
  return `| ${failed ? 'FAILED' : 'ok'} | ${name} | ${runs} | ${kills} | ${seconds.toFixed(1)} s | ${text} |`;
}
