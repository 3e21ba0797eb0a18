// What the routes share: schemas of ids, the answers that any of them may give, and the run that an address names.

import type { RunRecord } from '@fovea/jobs';
import type { FastifyInstance } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { ApiBackend } from '../backend.ts';
import { ApiError, errorSchema } from '../errors.ts';
import type { Access } from '../guard.ts';

export const runId = z
  .string()
  .regex(/^[a-z0-9][a-z0-9-]{0,99}$/, 'the id of a run: lower-case letters, digits and dashes');
export const runParams = z.strictObject({ id: runId });
export const hashParams = z.strictObject({
  id: z.string().regex(/^[0-9a-f]{64}$/, 'a SHA-256 in lower-case hexadecimal'),
});

/** Error answers for `schema.response`, beside a route's own. */
export const errors = { '4xx': errorSchema, '5xx': errorSchema };

/** `config` and the part of `schema` that says the same to people. */
export function access(scope: Access, summary: string, tag: string) {
  return {
    config: { scope },
    about: {
      summary: scope === 'anybody' ? summary : `${summary} (scope ${scope})`,
      tags: [tag],
      security: scope === 'anybody' ? [] : [{ token: [] }],
    },
  };
}

/** The instance whose handlers have the types of their zod schemas. */
export const typed = (app: FastifyInstance) => app.withTypeProvider<ZodTypeProvider>();

/** The run that an address names, or 404. */
export async function existing(backend: ApiBackend, id: string): Promise<RunRecord> {
  const run = await backend.run(id);
  if (run) return run;
  throw new ApiError(404, `There is no run called "${id}" in the store; GET /v1/runs lists those that there are.`);
}
