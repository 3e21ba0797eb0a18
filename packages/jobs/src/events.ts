// What the processes of a run tell whoever watches: a capped Redis stream of small JSON events. For eyes only; nothing
// is decided by it, so losing it loses nothing.

import type { Redis } from 'ioredis';
import { type Fleet, keys } from './fleet.ts';
import type { JobKind, Progress } from './schemas.ts';

/** Where in the plan an event belongs. */
interface Place {
  track: string;
  round: number;
  stage: string;
}

export type RunEvent =
  /** An engine is at work. `stepsBefore` are the steps of the stage that earlier rounds did. */
  | ({ type: 'progress'; kind: 'train'; stepsBefore: number } & Place & Progress)
  | ({ type: 'progress'; kind: 'score' | 'report'; track: string; round: number } & Progress)
  | ({
      type: 'committed';
      checkpoint: string;
      step: number;
      steps: number;
      seconds: number;
      imagesPerSecond: number;
      lossFirst: number | null;
      lossLast: number | null;
      gap: number | null;
    } & Place)
  | { type: 'scored'; track: string; round: number; role: string; scorecard: string; cached: boolean }
  | { type: 'reported'; report: string; summary: string }
  /** What a run waits for, such as a kind of worker that is not there; empty when it waits no more. */
  | { type: 'waiting'; text: string }
  | { type: 'paused' }
  | { type: 'cancelled' }
  /** A job failed and will be tried again. */
  | { type: 'retrying'; kind: JobKind; job: string; attempt: number; message: string }
  | { type: 'failed'; message: string; user: boolean }
  | { type: 'completed' };

const MAX_EVENTS = 10_000;
const MAX_LINES = 5000;

type Where = Pick<Fleet, 'redis' | 'prefix'>;

export async function publishEvent({ redis, prefix }: Where, runId: string, event: RunEvent): Promise<void> {
  await redis.xadd(
    keys.events(prefix, runId),
    'MAXLEN',
    '~',
    MAX_EVENTS,
    '*',
    'type',
    event.type,
    'json',
    JSON.stringify(event),
  );
}

/**
 * Events after an id (`0` for all that there are), waiting up to `blockMs` for the first. The connection blocks
 * meanwhile, so give it one of its own. Returns the id to go on from.
 */
export async function readEvents(
  { redis, prefix }: { redis: Redis; prefix: string },
  runId: string,
  after: string,
  blockMs: number,
): Promise<{ events: RunEvent[]; last: string }> {
  const reply = await redis.xread('COUNT', 500, 'BLOCK', blockMs, 'STREAMS', keys.events(prefix, runId), after);
  const entries = reply?.[0]?.[1] ?? [];
  const events = entries.map(([, fields]) => JSON.parse(fields[fields.indexOf('json') + 1]) as RunEvent);
  return { events, last: entries.at(-1)?.[0] ?? after };
}

/** Adds a line to what a run's workers said about it. */
export async function writeLog({ redis, prefix }: Where, runId: string, text: string, now: Date): Promise<void> {
  await redis.xadd(keys.log(prefix, runId), 'MAXLEN', '~', MAX_LINES, '*', 'at', now.toISOString(), 'text', text);
}

/** Lines after an id, oldest first; `0` for all that are kept. */
export async function readLog(
  { redis, prefix }: Where,
  runId: string,
  after: string,
  limit: number,
): Promise<{ lines: { at: string; text: string }[]; last: string }> {
  const entries = await redis.xrange(keys.log(prefix, runId), after === '0' ? '-' : `(${after}`, '+', 'COUNT', limit);
  return { lines: entries.map(([, [, at, , text]]) => ({ at, text })), last: entries.at(-1)?.[0] ?? after };
}

/** Passes on at most one event per interval; the ones between are dropped. */
export function throttled<T>(
  intervalMs: number,
  pass: (value: T) => void,
  now: () => number = performance.now.bind(performance),
): (value: T) => void {
  let next = Number.NEGATIVE_INFINITY;
  return (value) => {
    const at = now();
    if (at < next) return;
    next = at + intervalMs;
    pass(value);
  };
}
