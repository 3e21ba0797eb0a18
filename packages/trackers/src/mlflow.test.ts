// The MLflow client against a server that keeps the documented rules, and against MLflow itself where FOVEA_PYTHON names
// a Python that has it; both behind a proxy that loses, refuses and swallows requests.

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { followRun } from './follow.ts';
import {
  type FaultyProxy,
  hasMlflow,
  type Server,
  type ShownRun,
  startMlflow,
  startProxy,
  startRules,
} from './mlflow.testing.ts';
import { MlflowTracker } from './mlflow.ts';
import { openTrackers } from './open.ts';
import { Sink } from './sinks.ts';
import { StoredRun, somePoints, testRecord, testRun } from './testing.ts';
import { Had } from './tracker.ts';

if (!hasMlflow) console.info('mlflow: the real server is not asked: FOVEA_PYTHON names no Python that has it');

interface Answer {
  experiment: { experiment_id: string };
  runs: ShownRun[];
  metrics?: { step: number | string; value: number | string }[];
  next_page_token?: string;
}

const servers = [{ name: "MLflow's rules", start: startRules, callMs: 500 }];
if (hasMlflow) servers.push({ name: 'MLflow itself', start: startMlflow, callMs: 4000 });

const RUN = {
  id: 'run-1',
  name: 'run',
  createdAt: 1_700_000_000_000,
  params: { 'stages.0.lr': '0.001', long: 'x'.repeat(900) },
};
const never = new AbortController().signal;
const FAST = { retryMs: [1, 5] as const };

describe.each(servers)('a tracker of $name', ({ start, callMs }) => {
  let server: Server;
  let proxy: FaultyProxy;
  let experiment: string;
  let count = 0;
  beforeAll(async () => {
    server = await start();
  }, 300_000);
  afterAll(() => server.stop());
  beforeEach(async () => {
    proxy = await startProxy(server.url);
    experiment = `fovea/test-${process.pid}-${count++}`;
  });
  afterEach(() => proxy.stop());

  const api = async (call: string, body?: object) => {
    const init = body ? { method: 'POST', body: JSON.stringify(body) } : {};
    const headers = { 'content-type': 'application/json' };
    const answer = await fetch(`${server.url}/api/2.0/mlflow/${call}`, { ...init, headers });
    expect(answer.status, call).toBe(200);
    return (await answer.json()) as Answer;
  };
  const runsOf = async (run: string): Promise<Record<string, ShownRun>> => {
    const found = await api(`experiments/get-by-name?experiment_name=${encodeURIComponent(experiment)}`);
    const filter = `tags."fovea.run" = '${run}'`;
    const { runs } = await api('runs/search', { experiment_ids: [found.experiment.experiment_id], filter });
    return Object.fromEntries(
      runs.map((each) => [each.data.tags.find((tag) => tag.key === 'fovea.track')?.value, each]),
    );
  };
  /** [step, value] of everything that was ever logged, in the order of steps. */
  const curve = async (run: ShownRun, key: string): Promise<number[][]> => {
    const all: number[][] = [];
    for (let token = ''; ; ) {
      const query = new URLSearchParams({
        run_id: run.info.run_id,
        metric_key: key,
        ...(token && { page_token: token }),
      });
      const { metrics = [], next_page_token } = await api(`metrics/get-history?${query}`);
      all.push(...metrics.map((metric) => [Number(metric.step), Number(metric.value)]));
      if (!(token = next_page_token ?? '')) return all.sort(([a], [b]) => a - b);
    }
  };
  const steps = async (run: ShownRun, key: string) => (await curve(run, key)).map(([step]) => step);
  const tracker = () => new MlflowTracker({ uri: proxy.url, experiment });
  const sinkOf = (said: string[], options = {}) =>
    new Sink(tracker(), RUN, { say: (line) => said.push(line), ...FAST, ...options });
  const counting = (n: number) => Array.from({ length: n }, (_, i) => i);

  it('has a run per track with parameters, status and every step once over restarts', async () => {
    const [source, run] = [await StoredRun.create(), testRun()];
    const said: string[] = [];
    await source.commit('trunk', 0, testRecord(0, 0, 0));
    await source.score('baseline', 0, 0.125);
    for (let round = 0; round < 3; round++) {
      for (const track of ['aligned', 'control'])
        await source.commit(track, round, testRecord(round, 4 * (round + 1), 4));
      // Evaluations end out of order: the second round's last.
      for (const scored of [[0], [], [2, 1]][round]) await source.score('aligned', scored, 0.25 * (scored + 1));
      const follower = followRun(run, source, [tracker()], { say: (line) => said.push(line), ...FAST });
      await follower.close(round < 2 ? 'stopped' : 'completed', 30_000);
    }
    expect(said).toEqual([]);
    const runs = await runsOf(run.id);
    expect(Object.keys(runs).sort()).toEqual(['aligned', 'control', 'trunk']);
    for (const each of Object.values(runs)) expect(each.info.status).toBe('FINISHED');
    const aligned = runs.aligned;
    const params = new Map(aligned.data.params.map(({ key, value }) => [key, value]));
    expect(params.get('stages.0.lr')).toBe('0.001');
    expect(params.get('data.trainStyles')).toContain('"noto"');
    const all = counting(12).map((i) => [i + 1, i + 1]);
    expect(await curve(aligned, 'train/loss')).toEqual(all);
    expect(await curve(runs.control, 'train/odd_name')).toEqual(all.map(([step, value]) => [step, value / 4]));
    expect(await curve(aligned, 'train/grad_norm/encoder')).toEqual([4, 8, 12].map((step) => [step, step + 0.125]));
    expect(await curve(aligned, 'eval/robustvqa/A/top1')).toEqual([4, 8, 12].map((step) => [step, step / 16]));
    expect(await curve(runs.trunk, 'eval/robustvqa/R/noto/twoway')).toEqual([[0, 0.0625]]);
  });

  it.each(['lose the answer', 'lose the request', 'hang', { status: 503 }] as const)(
    'writes every point once where requests %j',
    async (fault) => {
      for (const call of ['experiments/get-by-name', 'experiments/create', 'runs/search', 'runs/create', 'runs/update'])
        proxy.fault(call, fault);
      proxy.fault('runs/log-batch', fault, fault, fault);
      const said: string[] = [];
      const sink = sinkOf(said, { callMs: fault === 'hang' ? callMs : 30_000 });
      sink.offer(somePoints(0, 1700));
      sink.offer(somePoints(0, 60, 'eval/a/b/c'));
      await sink.idle();
      expect(await sink.close('completed', 30_000)).toEqual({ dropped: 0 });
      const runs = await runsOf(RUN.id);
      const written = runs.aligned;
      expect(await steps(written, 'train/loss')).toEqual(counting(1700));
      expect(await steps(written, 'eval/a/b/c')).toEqual(counting(60));
      expect(said).toHaveLength(2);
      expect(said[0]).toMatch(/cannot be written to/);
      const value = written.data.params.find(({ key }) => key === 'long')?.value;
      expect(value).toBe('x'.repeat(500));
    },
    120_000,
  );

  it('goes on where half of a batch was kept', async () => {
    const first = tracker();
    await first.open(RUN, never);
    await first.log(somePoints(0, 10), never);
    const had = await tracker().open(RUN, never);
    const rest = somePoints(0, 20).filter((point) => !had.has(point));
    expect(rest.map(({ step }) => step)).toEqual(counting(20).slice(10));
  });

  it('waits as long as it is asked to', async () => {
    proxy.fault('runs/create', { status: 429, headers: { 'retry-after': '1' } });
    const said: string[] = [];
    const sink = sinkOf(said, { retryMs: [1, 10_000], random: () => 1 });
    const start = performance.now();
    sink.offer(somePoints(0, 1));
    await sink.idle();
    expect(performance.now() - start).toBeGreaterThan(1000);
    await sink.close('paused', 30_000);
    expect((await runsOf(RUN.id)).aligned.info.status).toBe('SCHEDULED');
  });

  it('writes what is not a number as such', async () => {
    const values = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1e-300];
    const sink = sinkOf([]);
    sink.offer(values.map((value, step) => ({ ...somePoints(step, 1)[0], value })));
    expect(await sink.close('completed', 30_000)).toEqual({ dropped: 0 });
    expect(await steps((await runsOf(RUN.id)).aligned, 'train/loss')).toEqual(counting(4));
  });

  it('drops what the server refuses and says why, once', async () => {
    const said: string[] = [];
    const sink = sinkOf(said);
    sink.offer([{ ...somePoints(0, 1)[0], at: -5 }]);
    await sink.idle();
    sink.offer(somePoints(1, 3));
    await sink.close('completed', 30_000);
    expect(sink.dropped).toBe(1);
    expect(said[0]).toMatch(/^MLflow refuses points of run-1: http:\/\/127.0.0.1:\d+ answers 400: /);
    expect(await steps((await runsOf(RUN.id)).aligned, 'train/loss')).toEqual([1, 2, 3]);
  });
});

describe('an address', () => {
  it('must be a server', () => {
    for (const uri of ['', 'databricks', 'file:///tmp/mlruns', '/tmp', 'sqlite:///x', 'http://'])
      expect(() => new MlflowTracker({ uri })).toThrow(/MLFLOW_TRACKING_URI/);
    expect(() => openTrackers({}, { MLFLOW_TRACKING_URI: 'secret-thing' })).toThrow(/^(?!.*secret-thing)/);
    expect(openTrackers({}, {})).toEqual([]);
    expect(openTrackers({ tensorboard: '/x' }, { MLFLOW_TRACKING_URI: 'http://x' }).map(({ name }) => name)).toEqual([
      'TensorBoard',
      'MLflow',
    ]);
  });

  it('keeps its secrets: they are sent to the server and said to nobody', async () => {
    const server = await startRules();
    const proxy = await startProxy(server.url);
    const said: string[] = [];
    const address = proxy.url.replace('http://', 'http://someone:hunter2@');
    const withToken = openTrackers({}, { MLFLOW_TRACKING_URI: proxy.url, MLFLOW_TRACKING_TOKEN: 'hunter2' })[0];
    for (const tracker of [withToken, new MlflowTracker({ uri: address })]) {
      expect(await tracker.open(RUN, never)).toBeInstanceOf(Had);
      proxy.fault('experiments/get-by-name', { status: 401 }, 'lose the request');
      const sink = new Sink(tracker, RUN, { say: (line) => said.push(line), ...FAST });
      sink.offer(somePoints(0, 1));
      await sink.close('completed');
    }
    const sent = new Set(proxy.seen.map(({ authorization }) => authorization));
    expect([...sent]).toEqual(['Bearer hunter2', `Basic ${Buffer.from('someone:hunter2').toString('base64')}`]);
    expect(said.join(' ')).toContain('check MLFLOW_TRACKING_TOKEN');
    expect(said.join(' ')).not.toContain('hunter2');
    await proxy.stop();
    const gone = new Sink(new MlflowTracker({ uri: address }), RUN, { say: (line) => said.push(line), ...FAST });
    gone.offer(somePoints(0, 1));
    expect(await gone.close('completed', 100)).toEqual({ dropped: 1 });
    expect(said.at(-2)).toMatch(/does not answer: (ECONNREFUSED|UND_ERR_SOCKET)/);
    expect(said.join(' ')).not.toContain('hunter2');
    await server.stop();
  });
});
