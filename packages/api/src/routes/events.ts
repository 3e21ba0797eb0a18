// A run's events, followed for as long as the client likes: server-sent events with bounded clients.

import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { ApiError, NO_ANSWER } from '../errors.ts';
import { EVENT_ID, followEvents } from '../events.ts';
import type { Context } from '../server.ts';
import { access, errors, existing, runParams, typed } from './common.ts';

/** What a timer can hold at most, 24 days; then the client comes back by itself. */
const LONGEST_MS = 2 ** 31 - 1;

const place = z.string().regex(EVENT_ID, 'the id of an event, such as 1764000000000-0');
const query = z.strictObject({
  after: place.optional().describe('Where to start when there is no Last-Event-ID; from the beginning if left out.'),
  follow: z.enum(['true', 'false']).default('true').describe('false ends the answer with what there is now.'),
});

export function eventRoutes(plain: FastifyInstance, context: Context): void {
  const { backend, limits } = context;
  const seats = new Seats(limits.followers, limits.followersPerCaller);
  const closing = new AbortController();
  plain.addHook('preClose', async () => closing.abort());

  const { config, about } = access('read', 'Events as they happen', 'runs');
  typed(plain).get(
    '/v1/runs/:id/events',
    {
      config,
      handlerTimeout: LONGEST_MS,
      schema: { ...about, params: runParams, querystring: query, response: errors },
    },
    async (request, reply) => {
      const { id } = request.params;
      await existing(backend, id);
      const given = request.headers['last-event-id'];
      const after = given === undefined || given === '' ? (request.query.after ?? '0') : place.safeParse(given).data;
      if (after === undefined)
        throw new ApiError(400, 'The Last-Event-ID is no id of an event: send back one that came with an event.');
      const events = (place: string, limit: number) => within(limits.answerMs, backend.events(id, place, limit));
      // Asked once before the answer begins, so that a Redis that is gone is a 503 and not an empty stream.
      await events(after, 1);
      const leave = seats.take(request);
      const stream = followInto(request, context, closing.signal, {
        events,
        after,
        follow: request.query.follow === 'true',
      });
      stream.once('close', leave);
      return reply
        .type('text/event-stream; charset=utf-8')
        .header('x-accel-buffering', 'no')
        .send(stream as never);
    },
  );
}

/** This route may last, but no question to Redis. */
async function within<T>(ms: number, answer: Promise<T>): Promise<T> {
  const late = new AbortController();
  const giveUp = sleep(ms, undefined, { signal: late.signal }).then(() => {
    throw new ApiError(503, NO_ANSWER);
  });
  return Promise.race([answer, giveUp]).finally(() => late.abort());
}

/** A stream of a run's events that ends with the request, with the server, or when nobody reads it. */
function followInto(
  request: FastifyRequest,
  { limits: { pollMs, heartbeatMs, stallMs } }: Context,
  closing: AbortSignal,
  what: Pick<Parameters<typeof followEvents>[0], 'events' | 'after' | 'follow'>,
): Readable {
  const gone = new AbortController();
  const signal = AbortSignal.any([gone.signal, closing]);
  const text = followEvents({ ...what, pollMs, heartbeatMs, signal, now: () => performance.now() });
  const stream = Readable.from(text, { objectMode: false, highWaterMark: 64 * 1024 });
  // While the client reads, bytes leave the socket at every heartbeat at the latest.
  const { socket } = request.raw;
  let written = socket.bytesWritten;
  const watch = setInterval(() => {
    if (socket.writableLength > 0 && socket.bytesWritten === written) {
      request.log.warn('a client stopped reading its events and is let go');
      socket.destroy();
    }
    written = socket.bytesWritten;
  }, stallMs);
  stream.once('close', () => {
    clearInterval(watch);
    gone.abort();
  });
  stream.on('error', (error) => request.log.warn({ err: error }, 'a stream of events ended'));
  return stream;
}

/** How many follow at once. */
class Seats {
  readonly #most: number;
  readonly #mostEach: number;
  readonly #taken = new Map<string, number>();

  constructor(most: number, mostEach: number) {
    this.#most = most;
    this.#mostEach = mostEach;
  }

  /** Takes a seat, and returns what gives it back. */
  take({ caller, ip }: FastifyRequest): () => void {
    const who = caller?.name ?? `at ${ip}`;
    const own = this.#taken.get(who) ?? 0;
    const all = [...this.#taken.values()].reduce((sum, each) => sum + each, 0);
    if (own >= this.#mostEach)
      throw new ApiError(429, `This caller follows ${own} streams of events already, the most for one: close one.`);
    if (all >= this.#most) throw new ApiError(503, `All ${all} places to follow events are taken: come back later.`);
    this.#taken.set(who, own + 1);
    return () => {
      const left = this.#taken.get(who)! - 1;
      if (left > 0) this.#taken.set(who, left);
      else this.#taken.delete(who);
    };
  }
}
