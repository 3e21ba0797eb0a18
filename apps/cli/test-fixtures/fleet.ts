// A lasting fleet for tests: a real Redis, a store, and the coordinator and workers as `fovea` starts them, each a process
// tree of its own that can be killed like a machine.

import { type ChildProcess, spawn } from 'node:child_process';
import { appendFileSync } from 'node:fs';
import path from 'node:path';
import { openStore, type Store } from '@fovea/artifacts';
import {
  committedRounds,
  connect,
  ensureRedis,
  type Fleet,
  listWorkers,
  type OwnedRedis,
  type RunRecord,
  readRun,
  type Submission,
  submitRun,
} from '@fovea/jobs';
import { type Recipe, recipeHash, recipeSchema } from '@fovea/recipe';
import { RECIPE_TEXT, recipe as tiny } from '../../../packages/jobs/test-fixtures/run.ts';
import { BIN, TestHome, until } from './cli.ts';

export class TestFleet {
  readonly home: TestHome;
  readonly fleet: Fleet;
  readonly redis: OwnedRedis;
  readonly #children = new Map<string, ChildProcess>();
  readonly #env: NodeJS.ProcessEnv;

  private constructor(home: TestHome, fleet: Fleet, redis: OwnedRedis, env: NodeJS.ProcessEnv) {
    this.home = home;
    this.fleet = fleet;
    this.redis = redis;
    this.#env = env;
  }

  /** A fleet without a coordinator or worker. */
  static async open(dir: string, env: NodeJS.ProcessEnv = {}): Promise<TestFleet> {
    const home = new TestHome(dir);
    const server = await ensureRedis({ root: dir, runId: 'fleet' });
    const store = await openStore(path.join(dir, 'store'));
    const fleet = { redis: connect(server.url), store, prefix: 'test-fleet' };
    return new TestFleet(home, fleet, server, {
      FOVEA_REDIS_URL: server.url,
      FOVEA_STORE: path.join(dir, 'store'),
      FOVEA_CACHE: path.join(dir, 'cache'),
      FOVEA_PREFIX: 'test-fleet',
      FOVEA_LOCK_MS: '3000',
      FOVEA_GRACE_MS: '5000',
      ...env,
    });
  }

  get store(): Store {
    return this.fleet.store;
  }

  get log(): string {
    return path.join(this.home.dir, 'fleet.log');
  }

  /** Starts `fovea coordinator` or `fovea worker …` under a name. */
  start(name: string, args: string[], env: NodeJS.ProcessEnv = {}): void {
    const child = spawn(process.execPath, [BIN, ...args], {
      cwd: this.home.dir,
      env: { ...this.home.env, ...this.#env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    for (const stream of [child.stdout, child.stderr])
      stream?.on('data', (data) => appendFileSync(this.log, `[${name}] ${data}`));
    this.#children.set(name, child);
  }

  coordinator(env?: NodeJS.ProcessEnv): void {
    this.start('coordinator', ['coordinator', '--port', '0'], env);
  }

  worker(role: 'train' | 'eval', name: string, env?: NodeJS.ProcessEnv): void {
    this.start(name, ['worker', role, '--name', name, '--memory', '8'], env);
  }

  /** Process id of what `start` began; its children share its process group. */
  pid(name: string): number {
    return this.#children.get(name)?.pid ?? 0;
  }

  /** Sends a signal to a whole process tree, as a machine that is switched off does. */
  signal(name: string, signal: NodeJS.Signals): void {
    process.kill(-this.pid(name), signal);
  }

  /** Runs `fovea` against this fleet to its end. */
  fovea(...args: string[]) {
    return this.home.fovea(args, this.#env).ended;
  }

  async workers(n: number): Promise<void> {
    await until(async () => (await listWorkers(this.fleet)).length === n, `${n} workers`);
  }

  /** Submits the tiny recipe with some fields changed. */
  submit(changes: Partial<Recipe> = {}, about: Partial<Submission> = {}): Promise<RunRecord> {
    const recipe = recipeSchema.parse({ ...tiny, ...changes });
    const described = { recipe, recipeHash: recipeHash(recipe), recipeDir: this.home.dir, recipeText: RECIPE_TEXT };
    return submitRun(this.fleet, { ...described, recipeSource: 'tiny.yaml', ...about }, new Date());
  }

  async reaches(run: RunRecord, status: RunRecord['status']): Promise<RunRecord> {
    let now = run;
    await until(async () => {
      now = await readRun(this.store, run.id);
      return now.status === status || (now.status === 'failed' && status !== 'failed');
    }, `${run.id} to be ${status}`);
    if (now.status !== status) throw new Error(`${run.id} is ${now.status}: ${now.error?.message}`);
    return now;
  }

  /** Committed checkpoints of a run: `aligned/0` to id. */
  async checkpoints(run: RunRecord): Promise<Record<string, string>> {
    const tracks = await committedRounds(this.store, run);
    return Object.fromEntries(
      [...tracks].flatMap(([track, rounds]) =>
        rounds.map(({ round, record }) => [`${track}/${round.round}`, record.checkpoint] as const),
      ),
    );
  }

  async close(): Promise<void> {
    for (const [name, child] of this.#children) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const ended = new Promise((resolve) => child.once('exit', resolve));
      this.signal(name, 'SIGKILL');
      await ended;
    }
    this.fleet.redis.disconnect();
    await this.redis.stop();
  }
}
