// A fleet whose hosts cannot always reach each other: workers and the coordinator behind proxies that partition, delay and
// break, then workers in network namespaces whose cables are pulled. Whatever happens, a run ends with the checkpoints and
// scores of an undisturbed one, each committed once.
//
//   npm run chaos:network -- [--short] [--only PART_OF_A_NAME …] [--keep]

import { deepStrictEqual, ok } from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { cpus, loadavg, tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { listWorkers, type RunRecord } from '@fovea/jobs';
import { Hosts, LOCK_MS, type Network, until } from './hosts.ts';
import { Namespaces } from './namespaces.ts';
import { Proxied } from './proxied.ts';
import { findServers } from './servers.ts';

const { values: given } = parseArgs({
  options: {
    short: { type: 'boolean', default: false },
    only: { type: 'string', multiple: true, default: [''] },
    keep: { type: 'boolean', default: false },
  },
});

interface Scene<N> {
  hosts: Hosts;
  network: N;
}

interface Scenario<N> {
  name: string;
  /** Part of `--short` too. */
  short?: boolean;
  /**
   * Disturbs a fleet of hosts a and b (train), c (coordinator) and e (eval), and returns the run that it disturbed; or says
   * why it could not.
   */
  play(scene: Scene<N>): Promise<RunRecord | string>;
}

/** Host a stands in the middle of a round; b has joined since. */
async function standing({ hosts }: Scene<Network>, fault: string): Promise<RunRecord> {
  await hosts.kill('b');
  await until(async () => !(await names(hosts)).includes('train-b'), 'b to be forgotten');
  hosts.home('a').fault(fault, 'wait');
  const run = await hosts.submit();
  await hosts.home('a').standsAt(fault);
  hosts.worker('b');
  await hosts.joined('b');
  return run;
}

async function names(hosts: Hosts): Promise<string[]> {
  return (await listWorkers(hosts.fleet)).map(({ name }) => name);
}

/** Host a alone can still do a whole run: what it went through has not stunned it. */
async function isOfUse({ hosts }: Scene<Network>, host: 'a' | 'b'): Promise<void> {
  const other = host === 'a' ? 'b' : 'a';
  await hosts.joined(host);
  await hosts.kill(other);
  const run = await hosts.submit();
  await hosts.completes(run);
  hosts.worker(other);
  await hosts.joined(other);
}

/** A worker loses the network for longer than its lock, another finishes its round, and it comes back. */
function partition<N extends Network>(fault: string, cut: (network: N) => void, heal: (network: N) => void) {
  return async (scene: Scene<N>): Promise<RunRecord> => {
    const { hosts, network } = scene;
    const run = await standing(scene, fault);
    cut(network);
    await sleep(LOCK_MS);
    await hosts.completes(run);
    const before = await hosts.commits(run);
    heal(network);
    hosts.home('a').lift(fault);
    await sleep(2 * LOCK_MS);
    deepStrictEqual(await hosts.commits(run), before, 'the old worker committed again');
    await isOfUse(scene, 'a');
    return run;
  };
}

const cutA = (network: Proxied) => network.links('a').forEach((link) => link.set({ way: 'hold' }));
const healA = (network: Proxied) => network.links('a').forEach((link) => link.set({ way: 'open' }));

const PROXIED: Scenario<Proxied>[] = [
  {
    name: 'a worker is cut off in the middle of a round',
    short: true,
    play: partition('train-aligned-1', cutA, healA),
  },
  { name: 'a worker is cut off before it commits', play: partition('at-commit-checked', cutA, healA) },
  {
    name: 'the answers of Redis to a worker are lost for good',
    short: true,
    play: partition(
      'at-merge-claimed',
      (network) => Object.assign(network.link('a').redis.down, { way: 'swallow' }),
      (network) => Object.assign(network.link('a').redis.down, { way: 'open' }),
    ),
  },
  {
    name: 'the coordinator is cut off for 10 s',
    short: true,
    play: async ({ hosts, network }) => {
      const run = await hosts.submit();
      await sleep(1000);
      for (const link of network.links('c')) link.set({ way: 'hold' });
      await sleep(10_000);
      for (const link of network.links('c')) link.set({ way: 'open' });
      await hosts.completes(run);
      return run;
    },
  },
  {
    name: 'what the coordinator asks is swallowed for 10 s',
    play: async ({ hosts, network }) => {
      const run = await hosts.submit();
      await sleep(1000);
      for (const link of network.links('c')) link.set({ way: 'swallow' });
      await sleep(10_000);
      for (const link of network.links('c')) link.set({ way: 'open' });
      await hosts.completes(run);
      return run;
    },
  },
  {
    name: 'every way takes 200 ± 100 ms',
    short: true,
    play: async ({ hosts, network }) => {
      // Half of it each way.
      for (const link of network.links()) link.set({ latencyMs: 100, jitterMs: 50 });
      const run = await hosts.submit();
      await hosts.completes(run, 300_000);
      for (const link of network.links()) link.set({ latencyMs: 0, jitterMs: 0 });
      return run;
    },
  },
  {
    name: 'every connection is reset once a second',
    play: async ({ hosts, network }) => {
      const timer = setInterval(() => network.links().forEach((link) => link.reset()), 1000);
      const run = await hosts.submit();
      await sleep(20_000).finally(() => clearInterval(timer));
      await hosts.completes(run);
      return run;
    },
  },
  {
    name: 'the store is down for 30 s',
    short: true,
    play: async ({ hosts, network }) => {
      const run = await hosts.submit();
      await sleep(1500);
      await network.servers.s3.kill();
      await sleep(30_000);
      await network.servers.s3.start();
      await hosts.completes(run);
      return run;
    },
  },
  {
    name: 'the store says nothing for 45 s',
    play: async ({ hosts, network }) => {
      const run = await hosts.submit();
      await sleep(1500);
      const links = ['a', 'b', 'c', 'e'].map((host) => network.link(host).s3);
      for (const link of links) link.set({ way: 'swallow' });
      await sleep(45_000);
      for (const link of links) link.set({ way: 'open' });
      await hosts.completes(run);
      return run;
    },
  },
];

const NAMESPACES: Scenario<Namespaces>[] = [
  {
    name: "a worker's cable is pulled in the middle of a round",
    short: true,
    play: partition(
      'train-aligned-1',
      (network) => network.cable('a', 'down'),
      (network) => network.cable('a', 'up'),
    ),
  },
  {
    name: 'the cables of both workers are pulled for 10 s',
    play: async ({ hosts, network }) => {
      const run = await hosts.submit();
      await sleep(1500);
      for (const host of ['a', 'b']) network.cable(host, 'down');
      await sleep(10_000);
      for (const host of ['a', 'b']) network.cable(host, 'up');
      await hosts.completes(run);
      return run;
    },
  },
  {
    name: 'cables that have a loose contact: each out for 0.5 s every 2 s',
    play: async ({ hosts, network }) => {
      const run = await hosts.submit();
      for (let i = 0; i < 10; i++) {
        const host = i % 2 === 0 ? 'a' : 'b';
        network.cable(host, 'down');
        await sleep(500);
        network.cable(host, 'up');
        await sleep(500);
      }
      await hosts.completes(run);
      return run;
    },
  },
  {
    name: 'the kernel delays what workers send by 200 ± 100 ms',
    play: async ({ hosts, network }) => {
      if (!['a', 'b'].every((host) => network.delay(host, 200, 100))) return 'the kernel has no netem';
      const run = await hosts.submit();
      await hosts.completes(run, 300_000);
      for (const host of ['a', 'b']) network.delay(host, 0, 0);
      return run;
    },
  },
];

const HOSTS = ['a', 'b', 'c', 'e'];

/** Plays scenarios one after the other in one fleet; true if all of them hold. */
async function playAll<N extends Network>(network: N, scenarios: Scenario<N>[], dir: string): Promise<boolean> {
  const chosen = scenarios.filter(
    ({ name, short }) => (short || !given.short) && given.only.some((part) => name.includes(part)),
  );
  const hosts = await Hosts.open(dir, network);
  try {
    if (chosen.length === 0) return true;
    hosts.start('c', ['coordinator']);
    hosts.worker('a');
    hosts.worker('b');
    hosts.worker('e', 'eval');
    await hosts.joined('a', 'b', 'e');
    const began = performance.now();
    const calm = await hosts.submit();
    await hosts.completes(calm);
    const expected = await hosts.outcome(calm);
    console.log(`undisturbed: ${Object.keys(expected).length} checkpoints and scores, ${since(began)}`);
    for (const scenario of chosen) {
      if (!(await holds(scenario, { hosts, network }, expected))) return false;
    }
    return true;
  } finally {
    await hosts.close();
  }
}

async function holds<N extends Network>(
  { name, play }: Scenario<N>,
  scene: Scene<N>,
  expected: Record<string, string>,
): Promise<boolean> {
  const { hosts } = scene;
  const began = performance.now();
  try {
    const run = await play(scene);
    if (typeof run === 'string') console.log(`SKIPPED ${name}: ${run}`);
    else {
      deepStrictEqual(await hosts.outcome(run), expected);
      for (const host of HOSTS) ok(hosts.isUp(host), `host ${host} has ended`);
      console.log(`holds   ${name}: ${since(began)}`);
    }
    return true;
  } catch (error) {
    console.log(`MISSED  ${name}: ${since(began)}: ${(error as Error).message}`);
    for (const host of HOSTS) console.log(`--- ${host}\n${hosts.log(host).slice(-3000)}`);
    return false;
  }
}

const since = (began: number) => `${((performance.now() - began) / 1000).toFixed(1)} s`;

console.log(
  `${new Date().toISOString()}; ${cpus().length} cores of ${cpus()[0].model}; load ${loadavg()[0].toFixed(1)}`,
);
const programs = await findServers();
const dir = await mkdtemp(path.join(tmpdir(), 'fovea-net-'));
try {
  if ('reason' in programs) console.log(`SKIPPED everything: ${programs.reason}`);
  else {
    const [first, second] = [path.join(dir, 'proxied'), path.join(dir, 'spaces')];
    for (const folder of [first, second]) mkdirSync(folder);
    if (!(await playAll(await Proxied.open(programs, first, HOSTS), PROXIED, first))) process.exitCode = 1;
    const spaces = await Namespaces.open(programs, second);
    if ('reason' in spaces) console.log(`SKIPPED namespaces: ${spaces.reason}`);
    else if (!(await playAll(spaces, NAMESPACES, second))) process.exitCode = 1;
  }
} finally {
  if (!given.keep) await rm(dir, { recursive: true, force: true });
}
process.exit();
