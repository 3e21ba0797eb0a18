// About the server itself: whether it lives and can work, its figures for Prometheus, and the document of its routes.

import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { ApiError } from '../errors.ts';
import type { Context } from '../server.ts';
import { access, errors, typed } from './common.ts';

const statusSchema = z.strictObject({ status: z.literal('ok') }).meta({ title: 'Status' });

/** How long an answer of `ready` holds: probes must not become load. */
const READY_MS = 1000;

export function serverRoutes(plain: FastifyInstance, { backend }: Context): void {
  const app = typed(plain);
  const healthz = access('anybody', 'Whether the process lives', 'server');
  app.get(
    '/healthz',
    { config: healthz.config, schema: { ...healthz.about, response: { 200: statusSchema, ...errors } } },
    async () => ({ status: 'ok' as const }),
  );

  let asked = Number.NEGATIVE_INFINITY;
  let answer: Promise<boolean>;
  const readyz = access('anybody', 'Whether store and Redis answer', 'server');
  app.get(
    '/readyz',
    {
      config: readyz.config,
      schema: { ...readyz.about, response: { 200: statusSchema, ...errors } },
    },
    async () => {
      if (performance.now() - asked > READY_MS) {
        asked = performance.now();
        answer = backend.ready().catch(() => false);
      }
      if (await answer) return { status: 'ok' as const };
      throw new ApiError(503, 'The store or Redis does not answer the coordinator: look at its log.');
    },
  );

  const metrics = access('read', 'Figures in the text format of Prometheus', 'server');
  app.get('/metrics', { config: metrics.config, schema: metrics.about }, async (_request, reply) =>
    reply.type('text/plain; version=0.0.4; charset=utf-8').send(await backend.metrics()),
  );

  const openapi = access('read', 'This document', 'server');
  app.get('/openapi.json', { config: openapi.config, schema: openapi.about }, async (_request, reply) =>
    reply.type('application/json').send(plain.swagger()),
  );
}
