// For the tests here: a server that keeps MLflow's documented rules, a real one where a Python has it, and a proxy
// before either that loses, delays and refuses requests. MLflow is somebody else's, so this stands in for no part of ours.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import http from 'node:http';
import { type AddressInfo, createServer } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { until } from './testing.ts';

export const PYTHON = process.env.FOVEA_PYTHON;
const FIND = 'import importlib.util as u, sys; sys.exit(u.find_spec("mlflow.server") is None)';
export const hasMlflow = PYTHON !== undefined && spawnSync(PYTHON, ['-c', FIND], { timeout: 120_000 }).status === 0;

export interface Server {
  url: string;
  stop(): Promise<void>;
}

interface Metric {
  key: string;
  value: number | string;
  timestamp: number;
  step: number;
}
interface Run {
  info: { run_id: string; experiment_id: string; status: string; start_time: number };
  tags: Map<string, string>;
  params: Map<string, string>;
  metrics: Metric[];
}

class Refusal extends Error {
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

const PAGE = 25;

/** Experiments and runs in memory. Metrics are appended without a look at what is there, as the file store does. */
class Rules {
  readonly experiments: string[] = [];
  readonly runs: Run[] = [];

  answer(call: string, given: Record<string, unknown>): object {
    const text = (name: string) => String(given[name] ?? '');
    switch (call) {
      case 'GET experiments/get-by-name': {
        const id = this.experiments.indexOf(text('experiment_name'));
        if (id < 0) throw new Refusal('RESOURCE_DOES_NOT_EXIST', 'no such experiment');
        return { experiment: { experiment_id: String(id), name: text('experiment_name'), lifecycle_stage: 'active' } };
      }
      case 'POST experiments/create':
        if (this.experiments.includes(text('name'))) throw new Refusal('RESOURCE_ALREADY_EXISTS', 'it exists');
        return { experiment_id: String(this.experiments.push(text('name')) - 1) };
      case 'POST runs/search':
        return { runs: this.search(given).map(shown) };
      case 'POST runs/create':
        return { run: shown(this.create(given)) };
      case 'POST runs/update':
        Object.assign(this.run(text('run_id')).info, given);
        return { run_info: this.run(text('run_id')).info };
      case 'POST runs/log-batch':
        return this.logBatch(this.run(text('run_id')), given);
      case 'GET metrics/get-history':
        return this.history(text('run_id'), text('metric_key'), Number(given.page_token ?? 0));
    }
    throw new Refusal('ENDPOINT_NOT_FOUND', call);
  }

  search({ experiment_ids, filter }: { experiment_ids?: string[]; filter?: string }): Run[] {
    const [, tag, value] = /^tags\."([^"]+)" = '([^']*)'$/.exec(filter ?? '') ?? [];
    return this.runs
      .filter(({ info, tags }) => experiment_ids?.includes(info.experiment_id) && tags.get(tag) === value)
      .sort((a, b) => a.info.start_time - b.info.start_time || (a.info.run_id < b.info.run_id ? -1 : 1));
  }

  create(given: { experiment_id?: string; start_time?: number; tags?: { key: string; value: string }[] }): Run {
    const info = {
      run_id: `run${this.runs.length}`,
      experiment_id: given.experiment_id!,
      status: 'RUNNING',
      start_time: given.start_time!,
    };
    const tags = new Map(given.tags?.map(({ key, value }) => [key, value]));
    const run: Run = { info, tags, params: new Map(), metrics: [] };
    this.runs.push(run);
    return run;
  }

  logBatch(run: Run, given: { metrics?: Metric[]; params?: { key: string; value: string }[] }): object {
    const [metrics, params] = [given.metrics ?? [], given.params ?? []];
    if (metrics.length > 1000 || params.length > 100 || metrics.length + params.length > 1000)
      throw new Refusal('INVALID_PARAMETER_VALUE', 'a batch is too large');
    for (const { key } of [...metrics, ...params])
      if (!/^[\w\-. /]{1,250}$/.test(key)) throw new Refusal('INVALID_PARAMETER_VALUE', `bad name ${key}`);
    for (const { timestamp } of metrics)
      if (timestamp < 0) throw new Refusal('INVALID_PARAMETER_VALUE', `bad time ${timestamp}`);
    for (const { key, value } of params) {
      if (run.params.has(key) && run.params.get(key) !== value)
        throw new Refusal('INVALID_PARAMETER_VALUE', `${key} was ${run.params.get(key)} and cannot change`);
      run.params.set(key, value);
    }
    run.metrics.push(...metrics);
    return {};
  }

  history(runId: string, key: string, from: number): object {
    const all = this.run(runId).metrics.filter((metric) => metric.key === key);
    // Short pages, so that there is more than one.
    const to = from + PAGE;
    return { metrics: all.slice(from, to), ...(to < all.length && { next_page_token: String(to) }) };
  }

  run(id: string): Run {
    const run = this.runs.find(({ info }) => info.run_id === id);
    if (!run) throw new Refusal('RESOURCE_DOES_NOT_EXIST', 'no such run');
    return run;
  }
}

/** A run as the API shows it. */
export interface ShownRun {
  info: Run['info'];
  data: { metrics: Metric[]; params: { key: string; value: string }[]; tags: { key: string; value: string }[] };
}

/** Of each metric the one with the highest step. */
function shown({ info, tags, params, metrics }: Run): ShownRun {
  const latest = new Map<string, Metric>();
  for (const metric of metrics) if (metric.step >= (latest.get(metric.key)?.step ?? -1)) latest.set(metric.key, metric);
  const pairs = (map: Map<string, string>) => [...map].map(([key, value]) => ({ key, value }));
  return { info, data: { metrics: [...latest.values()], params: pairs(params), tags: pairs(tags) } };
}

export async function startRules(): Promise<Server> {
  const rules = new Rules();
  return listen(async (request, response) => {
    const { pathname, searchParams } = new URL(request.url!, 'http://localhost');
    const body = await bodyOf(request);
    const send = (status: number, json: object) =>
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(json));
    if (body.length > 2 ** 20) return send(413, {});
    try {
      const given = request.method === 'GET' ? Object.fromEntries(searchParams) : JSON.parse(String(body));
      send(200, rules.answer(`${request.method} ${pathname.replace('/api/2.0/mlflow/', '')}`, given));
    } catch (error) {
      const code = error instanceof Refusal ? error.code : 'INTERNAL_ERROR';
      const status = code.endsWith('NOT_EXIST') || code.endsWith('NOT_FOUND') ? 404 : 400;
      send(status, { error_code: code, message: (error as Error).message });
    }
  });
}

/** `mlflow server` of FOVEA_PYTHON on a port of its own; takes a minute on two cores. */
export async function startMlflow(): Promise<Server> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'fovea-mlflow-'));
  const port = await freePort();
  const store = ['--backend-store-uri', `sqlite:///${path.join(folder, 'db.sqlite')}`];
  const flags = ['--host', '127.0.0.1', '--port', String(port), '--workers', '1', ...store];
  const child = spawn(PYTHON!, ['-m', 'mlflow', 'server', ...flags], { cwd: folder, stdio: 'ignore', detached: true });
  const url = `http://127.0.0.1:${port}`;
  const healthy = () =>
    fetch(`${url}/health`).then(
      ({ ok }) => ok,
      () => false,
    );
  await until(async () => child.exitCode === null && (await healthy()), 240_000);
  const stop = async () => {
    await stopGroup(child);
    await rm(folder, { recursive: true, force: true });
  };
  return { url, stop };
}

async function stopGroup(child: ChildProcess): Promise<void> {
  const gone = once(child, 'exit');
  process.kill(-child.pid!, 'SIGKILL');
  await gone;
}

/** What befalls a request: its answer is lost, it never arrives, it is not answered at all, or with a status. */
export type Fault =
  | 'lose the answer'
  | 'lose the request'
  | 'hang'
  | { status: number; headers?: Record<string, string> };

export interface FaultyProxy extends Server {
  /** Every request so far. */
  seen: { call: string; authorization?: string }[];
  /** What befalls the next request of that name. */
  fault(call: string, ...faults: Fault[]): void;
}

export async function startProxy(target: string): Promise<FaultyProxy> {
  const seen: FaultyProxy['seen'] = [];
  const planned: { call: string; fault: Fault }[] = [];
  const server = await listen(async (request, response) => {
    const call = new URL(request.url!, target).pathname.replace('/api/2.0/mlflow/', '');
    seen.push({ call, authorization: request.headers.authorization });
    const at = planned.findIndex((plan) => plan.call === call);
    const fault = at < 0 ? null : planned.splice(at, 1)[0].fault;
    if (fault === 'hang') return;
    if (fault === 'lose the request') return void request.socket.destroy();
    if (typeof fault === 'object' && fault) return void response.writeHead(fault.status, fault.headers).end('{}');
    const body = request.method === 'GET' ? undefined : await bodyOf(request);
    const headers = { 'content-type': 'application/json' };
    const answer = await fetch(new URL(request.url!, target), { method: request.method, body, headers });
    const bytes = Buffer.from(await answer.arrayBuffer());
    if (fault === 'lose the answer') return void request.socket.destroy();
    response.writeHead(answer.status, { 'content-type': 'application/json' }).end(bytes);
  });
  return { ...server, seen, fault: (call, ...faults) => planned.push(...faults.map((fault) => ({ call, fault }))) };
}

async function listen(
  handle: (request: http.IncomingMessage, response: http.ServerResponse) => Promise<unknown>,
): Promise<Server> {
  const server = http.createServer((request, response) => {
    handle(request, response).catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const stop = () => {
    server.closeAllConnections();
    return new Promise<void>((resolve) => server.close(() => resolve()));
  };
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, stop };
}

async function bodyOf(request: http.IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks);
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
