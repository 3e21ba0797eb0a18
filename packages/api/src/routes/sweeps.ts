// Sweeps: what was asked for, how it goes, and the runs that each is made of. They are submitted with `fovea sweep`, which
// checks every point where the recipe's files are.

import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { Sweep } from '../backend.ts';
import { ApiError } from '../errors.ts';
import type { Context } from '../server.ts';
import { access, errors, runParams, typed } from './common.ts';

const summary = z
  .object({
    id: z.string(),
    status: z.enum(['running', 'cancelling', 'completed', 'cancelled']),
    recipe: z.string(),
    search: z.enum(['grid', 'random', 'asha']),
    points: z.int().describe('Combinations of values.'),
    seeds: z.array(z.int()),
    createdAt: z.iso.datetime(),
  })
  .meta({ title: 'Sweep' });
const detail = summary
  .extend({
    rungs: z.array(z.int()).describe('Rounds of the align stage after which points are judged.'),
    runs: z
      .array(
        z.object({
          id: z.string(),
          point: z.int(),
          values: z.record(z.string(), z.unknown()),
          seed: z.int(),
          status: z.string().nullable().describe('Of the run; null while it has not been started.'),
        }),
      )
      .describe('Started or not, in their order; GET /v1/runs/{id} tells the rest.'),
  })
  .meta({ title: 'SweepDetail' });

const summaryOf = ({ record: { id, sweep, points, seeds, createdAt }, status }: Sweep): z.infer<typeof summary> => ({
  ...{ id, status, recipe: sweep.recipe, search: sweep.search.kind, points: points.length, seeds, createdAt },
});

export function sweepRoutes(plain: FastifyInstance, { backend }: Context): void {
  const app = typed(plain);

  const existing = async (id: string) => {
    const found = await backend.sweep(id);
    if (found) return found;
    throw new ApiError(
      404,
      `There is no sweep called "${id}" in the store; GET /v1/sweeps lists those that there are.`,
    );
  };
  const describe = async (id: string) => {
    const { runs, ...sweep } = await existing(id);
    return { ...summaryOf(sweep), rungs: sweep.record.rungs, runs };
  };

  const list = access('read', 'Sweeps, newest first', 'sweeps');
  const listAnswer = { 200: z.object({ sweeps: z.array(summary) }), ...errors };
  app.get('/v1/sweeps', { config: list.config, schema: { ...list.about, response: listAnswer } }, async () => ({
    sweeps: (await backend.sweeps()).map(summaryOf),
  }));

  const one = access('read', 'A sweep with its runs', 'sweeps');
  app.get(
    '/v1/sweeps/:id',
    { config: one.config, schema: { ...one.about, params: runParams, response: { 200: detail, ...errors } } },
    ({ params: { id } }) => describe(id),
  );

  const cancel = access('operate', 'End a sweep and its runs for good', 'sweeps');
  app.post(
    '/v1/sweeps/:id/cancel',
    { config: cancel.config, schema: { ...cancel.about, params: runParams, response: { 202: detail, ...errors } } },
    async (request, reply) => {
      const { id } = request.params;
      await existing(id);
      await backend.cancelSweep(id);
      request.log.info({ caller: request.caller?.name, sweep: id }, 'cancel');
      return reply.status(202).send(await describe(id));
    },
  );
}
