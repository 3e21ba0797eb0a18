// What stands before every route: the limits, the origin of a browser's command, and the token with the route's scope.
// It runs before a body is read.

import rateLimit from '@fastify/rate-limit';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { allows, type Caller, callerOf, type Scope } from './auth.ts';
import { ApiError } from './errors.ts';
import type { Context } from './server.ts';

/** Who may call a route: callers with the scope, or anybody. */
export type Access = Scope | 'anybody';

declare module 'fastify' {
  interface FastifyContextConfig {
    scope?: Access;
  }
  interface FastifyRequest {
    /** Null where the token is not known. */
    caller: Caller | null;
  }
}

type Limiter = ReturnType<FastifyInstance['createRateLimit']>;

export async function guard(app: FastifyInstance, { auth, limits, now, origins = [] }: Context): Promise<void> {
  await app.register(rateLimit, { global: false, timeWindow: 60_000 });
  const perIp = app.createRateLimit({ max: limits.perIp });
  const perToken = app.createRateLimit({ max: limits.perToken, keyGenerator: ({ caller }) => caller!.name! });
  app.decorateRequest('caller', null);
  app.addHook('onRequest', async (request, reply) => {
    reply.header('cache-control', 'no-store');
    await bound(perIp, request, reply);
    if (request.is404) return;
    refuseForeignPages(request, origins);
    const { scope } = request.routeOptions.config;
    if (scope === 'anybody') return;
    const caller = callerOf(auth, request.headers.authorization, now());
    request.caller = caller;
    if (caller?.name) await bound(perToken, request, reply);
    if (caller === null || (caller.name === null && !allows(caller, scope!))) throw unknown(request, reply);
    if (caller.name === null) refuseForeignNames(request);
    if (!allows(caller, scope!))
      throw new ApiError(
        403,
        `The token "${caller.name}" may not do this: it lacks the scope ${scope}; use one that has it.`,
      );
  });
}

async function bound(limiter: Limiter, request: FastifyRequest, reply: FastifyReply): Promise<void> {
  const state = await limiter(request);
  if (state.isAllowed || !state.isExceeded) return;
  reply.header('retry-after', state.ttlInSeconds);
  throw new ApiError(429, `There were more than ${state.max} requests in a minute: wait ${state.ttlInSeconds} s.`);
}

/** A browser asks for the password of a Basic answer, which opens /queues by hand. */
function unknown(request: FastifyRequest, reply: FastifyReply): ApiError {
  const scheme = request.url.startsWith('/queues') ? 'Basic' : 'Bearer';
  reply.header('www-authenticate', `${scheme} realm="fovea"`);
  return request.headers.authorization === undefined
    ? new ApiError(401, 'This needs a token: send it as "Authorization: Bearer TOKEN"; `fovea token` makes one.')
    : new ApiError(401, 'The token is not known here, or it has expired: check it against those the server was given.');
}

const SAFE = new Set(['GET', 'HEAD', 'OPTIONS']);

/** Refuses a command that another site's page sends with what the browser remembers. Programs send no Origin. */
function refuseForeignPages(request: FastifyRequest, origins: readonly string[]): void {
  const { origin, 'sec-fetch-site': site } = request.headers;
  if (SAFE.has(request.method) || (origin === undefined && (site === undefined || site === 'none'))) return;
  const own = `${request.protocol}://${request.host}`;
  if (origin === undefined ? site === 'same-origin' : origin === own || origins.includes(origin)) return;
  throw new ApiError(403, 'A page of another site sent this command: use the fleet from its own pages.');
}

const LOOPBACK_NAMES = /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?$/i;

/** Who needs no token must call this machine by its own name, or any page could by one that leads here. */
function refuseForeignNames(request: FastifyRequest): void {
  if (LOOPBACK_NAMES.test(request.host)) return;
  throw new ApiError(403, 'Without a token this server answers to localhost alone: call it so, or send a token.');
}
