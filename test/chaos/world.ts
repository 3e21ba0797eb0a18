// The fleet that the chaos tests disturb: a real Redis, a store, and a coordinator, two train workers and an eval worker
// as process trees that are started again when they die. What must hold of a run whatever was done to it is checked here.

import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { verifyStore } from '@fovea/artifacts';
import { committedRounds, type RunEvent, type RunRecord, type RunStatus, readEvents, readRun } from '@fovea/jobs';
import type { Recipe, RecipeInput } from '@fovea/recipe';
import { processes } from '../../apps/cli/test-fixtures/cli.ts';
import { TestFleet } from '../../apps/cli/test-fixtures/fleet.ts';
import { faultsOfRounds, faultsOfScores, leftJobs } from './invariants.ts';

const two = {
  min: 2,
  max: 2,
  quorum: null,
  deadline: null,
  outer: { kind: 'average', lrScale: 'linear' },
  delta: 'fp32',
} as const;
const engine = { device: 'cpu', precision: 'fp32', memory: 0, hangTimeout: 4 } as const;
/** The recipes that are disturbed: uncut, cut into two shards, and a longer one of each. */
export type Kind = 'one' | 'two' | 'long' | 'long-two';

export type Role = 'train' | 'eval' | 'coordinator';

export interface WorldOptions {
  /** Of every process. */
  env?: NodeJS.ProcessEnv;
  /** Of single processes, by name. */
  only?: Record<string, NodeJS.ProcessEnv>;
  /** Called with the world's folder before anything is in it. */
  prepare?: (dir: string) => void;
  /** Called with the world's folder when everything has ended. */
  finish?: (dir: string) => void;
}

interface Kept {
  role: Role;
  env: NodeJS.ProcessEnv;
}

/** Checkpoint ids (`trunk/0` to id) of the runs that nothing disturbed. They depend on no fleet and no store. */
export type Reference = Record<string, string>;

/** Longest that a run may take once it is left alone, in milliseconds. */
const PATIENCE_MS = 120_000;

export class World {
  static readonly #open = new Set<World>();
  readonly dir: string;
  readonly fleet: TestFleet;
  readonly #options: WorldOptions;
  readonly #kept = new Map<string, Kept>();
  readonly #references: Map<Kind, Reference>;
  #keeper: NodeJS.Timeout | null = null;

  private constructor(dir: string, fleet: TestFleet, options: WorldOptions, references: Map<Kind, Reference>) {
    this.dir = dir;
    this.fleet = fleet;
    this.#options = options;
    this.#references = references;
  }

  /** Opens a fleet in a folder of its own and waits until all of it is there. */
  static async open(references: Map<Kind, Reference>, options: WorldOptions = {}): Promise<World> {
    const dir = await mkdtemp(path.join(tmpdir(), 'fovea-chaos-'));
    options.prepare?.(dir);
    const env = { FOVEA_FIXTURE_STEP_MS: '20', FOVEA_API_PORT: 'off', ...options.env };
    const world = new World(dir, await TestFleet.open(dir, env), options, references);
    World.#open.add(world);
    world.keep('coordinator', 'coordinator');
    world.keep('train-a', 'train');
    world.keep('train-b', 'train');
    world.keep('eval-a', 'eval');
    world.#keeper = setInterval(() => world.#revive(), 200);
    await world.fleet.workers(3);
    return world;
  }

  /** Starts a process tree and keeps it running, as a service manager does with what its own supervisor gave up. */
  keep(name: string, role: Role, env: NodeJS.ProcessEnv = this.#options.only?.[name] ?? {}): void {
    this.#kept.set(name, { role, env });
    if (role === 'coordinator') this.fleet.start(name, ['coordinator'], env);
    else this.fleet.worker(role, name, env);
  }

  /** Ends a process tree for good. */
  async drop(name: string): Promise<void> {
    this.#kept.delete(name);
    killGroup(this.fleet.pid(name));
    await until(() => !isThere(this.fleet.pid(name)), `${name} to end`);
  }

  get names(): string[] {
    return [...this.#kept.keys()];
  }

  roleOf(name: string): Role {
    return this.#kept.get(name)!.role;
  }

  #revive(): void {
    for (const [name, { role, env }] of this.#kept) {
      if (isThere(this.fleet.pid(name))) continue;
      // What the dead left behind belonged to the same machine.
      killGroup(this.fleet.pid(name));
      this.keep(name, role, env);
    }
  }

  /** Process ids below a tree's supervisor, outermost first: the process, and its engine. */
  below(name: string): { pid: number; args: string }[] {
    const all = processes();
    const children = (pid: number): typeof all =>
      all.filter(({ parent }) => parent === pid).flatMap((each) => [each, ...children(each.pid)]);
    return children(this.fleet.pid(name));
  }

  /** Empties the store, so that nothing is found to have been done before. */
  empty(): void {
    for (const area of ['blobs', 'refs', 'tmp', 'trash']) {
      const folder = path.join(this.fleet.store.root, area);
      if (!existsSync(folder)) continue;
      for (const name of readdirSync(folder)) rmSync(path.join(folder, name), { recursive: true, force: true });
    }
    for (const name of readdirSync(this.fleet.home.faults)) rmSync(path.join(this.fleet.home.faults, name));
  }

  /** What its processes said. */
  get log(): string {
    return existsSync(this.fleet.log) ? readFileSync(this.fleet.log, 'utf8') : '';
  }

  /** Submits a run under a name of its own. */
  submit(kind: Kind, name: string): Promise<RunRecord> {
    return this.fleet.submit({ ...(changesOf(kind) as Partial<Recipe>), name });
  }

  /** Waits for a run to come to one of these ends; its record. */
  async ends(run: RunRecord, ...statuses: RunStatus[]): Promise<RunRecord> {
    let last: RunRecord | null = null;
    await until(
      async () => {
        last = await readRun(this.fleet.store, run.id);
        return statuses.includes(last.status);
      },
      `${run.id} to be ${statuses.join(' or ')}`,
    );
    return last!;
  }

  /** The checkpoints of the recipe's run that nothing disturbed; runs it if need be. */
  async reference(kind: Kind): Promise<Reference> {
    const known = this.#references.get(kind);
    if (known) return known;
    this.empty();
    const run = await this.submit(kind, `undisturbed-${kind}`);
    await this.ends(run, 'completed', 'failed');
    const reference = await this.checkpoints(run);
    this.#references.set(kind, reference);
    await this.holds(run, kind);
    return reference;
  }

  async checkpoints(run: RunRecord): Promise<Reference> {
    const tracks = await committedRounds(this.fleet.store, run);
    return Object.fromEntries(
      [...tracks].flatMap(([track, rounds]) =>
        rounds.map(({ round, record }) => [`${track}/${round.round}`, record.checkpoint] as const),
      ),
    );
  }

  /** Waits for a run to be completed, and throws an error that lists all that is not as it must be. */
  async completes(run: RunRecord, kind: Kind): Promise<void> {
    const { status, error } = await this.ends(run, 'completed', 'failed');
    if (status !== 'completed') throw new Error(`${run.id} is ${status}: ${error?.message}`);
    await this.holds(run, kind);
  }

  /** What must hold of a completed run, its store, its queues and its processes. */
  async holds(run: RunRecord, kind: Kind): Promise<void> {
    const faults = [
      ...(await faultsOfRounds(this, run, this.#references.get(kind) ?? {})),
      ...(await faultsOfScores(this, run)),
      ...(await verifyStore(this.fleet.store)).faults,
      ...(await leftJobs(this, run)),
      ...(await this.#strays()),
    ];
    if (faults.length > 0) throw new Error([`${run.id}:`, ...new Set(faults)].join('\n  '));
  }

  async events(run: RunRecord): Promise<RunEvent[]> {
    const { redis, prefix } = this.fleet.fleet;
    const all: RunEvent[] = [];
    for (let after = '0'; ; ) {
      const { events, last } = await readEvents({ redis, prefix }, run.id, after, 1);
      if (events.length === 0) return all;
      all.push(...events);
      after = last;
    }
  }

  /** Processes of this world that nobody's supervisor knows. */
  async #strays(): Promise<string[]> {
    let strays: string[] = [];
    const look = () => {
      const known = new Set(
        this.names.flatMap((name) => [this.fleet.pid(name), ...this.below(name).map((p) => p.pid)]),
      );
      strays = this.#family().flatMap(({ pid, args }) => (known.has(pid) ? [] : [`process ${pid} was left: ${args}`]));
      return strays.length === 0;
    };
    await until(look, 'strays to end', 10_000).catch(() => undefined);
    return strays;
  }

  /** Every process that has this world's store in its environment. */
  #family(): { pid: number; args: string }[] {
    return processes().filter(({ pid }) => {
      try {
        return readFileSync(`/proc/${pid}/environ`, 'utf8').includes(`FOVEA_STORE=${this.fleet.store.root}\0`);
      } catch {
        return false;
      }
    });
  }

  /** Ends what an interrupted test would leave. */
  static async closeAll(): Promise<void> {
    for (const world of World.#open) await world.close().catch((error) => console.error(String(error)));
  }

  /** Ends everything; an error names what could not be ended. */
  async close(): Promise<void> {
    World.#open.delete(this);
    if (this.#keeper) clearInterval(this.#keeper);
    this.#kept.clear();
    await this.fleet.close();
    await until(() => this.#family().length === 0, 'every process to end', 10_000);
    this.#options.finish?.(this.dir);
    await rm(this.dir, { recursive: true, force: true });
  }
}

function changesOf(kind: Kind): RecipeInput | Partial<RecipeInput> {
  const align = { stage: 'align', roundSteps: 10, lr: 0.001, roles: ['aligned', 'control'] } as const;
  const stages = [
    { stage: 'pretrain', steps: 10, roundSteps: 10, lr: 0.001 },
    { stage: 'projector', steps: 10, roundSteps: 10, lr: 0.001 },
    { ...align, steps: kind.startsWith('long') ? 60 : 20 },
  ] as const;
  const shards = kind.endsWith('two') ? { shards: two } : {};
  return { stages: [...stages], engine: { ...engine }, ...shards } as Partial<RecipeInput>;
}

/** Whether a process is there at all, stopped ones included. */
export function isThere(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Sends a signal to a process that may be gone already. */
export function send(pid: number, signal: NodeJS.Signals): boolean {
  try {
    process.kill(pid, signal);
    return true;
  } catch {
    return false;
  }
}

/** Kills a process group, if it is there. */
export const killGroup = (pid: number): boolean => pid > 1 && send(-pid, 'SIGKILL');

export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string,
  patienceMs = PATIENCE_MS,
): Promise<void> {
  const deadline = performance.now() + patienceMs;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`waited ${patienceMs / 1000} s in vain for ${what}`);
    await sleep(50);
  }
}
