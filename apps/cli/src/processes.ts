// The processes of a run as children of this one: started with the run's environment, their output in the run's log,
// started again when they die, and ended together.

import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { graceMs, type ProcessMessage, typescriptFlags } from '@fovea/jobs';

export interface ProcessesOptions {
  /** File that takes their standard output and error; without one they share this process's. */
  log?: string;
  env: Record<string, string>;
  /** Told what is not as it should be but needs nobody. */
  say: (text: string) => void;
}

/** Why a process could not go on. */
export interface Failure {
  message: string;
  user: boolean;
}

const MAX_RESTARTS = 5;
const WINDOW_MS = 60_000;
/** A process that has not loaded by then never will. */
const START_MS = 60_000;
/** From SIGTERM to SIGKILL beyond the grace of engines; longer than a worker's own deadline. */
const MARGIN_MS = 6000;

export class Processes {
  /** Rejects never; resolves when a process says that it cannot go on, or dies too often. */
  readonly failed: Promise<Failure>;
  private fail: (failure: Failure) => void = () => undefined;
  private readonly options: ProcessesOptions;
  private readonly log: number | 'inherit';
  private readonly living = new Map<string, ChildProcess>();
  private readonly ends: Promise<void>[] = [];
  private late: (() => void)[] = [];
  private stopping = false;

  constructor(options: ProcessesOptions) {
    this.options = options;
    this.log = options.log === undefined ? 'inherit' : openSync(options.log, 'a');
    this.failed = new Promise((resolve) => {
      this.fail = resolve;
    });
  }

  /** Process ids by name. */
  get pids(): Record<string, number> {
    return Object.fromEntries([...this.living].map(([name, child]) => [name, child.pid ?? 0]));
  }

  /**
   * Keeps a process of this name running; `done` is asked at every exit with code 0 whether that was meant. What it alone
   * shall have in its environment is `env`.
   */
  keep(
    name: string,
    entry: URL,
    done: () => Promise<boolean> = async () => false,
    env: Record<string, string> = {},
  ): void {
    const deaths: number[] = [];
    const start = () => {
      const child = this.start(name, entry, env);
      const ended = new Promise<void>((resolve) => {
        child.once('error', () => resolve());
        child.once('exit', () => resolve());
      });
      this.ends.push(ended.then(() => this.after(name, child, deaths, done, start)));
    };
    start();
  }

  /** Like `keep`, but not before `startLate` is called or the time is over. */
  keepLater(name: string, entry: URL, delayMs: number): void {
    const timer = setTimeout(() => this.startLate(), delayMs);
    this.late.push(() => {
      clearTimeout(timer);
      if (!this.stopping) this.keep(name, entry);
    });
  }

  startLate(): void {
    for (const start of this.late.splice(0)) start();
  }

  /** Ends all of them: SIGTERM, then SIGKILL. */
  async stop(): Promise<void> {
    this.stopping = true;
    this.startLate();
    for (const child of this.living.values()) child.kill('SIGTERM');
    const timer = setTimeout(() => this.kill(), graceMs() + MARGIN_MS);
    await Promise.all(this.ends);
    clearTimeout(timer);
    if (this.log !== 'inherit') closeSync(this.log);
  }

  /** Ends all of them at once. */
  kill(): void {
    for (const child of this.living.values()) child.kill('SIGKILL');
  }

  private start(name: string, entry: URL, env: Record<string, string>): ChildProcess {
    const child = spawn(process.execPath, [...typescriptFlags(), fileURLToPath(entry)], {
      env: { ...process.env, ...this.options.env, ...env, FOVEA_WORKER: name },
      stdio: ['ignore', this.log, this.log, 'ipc'],
    });
    this.living.set(name, child);
    const hung = setTimeout(() => child.kill('SIGKILL'), START_MS);
    child.once('exit', () => clearTimeout(hung));
    child.on('message', (message: ProcessMessage) => {
      clearTimeout(hung);
      // A fault of ours is worth another start; a user's error is not.
      if (message.type === 'fatal' && message.user) this.fail({ message: message.message, user: true });
    });
    return child;
  }

  private async after(
    name: string,
    child: ChildProcess,
    deaths: number[],
    done: () => Promise<boolean>,
    start: () => void,
  ): Promise<void> {
    this.living.delete(name);
    if (this.stopping || (child.exitCode === 0 && (await done().catch(() => false)))) return;
    const why = child.signalCode ? `was ended by ${child.signalCode}` : `ended with exit code ${child.exitCode}`;
    const now = performance.now();
    deaths.push(now);
    while (deaths[0] < now - WINDOW_MS) deaths.shift();
    if (deaths.length > MAX_RESTARTS) {
      return this.fail({
        message: `the ${name} process ${why}, for the ${deaths.length}th time in a minute; its log says more`,
        user: false,
      });
    }
    this.options.say(`the ${name} process ${why}; it is started again`);
    await new Promise((resolve) => setTimeout(resolve, 100 * 2 ** (deaths.length - 1)));
    if (!this.stopping) start();
  }
}
