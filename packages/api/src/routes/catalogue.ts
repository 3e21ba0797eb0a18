// What the fleet has: checkpoints and scorecards by hash, workers and their pools, suites, and the recipes that ship.

import { checkpointSchema } from '@fovea/artifacts';
import { presetNames } from '@fovea/recipe';
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { poolSchema, suiteSchema, workerSchema } from '../backend.ts';
import { ApiError } from '../errors.ts';
import type { Context } from '../server.ts';
import { access, errors, hashParams, typed } from './common.ts';

const checkpointAnswer = z
  .object({
    id: z.string(),
    manifest: checkpointSchema,
    runs: z.array(z.string()).describe('Runs that are known to have committed it.'),
  })
  .meta({ title: 'Checkpoint' });
const scorecardAnswer = z.record(z.string(), z.unknown()).meta({ title: 'Scorecard' });

export function catalogueRoutes(plain: FastifyInstance, { backend }: Context): void {
  const app = typed(plain);

  const checkpoint = access('read', 'A checkpoint’s manifest', 'checkpoints');
  app.get(
    '/v1/checkpoints/:id',
    {
      config: checkpoint.config,
      schema: { ...checkpoint.about, params: hashParams, response: { 200: checkpointAnswer, ...errors } },
    },
    async ({ params: { id } }) => {
      const found = await backend.checkpoint(id);
      if (!found) throw new ApiError(404, `No run has committed a checkpoint ${id.slice(0, 12)}…; check the id.`);
      return { id, ...found };
    },
  );

  const scorecard = access('read', 'A scorecard', 'scorecards');
  app.get(
    '/v1/scorecards/:id',
    {
      config: scorecard.config,
      schema: { ...scorecard.about, params: hashParams, response: { 200: scorecardAnswer, ...errors } },
    },
    async ({ params: { id } }) => {
      const found = await backend.scorecard(id);
      if (!found) throw new ApiError(404, `No run has a scorecard ${id.slice(0, 12)}…; check the id.`);
      return found as Record<string, unknown>;
    },
  );

  const list = <T extends z.ZodType>(name: string, summary: string, item: T, all: () => Promise<z.output<T>[]>) => {
    const { config, about } = access('read', summary, 'fleet');
    const response = { 200: z.object({ [name]: z.array(item) }), ...errors };
    plain.get(`/v1/${name}`, { config, schema: { ...about, response } }, async () => ({ [name]: await all() }));
  };
  list('workers', 'Workers that are there', workerSchema, () => backend.workers());
  list('pools', 'Queues, their workers and what waits in them', poolSchema, () => backend.pools());
  list('suites', 'Suites that checkpoints are scored on', suiteSchema, () => backend.suites());
  list('recipes', 'Recipes that ship with Fovea', z.string(), presetNames);
}
