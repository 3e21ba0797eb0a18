// A run's events as server-sent events. Every event carries its place in the stream, so whoever comes back with
// Last-Event-ID goes on exactly there. The stream in Redis is asked again and again rather than waited on: one shared
// connection serves every client, and a client that does not read holds one batch of events and no more.

import { setTimeout as sleep } from 'node:timers/promises';
import { type Fleet, keys, type RunEvent } from '@fovea/jobs';
import type { FleetReads, StreamedEvent } from './backend.ts';

/** A place in a stream as Redis writes it. */
export const EVENT_ID = /^\d{1,18}(?:-\d{1,18})?$/;

/** The `events` of a backend, of the streams that `publishEvent` writes. */
export function redisEvents({ redis, prefix }: Pick<Fleet, 'redis' | 'prefix'>): FleetReads['events'] {
  return async (runId, after, limit) => {
    const key = keys.events(prefix, runId);
    const [entries, oldest] = await Promise.all([
      redis.xrange(key, `(${after}`, '+', 'COUNT', limit),
      after === '0' ? [] : redis.xrange(key, '-', '+', 'COUNT', 1),
    ]);
    const events = entries.map(([id, fields]): StreamedEvent => ({ id, event: eventIn(fields) }));
    return { events, gap: oldest.length > 0 && isAfter(oldest[0][0], after) };
  };
}

const eventIn = (fields: string[]): RunEvent => JSON.parse(fields[fields.indexOf('json') + 1]);

function isAfter(a: string, b: string): boolean {
  const [[at, an], [bt, bn]] = [a, b].map((id) => id.split('-').map((part) => BigInt(part)));
  return at === bt ? (an ?? 0n) > (bn ?? 0n) : at > bt;
}

export interface FollowOptions {
  events(after: string, limit: number): Promise<{ events: StreamedEvent[]; gap: boolean }>;
  /** Last-Event-ID, or `0`. */
  after: string;
  /** False ends the stream with what there is now. */
  follow: boolean;
  pollMs: number;
  heartbeatMs: number;
  signal: AbortSignal;
  now(): number;
}

const BATCH = 200;
/** How soon a client shall come back, in milliseconds. */
const RETRY = 'retry: 2000\n\n';

/** The text of the answer, a batch at a time. Ends when the signal aborts or Redis is lost: clients come back by themselves. */
export async function* followEvents(options: FollowOptions): AsyncGenerator<string> {
  const { follow, pollMs, heartbeatMs, signal, now } = options;
  let { after } = options;
  let first = true;
  let spoke = now();
  yield RETRY;
  while (!signal.aborted) {
    const { events, gap } = await options.events(after, BATCH);
    const missed = first && gap ? `event: gap\ndata: ${JSON.stringify({ after })}\n\n` : '';
    first = false;
    if (events.length > 0) {
      after = events[events.length - 1].id;
      yield missed + events.map(encode).join('');
      spoke = now();
      continue;
    }
    if (missed) yield missed;
    if (!follow) return;
    if (now() - spoke >= heartbeatMs) {
      yield ': still here\n\n';
      spoke = now();
    }
    await sleep(pollMs, undefined, { signal }).catch(() => undefined);
  }
}

const encode = ({ id, event }: StreamedEvent): string =>
  `id: ${id}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`;
