import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { REPORT, type TestFleet, testFleet, testTokens } from '../test-fixtures/fleet.ts';
import { serveApi } from './index.ts';

let dir: string;
let fleet: TestFleet;
let api: Awaited<ReturnType<typeof serveApi>>;
const { tokens, auth } = testTokens();
const log: string[] = [];
beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'fovea-api-'));
  fleet = await testFleet(dir);
  api = await serveApi({
    backend: fleet.backend,
    auth,
    port: 0,
    limits: { perIp: 1e6, perToken: 1e6 },
    roots: [dir],
    board: { queues: () => [fleet.queue] },
    log: { write: (line) => void log.push(line) },
  });
});
afterAll(async () => {
  await api.close();
  await fleet.close();
  await rm(dir, { recursive: true, force: true });
});

const call = (url: string, { token = tokens.admin, ...init }: RequestInit & { token?: string } = {}) =>
  fetch(api.url + url, { ...init, headers: { authorization: `Bearer ${token}`, ...init.headers } });
const get = async (url: string) => {
  const answer = await call(url);
  expect(answer.status, await answer.clone().text()).toBe(200);
  // biome-ignore lint/suspicious/noExplicitAny: JSON of any shape
  return answer.json() as Promise<any>;
};
test('a run is told from the store: its plan, rounds, checkpoints, scorecards, report', async () => {
  const { run } = fleet;
  const { runs, next } = await get('/v1/runs?status=running&limit=1000');
  expect(next).toBeNull();
  expect(runs.at(-1)).toMatchObject({ id: run.id, name: 'tiny', seed: 3, status: 'running' });
  const shown = await get(`/v1/runs/${run.id}`);
  expect(shown).toMatchObject({ control: { wants: 'run', priority: 100 }, recipe: { name: 'tiny' } });
  expect(JSON.stringify(shown)).not.toContain(dir);
  expect(shown.tracks).toContainEqual({
    track: 'aligned',
    committed: 2,
    rounds: 2,
    step: 20,
    checkpoint: expect.stringMatching(/^[0-9a-f]{64}$/),
  });
  const { rounds } = await get(`/v1/runs/${run.id}/rounds`);
  expect(rounds).toHaveLength(7);
  expect(rounds[0]).toMatchObject({ stage: 'init', committed: { lossFirst: 2, lossLast: 1 } });
  expect(rounds[0].committed.metrics).toBeUndefined();
  expect((await get(`/v1/runs/${run.id}/rounds?metrics=true`)).rounds[0].committed.metrics.loss).toEqual([2, 1]);
  const { checkpoints } = await get(`/v1/runs/${run.id}/checkpoints`);
  expect(checkpoints.at(-1)).toMatchObject({ id: fleet.checkpoint, track: 'control', round: 1 });
  expect(await get(`/v1/runs/${run.id}/scorecards`)).toEqual({
    scorecards: [{ scorecard: fleet.scorecard, checkpoint: fleet.checkpoint, role: 'aligned', round: 1 }],
  });
  expect(await get(`/v1/runs/${run.id}/summary`)).toEqual({ run: run.id, status: 'completed' });
  const report = await call(`/v1/runs/${run.id}/report`);
  expect(await report.text()).toBe(REPORT);
  expect(report.headers.get('content-security-policy')).toMatch(/^sandbox allow-scripts;/);
});
