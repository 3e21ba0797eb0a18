// bull-board, the queue's own UI, as routes of ours: behind the same tokens, read-only unless told otherwise, its files
// served from a list made at the start. Its adapter for fastify would bring a template engine and a file server, and
// needs Node 22; the page has five places to fill in.

import { readdir, readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import type { IServerAdapter } from '@bull-board/api/typings/app';
import type { Queue } from 'bullmq';
import type { FastifyInstance, FastifyReply } from 'fastify';
import { ApiError } from './errors.ts';

export interface BoardOptions {
  /** The queues there are now; asked again as the page asks. */
  queues(): readonly Queue[] | Promise<readonly Queue[]>;
  /** Whether jobs and queues can be changed there, by callers with the scope admin. @defaultValue false */
  writable?: boolean;
}

type Setting<K extends keyof IServerAdapter> = Parameters<IServerAdapter[K]>;

/** What bull-board tells a server adapter. */
class Adapter implements IServerAdapter {
  queues!: Setting<'setQueues'>[0];
  views = '';
  statics = '';
  entry!: Setting<'setEntryRoute'>[0];
  api: Setting<'setApiRoutes'>[0] = [];
  ui: Setting<'setUIConfig'>[0] = {};
  setQueues = (queues: Setting<'setQueues'>[0]) => this.#with(() => (this.queues = queues));
  setViewsPath = (folder: string) => this.#with(() => (this.views = folder));
  setStaticPath = (_route: string, folder: string) => this.#with(() => (this.statics = folder));
  setEntryRoute = (route: Setting<'setEntryRoute'>[0]) => this.#with(() => (this.entry = route));
  setErrorHandler = () => this;
  setApiRoutes = (routes: Setting<'setApiRoutes'>[0]) => this.#with(() => (this.api = routes));
  setUIConfig = (ui: Setting<'setUIConfig'>[0]) => this.#with(() => (this.ui = ui));

  #with(set: () => unknown): this {
    set();
    return this;
  }
}

const TYPES: Record<string, string> = {
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.json': 'application/json',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.ico': 'image/x-icon',
};
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'self'; frame-ancestors 'none'";
const read = { scope: 'read' } as const;
const hidden = { hide: true } as never;

/** Adds the UI under the prefix that the instance was registered with. */
export async function boardRoutes(app: FastifyInstance, { queues, writable = false }: BoardOptions): Promise<void> {
  const require = createRequire(import.meta.url);
  const { createBullBoard } = require('@bull-board/api') as typeof import('@bull-board/api');
  const { BullMQAdapter } = require('@bull-board/api/bullMQAdapter') as typeof import('@bull-board/api/bullMQAdapter');
  const adapter = new Adapter();
  const uiBasePath = path.dirname(require.resolve('@bull-board/ui/package.json'));
  const board = createBullBoard({
    queues: [],
    serverAdapter: adapter,
    options: { uiBasePath, uiConfig: { boardTitle: 'Fovea', hideDocsLink: true } },
  });
  const shown = new Map<Queue, InstanceType<typeof BullMQAdapter>>();
  const refresh = async () => {
    const now = await queues();
    for (const queue of shown.keys()) if (!now.includes(queue)) shown.delete(queue);
    for (const queue of now)
      if (!shown.has(queue)) shown.set(queue, new BullMQAdapter(queue, { readOnlyMode: !writable }));
    board.replaceQueues([...shown.values()]);
  };
  const page = await readFile(path.join(adapter.views, 'index.ejs'), 'utf8');
  await fileRoutes(app, adapter.statics);
  pageRoutes(app, adapter, page);
  apiRoutes(app, adapter, writable, refresh);
}

async function fileRoutes(app: FastifyInstance, folder: string): Promise<void> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const names = entries
    .filter((entry) => entry.isFile() && TYPES[path.extname(entry.name)])
    .map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name)).split(path.sep).join('/'));
  const files = new Map(names.map((name) => [name, path.join(folder, name)]));
  app.get<{ Params: { '*': string } }>('/static/*', { config: read, schema: hidden }, async (request, reply) => {
    const file = files.get(request.params['*']);
    if (!file) throw new ApiError(404, 'There is no such file in the queue’s UI.');
    return reply
      .type(TYPES[path.extname(file)])
      .header('cache-control', 'private, max-age=86400')
      .send(await readFile(file));
  });
}

function pageRoutes(app: FastifyInstance, adapter: Adapter, page: string): void {
  const show = async (_request: unknown, reply: FastifyReply) => {
    const { params } = adapter.entry.handler({ basePath: app.prefix, uiConfig: adapter.ui });
    return reply.type('text/html; charset=utf-8').header('content-security-policy', POLICY).send(fill(page, params));
  };
  for (const url of [adapter.entry.route].flat()) app.get(url, { config: read, schema: hidden }, show);
}

/** Fills in `<%= escaped %>` and `<%- raw %>`, and leaves out what the page would fetch from other sites. */
function fill(page: string, values: Record<string, unknown>): string {
  return page.replace(/<link[^>]+href="https?:[^>]*>/g, '').replace(/<%([=-])\s*(\w+)\s*%>/g, (_all, kind, name) => {
    const text = String(values[name] ?? '');
    return kind === '-' ? text : text.replace(/[&<>"']/g, (letter) => `&#${letter.charCodeAt(0)};`);
  });
}

function apiRoutes(app: FastifyInstance, adapter: Adapter, writable: boolean, refresh: () => Promise<void>): void {
  for (const { method, route, handler } of adapter.api) {
    const methods = [method].flat().map((each) => each.toUpperCase());
    const reads = methods.every((each) => each === 'GET');
    if (!reads && !writable) continue;
    for (const url of [route].flat()) {
      app.route({
        method: methods as 'GET'[],
        url,
        config: { scope: reads ? 'read' : 'admin' },
        schema: hidden,
        handler: async (request, reply) => {
          await refresh();
          const response = await handler({
            queues: adapter.queues,
            uiConfig: adapter.ui,
            params: request.params as Record<string, string>,
            query: request.query as Record<string, string>,
            body: (request.body ?? {}) as Record<string, unknown>,
            headers: {},
          });
          return reply.status(response.status ?? 200).send(response.body ?? {});
        },
      });
    }
  }
}
