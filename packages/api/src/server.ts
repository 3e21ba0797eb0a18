// The API as one fastify instance: its limits and guards first, then its routes. A route says in its `config.scope` who
// may call it, and one that says nothing keeps the server from starting. It knows no queue and no store but by ApiBackend.

import helmet from '@fastify/helmet';
import swagger from '@fastify/swagger';
import fastify, { type FastifyInstance, type FastifyReply } from 'fastify';
import { jsonSchemaTransform, serializerCompiler, validatorCompiler } from 'fastify-type-provider-zod';
import type { Auth } from './auth.ts';
import type { ApiBackend } from './backend.ts';
import { type BoardOptions, boardRoutes } from './board.ts';
import { answerTo, onError } from './errors.ts';
import { type Access, guard } from './guard.ts';
import { catalogueRoutes } from './routes/catalogue.ts';
import { eventRoutes } from './routes/events.ts';
import { runRoutes } from './routes/runs.ts';
import { serverRoutes } from './routes/server.ts';
import { sweepRoutes } from './routes/sweeps.ts';

export interface Limits {
  /** Requests per minute. @defaultValue 600 and 1200 */
  perToken: number;
  perIp: number;
  /** Connections at once. @defaultValue 512 */
  connections: number;
  /** Clients that follow events at once, in all and per caller. @defaultValue 64 and 8 */
  followers: number;
  followersPerCaller: number;
  /** Milliseconds between looks for events, between heartbeats, and until a client that reads nothing is let go.
   * @defaultValue 300, 15 000 and 60 000 */
  pollMs: number;
  heartbeatMs: number;
  stallMs: number;
  /** Milliseconds until a request that the backend does not answer is given up. @defaultValue 30 000 */
  answerMs: number;
}

export const DEFAULT_LIMITS: Limits = {
  perToken: 600,
  perIp: 1200,
  connections: 512,
  followers: 64,
  followersPerCaller: 8,
  pollMs: 300,
  heartbeatMs: 15_000,
  stallMs: 60_000,
  answerMs: 30_000,
};

export interface ApiOptions {
  backend: ApiBackend;
  auth: Auth;
  limits?: Partial<Limits>;
  /** Milliseconds since 1970, for tokens that expire. */
  now?: () => number;
  /** Folders that recipes may name files in; the first is where their relative paths start. @defaultValue none */
  roots?: readonly string[];
  /** Folder that keeps the hashes of files that recipes name. @defaultValue none: they are hashed each time */
  cacheDir?: string;
  /** Origins of web pages, besides the server's own, that may send commands. @defaultValue none */
  origins?: readonly string[];
  /** Addresses of proxies whose X-Forwarded-* headers are believed. @defaultValue none */
  proxies?: readonly string[];
  /** The queue's own UI under /queues. @defaultValue none */
  board?: BoardOptions;
  /** Where the log goes, as JSON lines; null for nowhere. @defaultValue null */
  log?: { write(line: string): void } | null;
}

/** What the routes share. */
export interface Context extends ApiOptions {
  limits: Limits;
  now: () => number;
  roots: readonly string[];
}

/** A route as the guards see it. */
export interface RouteAccess {
  method: string;
  url: string;
  scope: Access;
}

declare module 'fastify' {
  interface FastifyInstance {
    /** Every route and who may call it. */
    access: RouteAccess[];
  }
}

/** Makes the server; `serveApi` binds it. */
export async function createApi(options: ApiOptions): Promise<FastifyInstance> {
  const { now = Date.now, roots = [] } = options;
  const context: Context = { ...options, now, roots, limits: { ...DEFAULT_LIMITS, ...options.limits } };
  const app = bare(context);
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);
  app.setErrorHandler(onError);
  app.setNotFoundHandler((_request, reply) =>
    reply.status(404).send({ error: 'There is no such address here: GET /openapi.json names those that there are.' }),
  );
  app.removeContentTypeParser('text/plain');
  demandScopes(app);
  await app.register(helmet, {
    contentSecurityPolicy: { useDefaults: false, directives: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] } },
    // Encryption is the proxy's, who alone knows whether there is any.
    strictTransportSecurity: false,
  });
  await guard(app, context);
  await app.register(swagger, { openapi: OPENAPI, transform: jsonSchemaTransform });
  for (const routes of [serverRoutes, runRoutes, sweepRoutes, eventRoutes, catalogueRoutes]) {
    await app.register(async (scope) => routes(scope, context));
  }
  if (options.board) {
    const { board } = options;
    await app.register(async (scope) => boardRoutes(scope, board), { prefix: '/queues' });
  }
  return app;
}

function bare({ limits, log, proxies }: Context): FastifyInstance {
  const app = fastify({
    logger: log ? { level: 'info', stream: log, redact: REDACTED, serializers: { req: withoutSecrets } } : false,
    bodyLimit: 4096,
    requestTimeout: 15_000,
    handlerTimeout: limits.answerMs,
    keepAliveTimeout: 5000,
    http: { headersTimeout: 5000, maxHeaderSize: 16 * 1024, connectionsCheckingInterval: 1000 },
    exposeHeadRoutes: false,
    onProtoPoisoning: 'error',
    onConstructorPoisoning: 'error',
    forceCloseConnections: true,
    trustProxy: proxies ? [...proxies] : false,
    routerOptions: { maxParamLength: 128 },
    frameworkErrors: (error, request, reply) => {
      const answer = answerTo(error, request.method);
      (reply as FastifyReply).status(answer.status).send({ error: answer.error });
    },
    clientErrorHandler: refuseGarbage,
  }) as FastifyInstance;
  app.server.maxConnections = limits.connections;
  return app;
}

const REDACTED = [
  'req.headers.authorization',
  'req.headers.cookie',
  'headers.authorization',
  'headers.cookie',
  'token',
];

/** A request in the log: no headers, and no query, which is where people put tokens by mistake. */
const withoutSecrets = ({ method, url, ip }: { method: string; url: string; ip: string }) => ({
  method,
  path: url.split('?')[0],
  ip,
});

/** What is no HTTP at all gets an answer that is. */
function refuseGarbage(this: FastifyInstance, error: NodeJS.ErrnoException, socket: import('node:net').Socket): void {
  if (error.code === 'ECONNRESET' || socket.destroyed || !socket.writable) {
    socket.destroy();
    return;
  }
  const [status, sentence] =
    error.code === 'HPE_HEADER_OVERFLOW'
      ? ['431 Request Header Fields Too Large', 'The headers are larger than 16 KiB: send fewer.']
      : error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? ['408 Request Timeout', 'The request took too long to arrive: send it at once.']
        : ['400 Bad Request', 'This is no HTTP request: check the client.'];
  const body = JSON.stringify({ error: sentence });
  const length = Buffer.byteLength(body);
  socket.end(
    `HTTP/1.1 ${status}\r\ncontent-type: application/json\r\ncontent-length: ${length}\r\nconnection: close\r\n\r\n${body}`,
  );
}

/** Keeps the table of routes, and the server from starting with one that everybody might call by an oversight. */
function demandScopes(app: FastifyInstance): void {
  const access: RouteAccess[] = [];
  app.decorate('access', access);
  app.addHook('onRoute', ({ method, url, config }) => {
    const scope = config?.scope;
    if (scope === undefined) throw new Error(`the route ${method} ${url} does not say in config.scope who may call it`);
    for (const each of [method].flat()) access.push({ method: each, url, scope });
  });
}

const OPENAPI = {
  openapi: '3.1.0',
  info: {
    title: 'Fovea',
    version: '1',
    description: 'Runs, workers and results of a fleet that aligns vision encoders.',
  },
  components: {
    securitySchemes: {
      token: {
        type: 'http',
        scheme: 'bearer',
        description: 'As `fovea token` makes it; its scopes stand at each route.',
      },
    },
  },
} as const;
