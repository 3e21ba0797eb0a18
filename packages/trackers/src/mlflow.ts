// MLflow by its REST API, version 2.0 of it: one experiment per recipe name, one MLflow run per track, found again by
// its tags. The server only appends, may keep half of a batch and may answer too late, so nothing is sent that it was
// not first asked for. Pauses and repeats are the sink's affair, not this file's.

import { FoveaError } from '@fovea/artifacts';
import { z } from 'zod';
import {
  groupBy,
  Had,
  inAnyOrder,
  MAX_POINTS,
  type Outcome,
  type Point,
  type TrackedRun,
  type Tracker,
  TrackerBusy,
  TrackerRefusal,
} from './tracker.ts';

export interface MlflowOptions {
  /** `http(s)://host:port/path`; may hold a user and password. */
  uri: string;
  /** @defaultValue `fovea/<recipe's name>` */
  experiment?: string;
  /** Sent as a bearer token; otherwise `username` and `password`. */
  token?: string;
  username?: string;
  password?: string;
}

/** MLflow's limits on one batch. */
const MAX_PARAMS = 100;
const MAX_KEY = 250;
/** Servers before 2.8 take no more. */
const MAX_VALUE = 500;
/** Longest answer that is read, in bytes. */
const MAX_ANSWER = 32 * 2 ** 20;

const STATUS = {
  running: 'RUNNING',
  paused: 'SCHEDULED',
  stopped: 'KILLED',
  cancelled: 'KILLED',
  failed: 'FAILED',
  completed: 'FINISHED',
} satisfies Record<Outcome, string>;

const RUN_TAG = 'fovea.run';
const TRACK_TAG = 'fovea.track';

/** int64 of protobuf's JSON comes as a string, MLflow's own as a number. */
const int64 = z.coerce.number();
const metric = z.object({ key: z.string(), step: int64.default(0) });
const keyed = z.object({ key: z.string(), value: z.string() });
const experimentAnswer = z.object({ experiment_id: z.string() });
const runAnswer = z.object({
  info: z.object({ run_id: z.string(), start_time: int64.default(0) }),
  data: z
    .object({
      metrics: z.array(metric).default([]),
      params: z.array(keyed).default([]),
      tags: z.array(keyed).default([]),
    })
    .prefault({}),
});
type MlflowRun = z.infer<typeof runAnswer>;

export class MlflowTracker implements Tracker {
  readonly name = 'MLflow';
  readonly #options: MlflowOptions;
  readonly #api: Api;
  #run: TrackedRun | null = null;
  #experiment = '';
  /** MLflow's run ids by track. */
  readonly #runs = new Map<string, string>();

  /** Throws a FoveaError for an address that is none. */
  constructor(options: MlflowOptions) {
    this.#options = options;
    this.#api = new Api(options);
  }

  async open(run: TrackedRun, signal: AbortSignal): Promise<Had> {
    this.#run = run;
    this.#runs.clear();
    this.#experiment = await this.#openExperiment(this.#options.experiment ?? `fovea/${run.name}`, signal);
    const had = new Had();
    for (const [track, found] of await this.#findRuns(signal)) {
      const { run_id } = found.info;
      this.#runs.set(track, run_id);
      await this.#api.post('runs/update', { run_id, status: 'RUNNING' }, z.unknown(), signal);
      await this.#logParams(run_id, run.params, found, signal);
      for (const { key, step } of found.data.metrics) {
        const steps = inAnyOrder(key) ? await this.#stepsOf(run_id, key, signal) : [step];
        for (const each of steps) had.add({ track, series: key, step: each });
      }
    }
    return new NamedHad(had);
  }

  async log(points: readonly Point[], signal: AbortSignal): Promise<void> {
    for (const [track, own] of groupBy(points, (point) => point.track)) {
      const run_id = this.#runs.get(track) ?? (await this.#createRun(track, signal));
      for (let from = 0; from < own.length; from += MAX_POINTS) {
        const metrics = own.slice(from, from + MAX_POINTS).map(({ series, value, at, step }) => ({
          key: metricKey(series),
          value: Number.isFinite(value) ? value : String(value),
          timestamp: Math.round(at),
          step,
        }));
        await this.#api.post('runs/log-batch', { run_id, metrics }, z.unknown(), signal);
      }
    }
  }

  async close(outcome: Outcome, signal: AbortSignal): Promise<void> {
    if (outcome === 'running') return;
    const end = outcome === 'paused' ? {} : { end_time: Date.now() };
    for (const run_id of this.#runs.values())
      await this.#api.post('runs/update', { run_id, status: STATUS[outcome], ...end }, z.unknown(), signal);
  }

  async #openExperiment(name: string, signal: AbortSignal): Promise<string> {
    const found = z.object({ experiment: experimentAnswer.extend({ lifecycle_stage: z.string().optional() }) });
    const find = async () => {
      const answer = await this.#api.get('experiments/get-by-name', { experiment_name: name }, found, signal);
      if (answer?.experiment.lifecycle_stage !== 'deleted') return answer?.experiment.experiment_id;
      throw new Error(`its experiment "${name}" is deleted; restore it there, or name another`);
    };
    const there = await find();
    if (there !== undefined) return there;
    try {
      return (await this.#api.post('experiments/create', { name }, experimentAnswer, signal)).experiment_id;
    } catch (error) {
      // Another process was faster, or this one was and did not hear of it.
      const winner = await find();
      if (winner !== undefined) return winner;
      throw error;
    }
  }

  /** The oldest run of each track: a request to make one that went unanswered may have been served twice. */
  async #findRuns(signal: AbortSignal): Promise<Map<string, MlflowRun>> {
    const query = {
      experiment_ids: [this.#experiment],
      filter: `tags."${RUN_TAG}" = '${this.#run!.id}'`,
      max_results: 100,
      order_by: ['attributes.start_time ASC', 'attributes.run_id ASC'],
    };
    const { runs } = await this.#api.post(
      'runs/search',
      query,
      z.object({ runs: z.array(runAnswer).default([]) }),
      signal,
    );
    const byTrack = new Map<string, MlflowRun>();
    for (const run of runs) {
      const track = run.data.tags.find(({ key }) => key === TRACK_TAG)?.value;
      if (track !== undefined && !byTrack.has(track)) byTrack.set(track, run);
    }
    return byTrack;
  }

  async #createRun(track: string, signal: AbortSignal): Promise<string> {
    const { id, createdAt, params } = this.#run!;
    const tags = [
      { key: RUN_TAG, value: id },
      { key: TRACK_TAG, value: track },
      { key: 'mlflow.runName', value: `${id}/${track}` },
    ];
    const body = { experiment_id: this.#experiment, run_name: `${id}/${track}`, start_time: createdAt, tags };
    const { run } = await this.#api.post('runs/create', body, z.object({ run: runAnswer }), signal);
    this.#runs.set(track, run.info.run_id);
    await this.#logParams(run.info.run_id, params, run, signal);
    return run.info.run_id;
  }

  /** Parameters can be written once: only those that are missing are sent. */
  async #logParams(run_id: string, params: Record<string, string>, run: MlflowRun, signal: AbortSignal): Promise<void> {
    const there = new Set(run.data.params.map(({ key }) => key));
    const missing = Object.entries(params)
      .map(([key, value]) => ({ key: metricKey(key), value: value.slice(0, MAX_VALUE) }))
      .filter(({ key }) => !there.has(key));
    for (let from = 0; from < missing.length; from += MAX_PARAMS)
      await this.#api.post(
        'runs/log-batch',
        { run_id, params: missing.slice(from, from + MAX_PARAMS) },
        z.unknown(),
        signal,
      );
  }

  async #stepsOf(run_id: string, metric_key: string, signal: AbortSignal): Promise<number[]> {
    const page = z.object({ metrics: z.array(metric).default([]), next_page_token: z.string().optional() });
    const steps: number[] = [];
    for (let token: string | undefined; ; ) {
      const query = { run_id, metric_key, max_results: '1000', ...(token && { page_token: token }) };
      const answer = await this.#api.get('metrics/get-history', query, page, signal);
      for (const { step } of answer?.metrics ?? []) steps.push(step);
      token = answer?.next_page_token || undefined;
      if (!token) return steps;
    }
  }
}

/** Asks for a series by the name that MLflow has for it. */
class NamedHad extends Had {
  readonly #had: Had;

  constructor(had: Had) {
    super();
    this.#had = had;
  }

  override add(point: Pick<Point, 'track' | 'series' | 'step'>): void {
    this.#had.add({ ...point, series: metricKey(point.series) });
  }

  override has(point: Pick<Point, 'track' | 'series' | 'step'>): boolean {
    return this.#had.has({ ...point, series: metricKey(point.series) });
  }
}

/** MLflow allows letters, digits, `_`, `-`, `.`, space and `/`. */
const metricKey = (name: string): string => name.replace(/[^\w\-. /]/g, '_').slice(0, MAX_KEY);

/** Calls of the REST API. No message of its own or of the server's that it throws holds a secret or more than a line. */
class Api {
  readonly #base: URL;
  readonly #headers: Record<string, string>;

  constructor({ uri, token, username, password }: MlflowOptions) {
    const base = URL.canParse(uri) ? new URL(uri) : null;
    if (base?.protocol !== 'http:' && base?.protocol !== 'https:') {
      throw new FoveaError(
        "MLflow's tracking URI is not the address of a server: give MLFLOW_TRACKING_URI as http://host:port or https://host.",
      );
    }
    const user = username ?? decodeURIComponent(base.username);
    const basic = () =>
      `Basic ${Buffer.from(`${user}:${password ?? decodeURIComponent(base.password)}`).toString('base64')}`;
    const authorization = token ? `Bearer ${token}` : user ? basic() : null;
    this.#headers = { 'content-type': 'application/json', ...(authorization && { authorization }) };
    base.username = base.password = base.search = base.hash = '';
    if (!base.pathname.endsWith('/')) base.pathname += '/';
    this.#base = base;
  }

  post<T>(path: string, body: object, answer: z.ZodType<T>, signal: AbortSignal): Promise<T> {
    return this.#call(path, { method: 'POST', body: JSON.stringify(body) }, answer, signal) as Promise<T>;
  }

  /** Null where there is no such thing. */
  get<T>(path: string, query: Record<string, string>, answer: z.ZodType<T>, signal: AbortSignal): Promise<T | null> {
    return this.#call(`${path}?${new URLSearchParams(query)}`, { method: 'GET' }, answer, signal);
  }

  async #call<T>(path: string, init: RequestInit, answer: z.ZodType<T>, signal: AbortSignal): Promise<T | null> {
    const url = new URL(`api/2.0/mlflow/${path}`, this.#base);
    const response = await fetch(url, { ...init, headers: this.#headers, redirect: 'error', signal }).catch((error) => {
      throw new Error(
        `${this.#base.origin} does not answer: ${error.cause?.code ?? error.cause?.message ?? error.message}`,
      );
    });
    const json = parsed(await readBounded(response));
    if (response.ok) {
      const result = answer.safeParse(json);
      if (result.success) return result.data;
      throw new Error(`${this.#base.origin} does not answer as MLflow does`);
    }
    if (init.method === 'GET' && json?.error_code === 'RESOURCE_DOES_NOT_EXIST') return null;
    throw this.#explain(response, json);
  }

  #explain({ status, headers }: Response, json: Answer | null): Error {
    const reason = `${json?.error_code ?? 'an error'} ${(json?.message ?? '').split('\n')[0].slice(0, 200)}`.trim();
    const message = `${this.#base.origin} answers ${status}: ${reason}`;
    if (status === 401 || status === 403) return new Error(`${message}; check MLFLOW_TRACKING_TOKEN`);
    const after = Number(headers.get('retry-after'));
    if (after > 0) return new TrackerBusy(message, after * 1000);
    const refused = json?.error_code === 'INVALID_PARAMETER_VALUE' || json?.error_code === 'BAD_REQUEST';
    return refused ? new TrackerRefusal(message) : new Error(message);
  }
}

interface Answer {
  error_code?: string;
  message?: string;
}

function parsed(text: string): Answer | null {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

async function readBounded(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.byteLength;
    if (size > MAX_ANSWER) throw new Error(`an answer is longer than ${MAX_ANSWER} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}
