// A run that keeps little, on a store that is collected all the while: it is paused, taken up again after Redis lost
// everything, and ends with the checkpoints of a run that nothing disturbed. Real processes, the small engine.

import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { collectGarbage, hasCheckpoint } from '@fovea/artifacts';
import { keptCheckpoints, purge, type RunRecord, readReport, readScores } from '@fovea/jobs';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { recipe as tiny } from '../../../packages/jobs/test-fixtures/run.ts';
import { TestFleet } from '../test-fixtures/fleet.ts';

/** What is put is named within this here; a day in earnest. */
const MIN_AGE_MS = 4000;
const stages = tiny.stages.map((stage) => (stage.stage === 'align' ? { ...stage, roundSteps: 5 } : stage));

let dir: string;
let fleet: TestFleet;

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'fovea-keep-'));
  fleet = await TestFleet.open(dir, { FOVEA_FIXTURE_STEP_MS: '20', FOVEA_GC_HOURS: '0' });
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

const checkpoints = async (run: RunRecord) => new Map(Object.entries(await fleet.checkpoints(run)));

const collect = async (minAge: number) =>
  collectGarbage(fleet.store, { keep: await keptCheckpoints(fleet.store), minAge, now: Date.now() });

/** Collects until it is told to stop, and says how many blobs were removed. */
function collecting(): () => Promise<number> {
  let isOn = true;
  const removed = (async () => {
    let count = 0;
    for (; isOn; await new Promise((resolve) => setTimeout(resolve, 100)))
      count += (await collect(MIN_AGE_MS)).removed.blobs;
    return count;
  })();
  return () => {
    isOn = false;
    return removed;
  };
}

/** Runs it undisturbed with everything kept, and then takes all of it out of the store. */
async function undisturbed(): Promise<Map<string, string>> {
  const run = await fleet.submit({ stages });
  await fleet.reaches(run, 'completed');
  const found = await checkpoints(run);
  for (const ref of await fleet.store.listRefs('')) await fleet.store.removeRef(ref);
  await collect(0);
  await collect(0);
  expect(await fleet.store.has(found.get('trunk/0')!)).toBe(false);
  return found;
}

test('what a run needs is never collected, and what it keeps no more is', async () => {
  const expected = await undisturbed();
  const stop = collecting();
  for (const fault of ['train-aligned-2', 'train-control-1']) fleet.home.fault(fault, 'wait');
  const run = await fleet.submit({ stages, keep: { last: 1, best: false, every: null } });
  await fleet.home.standsAt('train-aligned-2');
  expect((await fleet.fovea('runs', 'pause', run.id)).code).toBe(0);
  await fleet.reaches(run, 'paused');
  fleet.home.lift('train-aligned-2');
  // Longer than blobs stay that nothing names.
  await new Promise((resolve) => setTimeout(resolve, 2.5 * MIN_AGE_MS));
  expect((await fleet.fovea('runs', 'resume', run.id)).code).toBe(0);
  await fleet.home.standsAt('train-control-1');
  await purge(fleet.fleet.redis, fleet.fleet.prefix);
  expect((await fleet.fovea('runs', 'rebuild')).code).toBe(0);
  fleet.home.lift('train-control-1');
  expect(await fleet.reaches(run, 'completed')).toMatchObject({ session: 3 });
  await new Promise((resolve) => setTimeout(resolve, 2.5 * MIN_AGE_MS));
  expect(await stop()).toBeGreaterThan(0);
  const found = await checkpoints(run);
  expect(found).toEqual(expected);
  const kept = await Promise.all(
    [...found].map(async ([place, id]) => ((await hasCheckpoint(fleet.store, id)) ? [place] : [])),
  );
  expect(kept.flat()).toEqual(['trunk/2', 'aligned/3', 'control/3']);
  expect(await readScores(fleet.store, run.id)).toHaveLength(9);
  expect(await readReport(fleet.store, run.id)).not.toBeNull();
  const verified = await fleet.fovea('store', 'verify');
  expect(verified.err).toBe('');
  expect(verified.out).toContain('is whole');
}, 240_000);

test('weights that are gone are a sentence, and a completed run stays as it is', async () => {
  const [run] = JSON.parse((await fleet.fovea('runs', '--json')).out);
  const gone = run.checkpoints.find(
    (each: { track: string; round: number }) => each.track === 'aligned' && each.round === 0,
  );
  expect(gone.pruned).toBe(true);
  expect(run.checkpoints.at(-1).pruned).toBe(false);
  const home = { FOVEA_HOME: dir };
  const evaluated = await fleet.home.fovea(['eval', '--checkpoint', gone.id], home).ended;
  expect(evaluated).toMatchObject({ code: 2, err: expect.stringContaining('are gone: the run') });
  expect((await fleet.fovea('runs', 'rebuild', run.id)).code).toBe(0);
  expect(JSON.parse((await fleet.fovea('runs', '--json')).out)[0]).toMatchObject({ id: run.id, status: 'completed' });
}, 120_000);
