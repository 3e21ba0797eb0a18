// Runs: what they are and have done, and the commands that add or change one.

import { sha256Hex } from '@fovea/artifacts';
import { RUN_STATUSES } from '@fovea/jobs';
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { controlSchema, logSchema } from '../backend.ts';
import { ApiError } from '../errors.ts';
import { MAX_RECIPE_BYTES, recipeOf, submissionSchema } from '../recipes.ts';
import type { Context } from '../server.ts';
import { access, errors, existing, runId, runParams, typed } from './common.ts';
import {
  checkpointRow,
  checkpointsOf,
  describe,
  roundAnswer,
  roundsOf,
  runSchema,
  scoreRow,
  summaryOf,
  summarySchema,
} from './run-answers.ts';

const listQuery = z.strictObject({
  status: z.enum(RUN_STATUSES).optional(),
  limit: z.coerce.number().int().min(1).max(1000).default(100),
  before: runId.optional().describe('Goes on behind this run.'),
});
const listAnswer = z.object({
  runs: z.array(summarySchema),
  next: z.string().nullable().describe('What to pass as `before` for the next page.'),
  damaged: z.array(z.string()).describe('Runs whose record in the store cannot be read; `GET /v1/runs/{id}` says why.'),
});
const submitHeaders = z.looseObject({
  'idempotency-key': z
    .string()
    .min(1)
    .max(200)
    .optional()
    .describe(
      'A word of the caller for this run: the same request sent again finds the run instead of making another.',
    ),
});
/** Of a run that a caller submits under a key; another caller's equal key is another run. */
const idOf = (caller: string, key: string) =>
  `run-${sha256Hex(new TextEncoder().encode(JSON.stringify([caller, key]))).slice(0, 16)}`;
const logQuery = z.strictObject({
  after: z
    .string()
    .max(100)
    .regex(/^[\w.:-]*$/, 'what an earlier answer gave as `last`')
    .optional(),
  limit: z.coerce.number().int().min(1).max(1000).default(200),
});
const change = z
  .strictObject({
    priority: z.int().min(1).max(1000).optional(),
    deadline: z.iso.datetime().nullable().optional(),
  })
  .refine((given) => Object.keys(given).length > 0, 'give a priority or a deadline');
const commanded = summarySchema.extend({ control: controlSchema }).meta({ title: 'CommandedRun' });

/** A report runs scripts of its own, but in an origin of its own: it reaches neither the API nor another site. */
const REPORT_POLICY =
  "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; font-src data:; frame-ancestors 'none'";

export function runRoutes(app: FastifyInstance, context: Context): void {
  listing(app, context);
  commands(app, context);
  details(app, context);
  files(app, context);
}

function listing(plain: FastifyInstance, { backend, roots, cacheDir, limits }: Context): void {
  const app = typed(plain);
  const list = access('read', 'Runs, newest first', 'runs');
  app.get(
    '/v1/runs',
    {
      config: list.config,
      schema: { ...list.about, querystring: listQuery, response: { 200: listAnswer, ...errors } },
    },
    async ({ query: { status, limit, before } }) => {
      const { runs, damaged } = await backend.runs();
      const all = runs.filter((run) => status === undefined || run.status === status);
      const at = before === undefined ? -1 : all.findIndex(({ id }) => id === before);
      if (before !== undefined && at < 0)
        throw new ApiError(400, `There is no run "${before}" among these to go on behind.`);
      const page = all.slice(at + 1, at + 1 + limit);
      const next = at + 1 + limit < all.length ? page[page.length - 1].id : null;
      return { runs: page.map(summaryOf), next, damaged };
    },
  );

  const submit = access('submit', 'Submit a recipe', 'runs');
  app.post(
    '/v1/runs',
    {
      config: submit.config,
      // A text doubles at most when it is put into JSON by a sensible client, and its overrides come on top.
      bodyLimit: 2 * MAX_RECIPE_BYTES + 128 * 1024,
      // Weights that a recipe names are hashed first, and may be gigabytes.
      handlerTimeout: 20 * limits.answerMs,
      schema: {
        ...submit.about,
        headers: submitHeaders,
        body: submissionSchema,
        response: { 201: summarySchema, ...errors },
      },
    },
    async (request, reply) => {
      const submission = await recipeOf(request.body, roots, cacheDir);
      const key = request.headers['idempotency-key'];
      const id = key && idOf(request.caller?.name ?? '', key);
      const run = await backend.submit({ ...submission, ...(id && { id }) });
      if (run.recipeHash !== submission.recipeHash)
        throw new ApiError(
          409,
          `The idempotency key was used for the run ${run.id} of another recipe; take a new one.`,
        );
      request.log.info({ caller: request.caller?.name, run: run.id }, 'submitted');
      return reply.status(201).header('location', `/v1/runs/${run.id}`).send(summaryOf(run));
    },
  );
}

function commands(plain: FastifyInstance, { backend }: Context): void {
  const app = typed(plain);
  const summaries = {
    pause: 'Stop a run at its next checkpoint, to be resumed',
    resume: 'Go on with a run',
    cancel: 'End a run for good',
  };
  for (const command of ['pause', 'resume', 'cancel'] as const) {
    const { config, about } = access('operate', summaries[command], 'runs');
    app.post(
      `/v1/runs/:id/${command}`,
      { config, schema: { ...about, params: runParams, response: { 202: commanded, ...errors } } },
      async (request, reply) => {
        const { id } = await existing(backend, request.params.id);
        await backend[command](id);
        request.log.info({ caller: request.caller?.name, run: id }, command);
        return reply.status(202).send(await now(id));
      },
    );
  }

  const patch = access('operate', 'Change a run’s priority or deadline', 'runs');
  app.patch(
    '/v1/runs/:id',
    {
      config: patch.config,
      schema: { ...patch.about, params: runParams, body: change, response: { 200: commanded, ...errors } },
    },
    async (request) => {
      const { id } = await existing(backend, request.params.id);
      await backend.change(id, request.body);
      request.log.info({ caller: request.caller?.name, run: id, changes: request.body }, 'changed');
      return now(id);
    },
  );

  const now = async (id: string) => ({
    ...summaryOf(await existing(backend, id)),
    control: await backend.control(id),
  });
}

function details(plain: FastifyInstance, { backend }: Context): void {
  const app = typed(plain);
  const about = (what: string) => access('read', what, 'runs');
  const show = about('A run');
  app.get(
    '/v1/runs/:id',
    { config: show.config, schema: { ...show.about, params: runParams, response: { 200: runSchema, ...errors } } },
    async ({ params: { id } }) => {
      const run = await existing(backend, id);
      const [control, committed] = await Promise.all([backend.control(id), backend.rounds(run)]);
      return describe(run, control, committed);
    },
  );

  const rounds = about('Rounds of a run, committed or to come');
  app.get(
    '/v1/runs/:id/rounds',
    {
      config: rounds.config,
      schema: {
        ...rounds.about,
        params: runParams,
        querystring: z.strictObject({ metrics: z.enum(['true', 'false']).default('false') }),
        response: { 200: z.object({ rounds: z.array(roundAnswer) }), ...errors },
      },
    },
    async ({ params: { id }, query: { metrics } }) => {
      const run = await existing(backend, id);
      return { rounds: roundsOf(run, await backend.rounds(run), metrics === 'true') };
    },
  );

  const checkpoints = about('Checkpoints that a run has committed');
  app.get(
    '/v1/runs/:id/checkpoints',
    {
      config: checkpoints.config,
      schema: {
        ...checkpoints.about,
        params: runParams,
        response: { 200: z.object({ checkpoints: z.array(checkpointRow) }), ...errors },
      },
    },
    async ({ params: { id } }) => ({
      checkpoints: checkpointsOf(await backend.rounds(await existing(backend, id))),
    }),
  );

  const scorecards = about('Scorecards of a run');
  app.get(
    '/v1/runs/:id/scorecards',
    {
      config: scorecards.config,
      schema: {
        ...scorecards.about,
        params: runParams,
        response: { 200: z.object({ scorecards: z.array(scoreRow) }), ...errors },
      },
    },
    async ({ params: { id } }) => {
      await existing(backend, id);
      return { scorecards: await backend.scores(id) };
    },
  );
}

function files(plain: FastifyInstance, { backend }: Context): void {
  const app = typed(plain);
  const logs = access('read', 'Lines of a run’s log', 'runs');
  app.get(
    '/v1/runs/:id/logs',
    {
      config: logs.config,
      schema: { ...logs.about, params: runParams, querystring: logQuery, response: { 200: logSchema, ...errors } },
    },
    async ({ params: { id }, query }) => {
      await existing(backend, id);
      return backend.log(id, query);
    },
  );

  const written = async (id: string) => {
    await existing(backend, id);
    const report = await backend.report(id);
    if (report) return report;
    throw new ApiError(404, `The run "${id}" has no report yet: it is written when all its checkpoints are scored.`);
  };
  const report = access('read', 'The report of a completed run, as HTML', 'runs');
  app.get(
    '/v1/runs/:id/report',
    { config: report.config, schema: { ...report.about, params: runParams, response: errors } },
    async ({ params: { id } }, reply) => {
      const html = await (await written(id)).html();
      return reply
        .type('text/html; charset=utf-8')
        .header('content-security-policy', REPORT_POLICY)
        .send(Buffer.from(html.buffer, html.byteOffset, html.byteLength) as never);
    },
  );

  const summary = access('read', 'The summary of a completed run', 'runs');
  app.get(
    '/v1/runs/:id/summary',
    {
      config: summary.config,
      schema: {
        ...summary.about,
        params: runParams,
        response: { 200: z.record(z.string(), z.unknown()).meta({ title: 'Summary' }), ...errors },
      },
    },
    async ({ params: { id } }) => (await (await written(id)).summary()) as Record<string, unknown>,
  );
}
