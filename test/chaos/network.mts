// A fleet whose hosts cannot always reach each other: workers and the coordinator behind proxies that partition, delay and
// break. Whatever happens, a run ends with the checkpoints and scores of an undisturbed one, each committed once.
//
//   npm run chaos:network -- [--short] [--only PART_OF_A_NAME] [--keep]

import { deepStrictEqual, ok } from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { cpus, loadavg, tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import type { RunRecord } from '@fovea/jobs';
import { Hosts, LOCK_MS, until } from './hosts.ts';
import { Proxied } from './proxied.ts';
import { findServers } from './servers.ts';

const { values: given } = parseArgs({
  options: {
    short: { type: 'boolean', default: false },
    only: { type: 'string', default: '' },
    keep: { type: 'boolean', default: false },
  },
});

interface Scene {
  hosts: Hosts;
  network: Proxied;
}

interface Scenario {
  name: string;
  /** Part of `--short` too. */
  short?: boolean;
  /** Disturbs a fleet of hosts a and b (train), c (coordinator) and e (eval), and returns the run that it disturbed. */
  play(scene: Scene): Promise<RunRecord>;
}

/** Host a stands in the middle of a round; b has joined since. */
async function standing({ hosts }: Scene, fault: string): Promise<RunRecord> {
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
  const { listWorkers } = await import('@fovea/jobs');
  return (await listWorkers(hosts.fleet)).map(({ name }) => name);
}

/** Host a alone can still do a whole run: what it went through has not stunned it. */
async function isOfUse({ hosts }: Scene, host: 'a' | 'b'): Promise<void> {
  const other = host === 'a' ? 'b' : 'a';
  await hosts.joined(host);
  await hosts.kill(other);
  const run = await hosts.submit();
  await hosts.completes(run);
  hosts.worker(other);
  await hosts.joined(other);
}

/** A worker loses the network for longer than its lock, another finishes its round, and it comes back. */
function partition(fault: string, cut: (network: Proxied) => void, heal: (network: Proxied) => void) {
  return async (scene: Scene): Promise<RunRecord> => {
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

const SCENARIOS: Scenario[] = [
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

/** A fleet of its own, so that no scenario sees what is left of another. */
async function playAll(programs: { redis: string; s3: string }, dir: string): Promise<boolean> {
  const network = await Proxied.open(programs, dir, ['a', 'b', 'c', 'e']);
  const hosts = await Hosts.open(dir, network);
  let isWell = true;
  try {
    hosts.start('c', ['coordinator']);
    hosts.worker('a');
    hosts.worker('b');
    hosts.worker('e', 'eval');
    await hosts.joined('a', 'b', 'e');
    const began = performance.now();
    const calm = await hosts.submit();
    await hosts.completes(calm);
    const expected = await hosts.outcome(calm);
    console.log(`undisturbed: ${Object.keys(expected).length} checkpoints and scores, ${seconds(began)}`);
    for (const { name, short, play } of SCENARIOS) {
      if ((given.short && !short) || !name.includes(given.only)) continue;
      const began = performance.now();
      try {
        const run = await play({ hosts, network });
        deepStrictEqual(await hosts.outcome(run), expected);
        for (const host of ['a', 'b', 'c', 'e']) ok(hosts.isUp(host), `host ${host} has ended`);
        console.log(`holds   ${name}: ${seconds(began)}`);
      } catch (error) {
        isWell = false;
        console.log(`MISSED  ${name}: ${seconds(began)}: ${(error as Error).message}`);
        for (const host of ['a', 'b', 'c', 'e']) console.log(`--- ${host}\n${hosts.log(host).slice(-3000)}`);
        break;
      }
    }
  } finally {
    await hosts.close();
  }
  return isWell;
}

const seconds = (began: number) => `${((performance.now() - began) / 1000).toFixed(1)} s`;

console.log(
  `${new Date().toISOString()}; ${cpus().length} cores of ${cpus()[0].model}; load ${loadavg()[0].toFixed(1)}`,
);
const programs = await findServers();
if ('reason' in programs) console.log(`SKIPPED: ${programs.reason}`);
else {
  const dir = await mkdtemp(path.join(tmpdir(), 'fovea-net-'));
  if (!(await playAll(programs, dir))) process.exitCode = 1;
  if (!given.keep) await rm(dir, { recursive: true, force: true });
}
process.exit();
