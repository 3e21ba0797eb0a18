// A fleet on several hosts: real Redis and S3 servers, and the coordinator and workers of `fovea`, each of which reaches
// them over a network of its own that can be disturbed. Two kinds of network: proxies on this machine, and network
// namespaces joined by virtual cables.

import { type ChildProcess, spawn } from 'node:child_process';
import { appendFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { openStore, type Store } from '@fovea/artifacts';
import {
  committedRounds,
  connect,
  type Fleet,
  listWorkers,
  type RunRecord,
  readRun,
  readScores,
  submitRun,
} from '@fovea/jobs';
import { recipeHash } from '@fovea/recipe';
import { BIN, TestHome } from '../../apps/cli/test-fixtures/cli.ts';
import { RECIPE_TEXT, recipe as tiny } from '../../packages/jobs/test-fixtures/run.ts';

/** Where servers are and how a host gets there. */
export interface Network {
  /** What runs a command on a host, before the command. */
  on(host: string): string[];
  redisUrl(host: string): string;
  s3Endpoint(host: string): string;
  /** Environment of the store's credentials. */
  readonly credentials: NodeJS.ProcessEnv;
  /** How the harness itself reaches the servers. */
  readonly own: { redisUrl: string; s3Endpoint: string };
  close(): Promise<void>;
}

export const LOCK_MS = 3000;
/** A busy machine is no hung engine. */
const recipe = { ...tiny, engine: { ...tiny.engine, hangTimeout: 60 } };
const STORE = 's3://fovea-test/fleet';

export class Hosts {
  readonly network: Network;
  readonly fleet: Fleet;
  readonly #dir: string;
  readonly #children = new Map<string, ChildProcess>();

  private constructor(dir: string, network: Network, fleet: Fleet) {
    this.#dir = dir;
    this.network = network;
    this.fleet = fleet;
  }

  static async open(dir: string, network: Network): Promise<Hosts> {
    const { redisUrl, s3Endpoint } = network.own;
    const env = { ...process.env, ...network.credentials, FOVEA_S3_ENDPOINT: s3Endpoint };
    return new Hosts(dir, network, { redis: connect(redisUrl), store: await openStore(STORE, env), prefix: 'hosts' });
  }

  get store(): Store {
    return this.fleet.store;
  }

  /** Faults of one host; see `TestHome`. */
  home(host: string): TestHome {
    mkdirSync(path.join(this.#dir, host), { recursive: true });
    return new TestHome(path.join(this.#dir, host));
  }

  /** What a host's processes have said. */
  log(host: string): string {
    const file = path.join(this.#dir, `${host}.log`);
    return existsSync(file) ? readFileSync(file, 'utf8') : '';
  }

  /** Starts a process of the fleet on a host, under the host's name. */
  start(host: string, args: string[], env: NodeJS.ProcessEnv = {}): void {
    const home = this.home(host);
    const { network } = this;
    const [command, ...rest] = [...network.on(host), process.execPath, BIN, ...args];
    const child = spawn(command, rest, {
      cwd: home.dir,
      env: {
        ...{ ...home.env, ...network.credentials, FOVEA_S3_ENDPOINT: network.s3Endpoint(host) },
        ...{ FOVEA_REDIS_URL: network.redisUrl(host), FOVEA_STORE: STORE, FOVEA_PREFIX: 'hosts' },
        ...{ FOVEA_CACHE: path.join(home.dir, 'cache'), FOVEA_API_PORT: 'off' },
        ...{ FOVEA_LOCK_MS: String(LOCK_MS), FOVEA_GRACE_MS: '5000', FOVEA_FIXTURE_STEP_MS: '50', ...env },
      },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    for (const stream of [child.stdout, child.stderr])
      stream?.on('data', (data) => appendFileSync(path.join(this.#dir, `${host}.log`), data));
    this.#children.set(host, child);
  }

  worker(host: string, role: 'train' | 'eval' = 'train'): void {
    this.start(host, ['worker', role, '--name', `${role}-${host}`, '--memory', '8']);
  }

  /** Switches a host's processes off. */
  async kill(host: string): Promise<void> {
    const child = this.#children.get(host);
    this.#children.delete(host);
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    process.kill(-child.pid!, 'SIGKILL');
    await ended;
  }

  isUp(host: string): boolean {
    const child = this.#children.get(host);
    return child !== undefined && child.exitCode === null && child.signalCode === null;
  }

  async joined(...hosts: string[]): Promise<void> {
    const there = async () => (await listWorkers(this.fleet)).map(({ name }) => name);
    await until(
      async () => {
        const names = await there();
        return hosts.every((host) => names.some((name) => name.endsWith(`-${host}`)));
      },
      `${hosts.join(', ')} to join`,
    );
  }

  submit(): Promise<RunRecord> {
    const about = { recipe, recipeHash: recipeHash(recipe), recipeDir: this.#dir, recipeText: RECIPE_TEXT };
    return submitRun(this.fleet, { ...about, recipeSource: 'tiny.yaml' }, new Date());
  }

  async completes({ id }: RunRecord, withinMs = 120_000): Promise<void> {
    await until(
      async () => {
        const { status, error } = await readRun(this.store, id);
        if (status === 'failed') throw new Error(`${id} failed: ${error?.message}`);
        return status === 'completed';
      },
      `${id} to be completed`,
      withinMs,
    );
  }

  /** All that a run came to, without the times: checkpoints by round, and what was scored. */
  async outcome(run: RunRecord): Promise<Record<string, string>> {
    const rounds = [...(await committedRounds(this.store, run))].flatMap(([track, committed]) =>
      committed.map(({ round, record }) => [`${track}/${round.round}`, record.checkpoint]),
    );
    const scores = (await readScores(this.store, run.id)).map((score) => [
      `score ${score.role}/${score.round}`,
      score.scorecard,
    ]);
    return Object.fromEntries([...rounds, ...scores]);
  }

  /** When each round was committed: a ref that was written twice would have another time. */
  async commits(run: RunRecord): Promise<string[]> {
    const rounds = [...(await committedRounds(this.store, run)).values()].flat();
    return rounds.map(({ record }) => record.committedAt);
  }

  async close(): Promise<void> {
    for (const host of [...this.#children.keys()]) await this.kill(host);
    this.fleet.redis.disconnect();
    await this.network.close();
  }
}

export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string,
  withinMs = 60_000,
): Promise<void> {
  const deadline = Date.now() + withinMs;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`waited ${withinMs / 1000} s in vain for ${what}`);
    await sleep(50);
  }
}
