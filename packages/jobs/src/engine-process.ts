// The parent side of an engine process: starts it, keeps it alive between requests, listens for its heartbeat and ends
// it when it is silent or no longer wanted. The compute runtimes block the event loop, so they live in that child and
// the worker's own loop stays free for locks and signals.

import { type ChildProcess, fork } from 'node:child_process';
import { createRequire } from 'node:module';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { FoveaError, StoreAway } from '@fovea/artifacts';
import type { EngineError, FromEngine } from './engine-protocol.ts';
import { type Progress, progressSchema } from './schemas.ts';

/** Node's flags for a child: from source tsx, by file URL, so that it works from any folder; built code needs none. */
export function typescriptFlags(): string[] {
  if (import.meta.url.endsWith('.js')) return ['--conditions=dist'];
  return ['--import', pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href];
}

export interface EngineOptions {
  /** File that calls `serveEngine`. */
  entry: URL | string;
  /** A child that says nothing for this long while it has a request is ended, in milliseconds. @defaultValue 300000 */
  hangTimeoutMs?: number;
  /** Added to this process's environment. */
  env?: Record<string, string>;
  /** How long its imports may take where that is longer than `hangTimeoutMs`. @defaultValue 60000 */
  startTimeoutMs?: number;
  /** From SIGTERM to SIGKILL, in milliseconds. @defaultValue 5000 */
  graceMs?: number;
}

export interface RunOptions {
  onProgress?: (event: Progress) => void;
  signal?: AbortSignal;
  /** In place of the engine's own, for this request. */
  hangTimeoutMs?: number;
  /** W3C traceparent that the engine's spans shall stand under. */
  trace?: string;
}

/** The engine ended or fell silent in the middle of a request. Worth another attempt. */
export class EngineDied extends Error {
  override readonly name = 'EngineDied';
}

interface Pending {
  id: number;
  resolve(result: unknown): void;
  reject(error: Error): void;
  onProgress?: (event: Progress) => void;
  beat(): void;
}

export class EngineProcess {
  private readonly options: EngineOptions;
  private child: ChildProcess | null = null;
  private ready = false;
  private exited: Promise<void> = Promise.resolve();
  private pending: Pending | null = null;
  private nextId = 1;
  private closed = false;

  constructor(options: EngineOptions) {
    this.options = options;
  }

  /** Process id of the living child, or null. */
  get pid(): number | null {
    return this.child?.pid ?? null;
  }

  /** Starts the child ahead of the first request, so that its imports overlap with other work. */
  warm(): void {
    if (!this.child && !this.closed) this.start();
  }

  /**
   * Runs one request; requests must not overlap. Rejects with the engine's own error (FoveaErrors stay FoveaErrors),
   * with {@link EngineDied}, or with the signal's reason, and then only after the child is gone.
   */
  async run(request: unknown, { onProgress, signal, hangTimeoutMs, trace }: RunOptions = {}): Promise<unknown> {
    if (this.pending) throw new Error('the engine process is busy with another request');
    if (this.closed) throw new Error('the engine process is closed');
    signal?.throwIfAborted();
    this.warm();
    let timer: NodeJS.Timeout | undefined;
    let onAbort: (() => void) | undefined;
    try {
      return await new Promise((resolve, reject) => {
        const beat = () => {
          clearTimeout(timer);
          const patience = this.patience(hangTimeoutMs ?? this.options.hangTimeoutMs ?? 300_000);
          timer = setTimeout(() => this.hung(patience, reject), patience);
        };
        onAbort = () => void this.end().then(() => reject(signal?.reason));
        signal?.addEventListener('abort', onAbort, { once: true });
        this.pending = { id: this.nextId++, resolve, reject, onProgress, beat };
        beat();
        this.child?.send(
          { type: 'run', id: this.pending.id, request, trace },
          (error) => error && reject(new EngineDied(`the engine process cannot be reached: ${error.message}`)),
        );
      });
    } finally {
      clearTimeout(timer);
      if (onAbort) signal?.removeEventListener('abort', onAbort);
      this.pending = null;
    }
  }

  /** Ends the child: SIGTERM, then SIGKILL. Safe to call twice. */
  async close(): Promise<void> {
    this.closed = true;
    await this.end();
  }

  private patience(hangTimeoutMs: number): number {
    const { startTimeoutMs = 60_000 } = this.options;
    return this.ready ? hangTimeoutMs : Math.max(hangTimeoutMs, startTimeoutMs);
  }

  private hung(patience: number, reject: (error: Error) => void): void {
    const seconds = patience / 1000;
    void this.end().then(() =>
      reject(new EngineDied(`the engine process said nothing for ${seconds} s and was ended`)),
    );
  }

  private async end(): Promise<void> {
    const { child } = this;
    if (!child) return this.exited;
    // From here on its last words and its exit are no news.
    child.removeAllListeners('message');
    if (this.child === child) this.child = null;
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), this.options.graceMs ?? 5000);
    await this.exited;
    clearTimeout(timer);
  }

  private start(): void {
    const { entry, env } = this.options;
    const file = entry instanceof URL || entry.startsWith('file:') ? fileURLToPath(entry) : entry;
    const child = fork(file, [], {
      execArgv: typescriptFlags(),
      env: { ...process.env, ...env },
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    this.child = child;
    this.ready = false;
    child.on('message', (message: FromEngine) => this.receive(message));
    this.exited = new Promise((resolve) => {
      const gone = (why: string) => {
        if (this.child === child) {
          this.child = null;
          this.pending?.reject(new EngineDied(`the engine process ${why}`));
        }
        resolve();
      };
      child.once('error', (error) => gone(`could not be started: ${error.message}`));
      child.once('exit', (code, signal) =>
        gone(
          signal
            ? `was ended by ${signal}${signal === 'SIGKILL' ? ' (is the machine out of memory?)' : ''}`
            : `ended with exit code ${code}`,
        ),
      );
    });
  }

  private receive(message: FromEngine): void {
    const { pending } = this;
    if (message.type === 'ready') this.ready = true;
    if (!pending) return;
    pending.beat();
    if (message.type === 'ready' || message.id !== pending.id) return;
    if (message.type === 'progress') {
      const event = progressSchema.safeParse(message.event);
      if (event.success) pending.onProgress?.(event.data);
    } else if (message.type === 'result') {
      pending.resolve(message.result);
    } else {
      pending.reject(revive(message.error));
    }
  }
}

function revive({ name, message, stack, isAway }: EngineError): Error {
  if (name === 'FoveaError') return isAway ? new StoreAway(message) : new FoveaError(message);
  const error = new Error(message);
  error.name = name;
  error.stack = stack ?? error.stack;
  return error;
}
