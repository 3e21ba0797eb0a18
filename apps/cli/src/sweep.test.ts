// Sweeps through the command line over a real fleet: a search by successive halving while its coordinator is killed, and
// a control matrix; what `show` says is computed anew here from the store.

import { readdirSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { committedRounds, listRuns, readRun, readSweep, sweepStatus, trialsOf } from '@fovea/jobs';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { until } from '../test-fixtures/cli.ts';
import { TestFleet } from '../test-fixtures/fleet.ts';
import type { SweepSummary } from './sweep-summary.ts';

let dir: string;
let fleet: TestFleet;

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'fovea-sweep-'));
  fleet = await TestFleet.open(dir);
  fleet.coordinator();
  fleet.worker('train', 'train-a');
  fleet.worker('eval', 'eval-a');
  await fleet.workers(2);
}, 120_000);
afterEach(async (context) => {
  if (context.task.result?.state === 'fail') console.error((await readFile(fleet.log, 'utf8')).slice(-6000));
});
afterAll(async () => {
  await fleet.close();
  await rm(dir, { recursive: true, force: true });
});

async function submit(name: string, sweep: object): Promise<string> {
  await writeFile(path.join(dir, `${name}.yaml`), JSON.stringify({ name, recipe: 'tiny.yaml', ...sweep }));
  const { code, out, err } = await fleet.fovea('sweep', `${name}.yaml`);
  expect(err).toBe('');
  expect(code).toBe(0);
  return out.trim();
}

const ends = (id: string, status: string) =>
  until(async () => (await sweepStatus(fleet.store, id)) === status, `${id} to be ${status}`);
const show = async (id: string): Promise<SweepSummary> =>
  JSON.parse((await fleet.fovea('sweep', 'show', id, '--json')).out);
const retention = { suite: 'retention', split: 'id', metric: 'top1' };

test('a search by halving lets the best go on, whenever its coordinator is killed', async () => {
  fleet.home.fault('at-sweep-noted', 'kill');
  fleet.home.fault('at-sweep-promoted', 'kill');
  const id = await submit('lr', {
    set: { 'stages.align.roundSteps': 5 },
    roles: ['aligned'],
    space: { 'stages.align.lr': { min: 1e-5, max: 1e-3, log: true } },
    search: { kind: 'asha', samples: 4, eta: 2, seed: 2 },
    metric: { ...retention, against: null },
    parallel: 2,
  });
  await ends(id, 'completed');
  expect(readdirSync(fleet.home.faults), 'both kills happened').toEqual([]);
  const { points, best, rungs } = await show(id);
  expect(rungs).toEqual([1, 2, 4]);
  expect(points.map(({ runs }) => runs[0].status).filter((status) => status === 'completed')).not.toEqual([]);
  const lr = ({ values }: SweepSummary['points'][number]) => values['stages.align.lr'] as number;
  // The small engine gets nearer the larger its step is.
  const winner = points.find((point) => point.id === best)!;
  expect(winner.rounds).toBe(4);
  expect(lr(winner)).toBe(Math.max(...points.map(lr)));
  for (const { runs, rounds } of points) {
    const run = await readRun(fleet.store, runs[0].run);
    const trained = (await committedRounds(fleet.store, run)).get('aligned')!.length;
    expect(trained, 'no round beyond its rung').toBe(rounds);
    expect(run.status).toBe(rounds === 4 ? 'completed' : 'paused');
    expect(runs[0].stoppedAt).toBe(rounds === 4 ? null : rounds);
  }
  const sweep = await readSweep(fleet.store, id);
  const own = (await listRuns(fleet.store)).filter((run) => run.id.startsWith(id)).map((run) => run.id);
  expect(own.sort()).toEqual(trialsOf(sweep).map(({ run }) => run));
  const { out } = await fleet.fovea('sweep', 'show', id);
  expect(out).toContain('n = 1');
  expect(out).toContain('stopped at 1');
}, 120_000);

test('a control matrix is seeds times roles, with intervals over the seeds', async () => {
  const id = await submit('matrix', {
    roles: ['aligned', 'control', 'placebo'],
    seeds: [1, 2, 3],
    metric: retention,
  });
  await ends(id, 'completed');
  const { points, roles } = await show(id);
  expect(points).toHaveLength(1);
  expect(points[0].runs.map(({ seed, status }) => [seed, status])).toEqual(
    [1, 2, 3].map((seed) => [seed, 'completed']),
  );
  const values = points[0].runs.map(({ value }) => value!);
  const mean = (values[0] + values[1] + values[2]) / 3;
  const half = (4.30265 * Math.sqrt(values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / 2)) / Math.sqrt(3);
  expect(points[0].estimate.n).toBe(3);
  expect(points[0].estimate.mean).toBeCloseTo(mean, 12);
  expect(points[0].estimate.ci![0]).toBeCloseTo(mean - half, 12);
  expect(roles.map(({ name }) => name)).toEqual([
    'aligned',
    'control',
    'placebo',
    'baseline',
    'aligned − control',
    'aligned − placebo',
    'aligned − baseline',
    'control − baseline',
    'placebo − baseline',
  ]);
  const meanOf = (name: string) => roles.find((role) => role.name === name)!.estimate.mean!;
  expect(meanOf('aligned − placebo')).toBeCloseTo(meanOf('aligned') - meanOf('placebo'), 12);
}, 120_000);

test('a sweep that is cancelled ends its runs and starts no more', async () => {
  fleet.home.fault('train-trunk-1', 'wait');
  const id = await submit('long', { seeds: [1, 2, 3, 4], metric: retention, parallel: 2 });
  await fleet.home.standsAt('train-trunk-1');
  expect((await fleet.fovea('sweep', 'cancel', id)).code).toBe(0);
  await ends(id, 'cancelled');
  fleet.home.lift('train-trunk-1');
  const runs = (await listRuns(fleet.store)).filter((run) => run.id.startsWith(id));
  expect(runs.map(({ status }) => status)).toEqual(['cancelled', 'cancelled']);
  const again = await fleet.fovea('sweep', 'cancel', id);
  expect(again).toMatchObject({ code: 2, err: expect.stringContaining('is cancelled') });
  expect(JSON.parse((await fleet.fovea('sweep', 'list', '--json')).out)[0]).toMatchObject({
    id,
    status: 'cancelled',
    runs: 4,
  });
}, 90_000);

test('a sweep with a point that is no recipe submits nothing', async () => {
  const file = path.join(dir, 'bad.yaml');
  await writeFile(
    file,
    'name: bad\nrecipe: tiny.yaml\nspace: { stages.align.lr: [0.001, -1] }\nmetric: { suite: retention }\n',
  );
  const { code, err } = await fleet.fovea('sweep', file);
  expect(code).toBe(2);
  expect(err).toContain('stages.2.lr');
  expect((await fleet.store.listRefs('sweeps')).filter((ref) => ref.includes('bad'))).toEqual([]);
}, 120_000);
