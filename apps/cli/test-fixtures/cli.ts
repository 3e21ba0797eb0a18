// The command line as a person's shell starts it, in a home of its own, with the small real engine of @fovea/jobs in the
// place of the big ones; and eyes and hands for chaos: who runs below it, faults to set, processes to kill.

import { type ChildProcess, execFileSync, type StdioOptions, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { typescriptFlags } from '@fovea/jobs';
import { RECIPE_TEXT } from '../../../packages/jobs/test-fixtures/run.ts';

export const BIN = fileURLToPath(new URL('../bin/fovea.js', import.meta.url));
const ENGINE = fileURLToPath(new URL('../../../packages/jobs/test-fixtures/engine.ts', import.meta.url));
const PATIENCE_MS = 45_000;
/** Longest that a whole command may take, on a machine with other work too. */
const RUN_MS = 100_000;

export interface Ended {
  code: number | null;
  out: string;
  err: string;
}

export class TestHome {
  readonly dir: string;
  readonly faults: string;

  constructor(dir: string) {
    this.dir = dir;
    this.faults = path.join(dir, 'faults');
    mkdirSync(this.faults, { recursive: true });
    writeFileSync(path.join(dir, 'tiny.yaml'), RECIPE_TEXT);
  }

  get env(): NodeJS.ProcessEnv {
    const { REDIS_URL: _url, FOVEA_HOME: _home, ...env } = process.env;
    return {
      ...env,
      INIT_CWD: this.dir,
      FOVEA_FAULTS: this.faults,
      FOVEA_TRAIN_ENGINE: ENGINE,
      FOVEA_EVAL_ENGINE: ENGINE,
      FOVEA_SUITE_VERSION: 'test-1',
    };
  }

  fovea(args: string[], env: NodeJS.ProcessEnv = {}): Running {
    const log = path.join(this.dir, 'runs/latest/log');
    return new Running(
      spawn(process.execPath, [BIN, ...args], {
        cwd: this.dir,
        env: { ...this.env, ...env },
        stdio: ['ignore', 'pipe', 'pipe'],
      }),
      () => (existsSync(log) ? readFileSync(log, 'utf8').slice(-4000) : ''),
    );
  }

  /** A worker of the current run that the command line did not start, as another machine's would be. */
  worker(kind: 'train' | 'eval', name: string, env: NodeJS.ProcessEnv = {}): Running {
    const main = fileURLToPath(new URL(`../../${kind}-worker/src/main.ts`, import.meta.url));
    const own = {
      FOVEA_REDIS_URL: `unix:${path.join(this.dir, '.fovea/redis', this.runId, 'redis.sock')}`,
      FOVEA_STORE: path.join(this.dir, '.fovea/store'),
      FOVEA_CACHE: path.join(this.dir, '.fovea/cache'),
      FOVEA_PREFIX: `fovea:${this.runId}`,
      FOVEA_RUN: this.runId,
      FOVEA_WORKER: name,
    };
    const stdio: StdioOptions = ['ignore', 'pipe', 'pipe', 'ipc'];
    return new Running(
      spawn(process.execPath, [...typescriptFlags(), main], { env: { ...this.env, ...own, ...env }, stdio }),
    );
  }

  fault(name: string, action: string): void {
    writeFileSync(path.join(this.faults, name), action);
  }

  /** Waits until an engine stands at a `wait` fault, and returns its process id. */
  async standsAt(name: string): Promise<number> {
    const file = path.join(this.faults, `${name}.pid`);
    await until(() => existsSync(file) && readFileSync(file, 'utf8') !== '', `the engine to stand at ${name}`);
    return Number(readFileSync(file, 'utf8'));
  }

  lift(name: string): void {
    rmSync(path.join(this.faults, name), { force: true });
    rmSync(path.join(this.faults, `${name}.pid`), { force: true });
  }

  get runId(): string {
    return readdirSync(path.join(this.refs, 'runs'))[0];
  }

  get refs(): string {
    return path.join(this.dir, '.fovea/store/refs');
  }

  get run(): { status: string; error: { message: string } | null; session: number } {
    return this.json(`runs/${this.runId}/run.json`);
  }

  /** Checkpoint ids as the store has them: `trunk/0` to id. */
  get ids(): Record<string, string> {
    const base = `runs/${this.runId}/tracks`;
    if (!existsSync(path.join(this.refs, base))) return {};
    const files = readdirSync(path.join(this.refs, base), { recursive: true })
      .map(String)
      .filter((name) => name.endsWith('.json'));
    return Object.fromEntries(
      files.sort().map((name) => [name.slice(0, -5), this.json<{ checkpoint: string }>(`${base}/${name}`).checkpoint]),
    );
  }

  json<T>(ref: string): T {
    return JSON.parse(readFileSync(path.join(this.refs, ref), 'utf8'));
  }

  blob(sha256: string): string {
    return path.join(this.dir, '.fovea/store/blobs', sha256.slice(0, 2), sha256);
  }
}

export class Running {
  readonly child: ChildProcess;
  /** How it ended; an error that shows where everything stood if it does not end in time. */
  readonly ended: Promise<Ended>;
  out = '';
  err = '';

  constructor(child: ChildProcess, logs?: () => string) {
    this.child = child;
    child.stdout!.on('data', (chunk) => {
      this.out += chunk;
    });
    child.stderr!.on('data', (chunk) => {
      this.err += chunk;
    });
    this.ended = new Promise((resolve, reject) => {
      const late = setTimeout(() => {
        const below = this.below().map(({ pid, args }) => `${pid} ${args}`);
        reject(new Error(['still running', ...below, this.out, this.err, logs?.() ?? ''].join('\n')));
        child.kill('SIGKILL');
      }, RUN_MS);
      child.once('close', (code) => {
        clearTimeout(late);
        resolve({ code, out: this.out, err: this.err });
      });
    });
    this.ended.catch(() => undefined);
  }

  /** Every process below this one: process id and command line. */
  below(pid = this.child.pid!): { pid: number; args: string }[] {
    const children = processes().filter((each) => each.parent === pid);
    return children.flatMap((each) => [each, ...this.below(each.pid)]);
  }

  /** The one process below this one whose command line holds a text. */
  async find(text: string): Promise<number> {
    // Not the shell that watches over Redis.
    const matching = () => this.below().filter(({ args }) => args.includes(text) && !args.startsWith('/bin/sh'));
    await until(() => matching().length === 1, `one process with ${text}`);
    return matching()[0].pid;
  }
}

/** Every living process; `state` as `ps` has it, T of one that was stopped. */
export function processes(): { pid: number; parent: number; state: string; args: string }[] {
  const lines = execFileSync('ps', ['-e', '-ww', '-o', 'pid=,ppid=,stat=,args='], { encoding: 'utf8' }).split('\n');
  return lines.flatMap((line) => {
    const match = /^\s*(\d+)\s+(\d+)\s+(\S+)\s+(.*)$/.exec(line);
    return match && !match[3].startsWith('Z')
      ? [{ pid: Number(match[1]), parent: Number(match[2]), state: match[3], args: match[4] }]
      : [];
  });
}

/** Command lines of living processes that name a folder. */
export function mentioning(dir: string): string[] {
  return processes()
    .filter((each) => each.args.includes(dir))
    .map((each) => each.args);
}

export function isAlive(pid: number): boolean {
  return processes().some((each) => each.pid === pid);
}

export async function until(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const deadline = Date.now() + PATIENCE_MS;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}
