// What the coordinator and both workers have in common as processes: their configuration by environment, SIGINT that
// is not for them, SIGTERM and a lost parent that end them in good order, and how a fault leaves the process.

import { FoveaError, isUserError, openStore, type Store } from '@fovea/artifacts';
import type { Redis } from 'ioredis';
import { connect, isDiskFullReply, REDIS_DISK_FULL } from './connection.ts';
import { readRun } from './runs.ts';
import type { RunRecord } from './schemas.ts';

/** A process that has not ended this long after it was asked to is ended by itself, in milliseconds. */
const STOP_DEADLINE_MS = 9000;

export interface ProcessContext {
  store: Store;
  run: RunRecord;
  /** Folder runs/<id>. */
  runDir: string;
  cacheDir: string;
  /** Unique within the run: `train-0`. */
  name: string;
  redisUrl: string;
  /** For short commands; blocking ones need a connection of their own. */
  redis: Redis;
  /** Aborted by SIGTERM or a lost parent. */
  signal: AbortSignal;
  /** Opens another connection whose errors are handled like those of `redis`. */
  open(): Redis;
  /** Ends the process by an error that no retry can mend. */
  fatal(error: unknown): void;
}

/** What a process tells its parent: that it has loaded and found its run, or that it cannot go on. */
export type ProcessMessage = { type: 'ready' } | { type: 'fatal'; message: string; user: boolean };

/** Runs a process of the run until `main` returns, and exits: 0, 2 for a user's error, 1 for ours. */
export async function runProcess(main: (context: ProcessContext) => Promise<void>): Promise<void> {
  const stop = new AbortController();
  const end = (why: string) => {
    if (stop.signal.aborted) return;
    stop.abort(new Error(why));
    setTimeout(() => process.exit(0), STOP_DEADLINE_MS).unref();
  };
  // Ctrl-C reaches the whole process group; the one that a person started decides what it means.
  process.on('SIGINT', () => undefined);
  process.on('SIGTERM', () => end('SIGTERM'));
  // The parent may have died while this process was still loading: that disconnection nobody heard.
  if (process.send && !process.connected) process.exit(0);
  process.on('disconnect', () => end('its parent is gone'));
  process.on('unhandledRejection', fatal);
  try {
    const context = await prepare(stop.signal);
    process.send?.({ type: 'ready' } satisfies ProcessMessage);
    await main(context);
    process.exit(0);
  } catch (error) {
    fatal(error);
  }
}

async function prepare(signal: AbortSignal): Promise<ProcessContext> {
  const { env } = process;
  const need = (name: string): string => {
    const value = env[name];
    if (!value)
      throw new FoveaError(
        `The environment variable ${name} is not set: this process is started by \`fovea train\`, not by hand.`,
      );
    return value;
  };
  const redisUrl = need('FOVEA_REDIS_URL');
  const store = await openStore(need('FOVEA_STORE'));
  const run = await readRun(store, need('FOVEA_RUN'));
  const onError = (error: Error) => {
    if (isDiskFullReply(error)) fatal(new FoveaError(REDIS_DISK_FULL));
    else console.error(`${timestamp()} redis: ${error.message}`);
  };
  const open = () => connect(redisUrl, { onError });
  return {
    store,
    run,
    runDir: need('FOVEA_RUN_DIR'),
    cacheDir: need('FOVEA_CACHE'),
    name: env.FOVEA_WORKER || `${process.pid}`,
    redisUrl,
    redis: open(),
    signal,
    open,
    fatal,
  };
}

/** Tells the parent and exits. A user's error is one sentence, any other has its stack in the log. */
function fatal(error: unknown): void {
  const user = isUserError(error);
  const message = error instanceof Error ? error.message : String(error);
  console.error(`${timestamp()} fatal: ${user ? message : ((error as Error)?.stack ?? message)}`);
  const leave = () => process.exit(user ? 2 : 1);
  if (!process.connected) leave();
  process.send?.({ type: 'fatal', message, user } satisfies ProcessMessage, undefined, undefined, leave);
  setTimeout(leave, 1000).unref();
}

/** Local time for log lines. */
export function timestamp(): string {
  return new Date().toISOString();
}
