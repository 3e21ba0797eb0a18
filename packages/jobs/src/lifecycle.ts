// What the coordinator and both workers have in common as processes: their configuration by environment, SIGINT that
// is not for them, SIGTERM and a lost parent that end them in good order, and how a fault leaves the process.

import { FoveaError, isAway, isUserError, openStore } from '@fovea/artifacts';
import type { Redis } from 'ioredis';
import { connect, isDiskFullReply, REDIS_DISK_FULL } from './connection.ts';
import { DEFAULT_PREFIX, type Fleet } from './fleet.ts';

/** How long an engine may take to keep what it has when it is asked to stop, in milliseconds. */
export const graceMs = (env: NodeJS.ProcessEnv = process.env): number => Number(env.FOVEA_GRACE_MS) || 20_000;
/** A process that has not ended this long after its engine's grace is ended by itself, in milliseconds. */
const STOP_MARGIN_MS = 4000;

export interface ProcessContext {
  fleet: Fleet;
  cacheDir: string;
  /** Unique in the fleet: `train-0`. */
  name: string;
  redisUrl: string;
  /** The one run that a private fleet is for; null in a fleet that takes any. */
  only: string | null;
  /** Aborted by SIGTERM or a lost parent. */
  signal: AbortSignal;
  /** Opens another connection whose errors are handled like those of the fleet's. */
  open(): Redis;
  /** Ends the process by an error that no retry can mend. */
  fatal(error: unknown): void;
}

/** What a process tells its parent: that it has loaded and found its run, or that it cannot go on. */
export type ProcessMessage = { type: 'ready' } | { type: 'fatal'; message: string; user: boolean };

/** Runs a process of the fleet until `main` returns, and exits: 0, 2 for a user's error, 1 for ours. */
export async function runProcess(main: (context: ProcessContext) => Promise<void>): Promise<void> {
  const stop = new AbortController();
  const end = (why: string) => {
    if (stop.signal.aborted) return;
    stop.abort(new Error(why));
    setTimeout(() => process.exit(0), graceMs() + STOP_MARGIN_MS).unref();
  };
  const parent = process.send !== undefined;
  // Ctrl-C reaches the whole process group; where a parent started this process, it decides what that means.
  process.on('SIGINT', () => parent || end('SIGINT'));
  process.on('SIGTERM', () => end('SIGTERM'));
  // The parent may have died while this process was still loading: that disconnection nobody heard.
  if (parent && !process.connected) process.exit(0);
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
  const need = (name: string, what: string): string => {
    const value = env[name];
    if (!value) throw new FoveaError(`The environment variable ${name} is not set: it names ${what} of the fleet.`);
    return value;
  };
  const redisUrl = need('FOVEA_REDIS_URL', 'the Redis');
  const store = await openStore(need('FOVEA_STORE', 'the store'));
  const onError = (error: Error) => {
    if (isDiskFullReply(error)) fatal(new FoveaError(REDIS_DISK_FULL));
    else console.error(`${timestamp()} redis: ${error.message}`);
  };
  const open = () => connect(redisUrl, { onError });
  return {
    fleet: { redis: open(), store, prefix: env.FOVEA_PREFIX || DEFAULT_PREFIX },
    cacheDir: need('FOVEA_CACHE', 'the folder for what can be made again'),
    name: env.FOVEA_WORKER || `${process.pid}`,
    redisUrl,
    only: env.FOVEA_RUN || null,
    signal,
    open,
    fatal,
  };
}

/** Tells the parent and exits. A user's error is one sentence, any other has its stack in the log. */
function fatal(error: unknown): void {
  // A store that is away may be back by the next start.
  const user = isUserError(error) && !isAway(error);
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
