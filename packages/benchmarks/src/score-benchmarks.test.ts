// Benchmarks of a run's checkpoint over real files: what goes into the scorecard, what a killed worker keeps, and how two
// scorecards are paired.

import { access, cp, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { compareScorecards } from './compare.ts';
import { HashSubject, smallDraft } from './judging/testing.ts';
import { scorePlan } from './score.ts';
import { type BenchmarksRequest, scoreBenchmarks } from './score-benchmarks.ts';
import { type Scorecard, scorecardSchema } from './scorecard.ts';
import { readSuite } from './suite/read-suite.ts';
import type { Suite } from './suite/suite.ts';
import { writeSuite } from './suite/write-suite.ts';
import { drawnPlan, drawnSubject, evalConfig } from './testing.ts';

/** Each is asked two questions; there are 64 at most in a chunk. */
const PICTURES = 120;

let dir: string;
let suite: Suite;
beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'fovea-benchmarks-'));
  const folder = path.join(dir, 'suite');
  await writeSuite(folder, await smallDraft(path.join(dir, 'made'), PICTURES));
  await cp(path.join(dir, 'made'), path.join(folder, 'pictures'), { recursive: true });
  suite = await readSuite(folder);
});
afterAll(() => rm(dir, { recursive: true, force: true }));

const score = (subject: HashSubject, more: Partial<BenchmarksRequest> = {}) =>
  scoreBenchmarks({
    suites: [suite],
    subjects: [subject],
    folder: (key) => path.join(dir, 'evaluations', key),
    bootstrap: { count: 200, seed: 0 },
    now: () => new Date(),
    ...more,
  });

test('a scorecard holds the measures with intervals, every verdict, and leaves no folder behind', async () => {
  const { results, omitted, benchmarks } = await score(new HashSubject());
  expect(omitted).toEqual([]);
  const [card] = benchmarks;
  expect(card).toMatchObject({ name: 'small', kind: 'pope', subject: 'encoder', scorer: expect.stringMatching(/@1$/) });
  expect(card.items.ids).toHaveLength(2 * PICTURES);
  expect(Object.keys(card.items.splits).sort()).toEqual(['even', 'odd']);
  const even = results.find(({ split, metric }) => split === 'even' && metric === 'accuracy')!;
  const right = card.items.splits.even.filter((at) => card.items.correct[at] === 1).length;
  expect(even).toMatchObject({ suite: 'small', n: PICTURES, clusters: PICTURES / 2, value: right / PICTURES });
  expect(await readdir(path.join(dir, 'evaluations'))).toEqual([]);
});

test('what was answered before a stop is not asked again, and the card is the same', async () => {
  const whole = await score(new HashSubject());
  const stop = new AbortController();
  const first = new HashSubject();
  const stopped = score(first, { signal: stop.signal, progress: () => stop.abort(new Error('preempted')) });
  await expect(stopped).rejects.toThrow('preempted');
  const asked = first.calls.flat();
  expect(asked.length).toBeGreaterThan(0);
  expect(asked.length).toBeLessThan(2 * PICTURES);
  const second = new HashSubject();
  expect(await score(second)).toEqual(whole);
  expect(second.calls.flat()).toHaveLength(2 * PICTURES - asked.length);
});

test('a suite that nobody can answer is an omission with its reason', async () => {
  const mute = new HashSubject();
  mute.refuses = () => 'it reads no texts.';
  const omitted = [{ suite: 'small', split: 'all', reason: 'it reads no texts' }];
  expect(await score(mute)).toEqual({ results: [], omitted, benchmarks: [] });
  await expect(access(path.join(dir, 'evaluations', 'x'))).rejects.toThrow();
});

test('an encoder is not asked what it chose the wrong names of', async () => {
  const chosen = { ...suite, manifest: { ...suite.manifest, source: { foil: 'w' } } };
  const { omitted, benchmarks } = await score(new HashSubject('w'), { suites: [chosen] });
  expect(benchmarks).toEqual([]);
  expect(omitted[0].reason).toMatch(/chose/);
});

test('two scorecards are paired question by question, and only where they were asked alike', async () => {
  const plain = await scorePlan({
    plan: drawnPlan(),
    subject: await drawnSubject(1),
    checkpoint: 'c',
    role: 'baseline',
    eval: evalConfig,
    suites: ['retention'],
  });
  const withAnswers = async (weights: string): Promise<Scorecard> =>
    scorecardSchema.parse({ ...plain, benchmarks: (await score(new HashSubject(weights))).benchmarks });
  const [a, b] = [await withAnswers('a'), await withAnswers('b')];
  const rows = compareScorecards(a, b, { baseline: b }).filter(({ suite: name }) => name === 'small');
  expect(rows.map(({ split }) => split).sort()).toEqual(['even', 'odd']);
  const correct = (card: Scorecard) => card.benchmarks![0].items.correct;
  const even = rows.find(({ split }) => split === 'even')!;
  const wins = a.benchmarks![0].items.splits.even.filter((at) => correct(a)[at] > correct(b)[at]).length;
  expect(even).toMatchObject({ metric: 'accuracy', n: PICTURES, wins, verdict: 'inconclusive' });
  expect(even.wins! + even.losses!).toBe(even.nDiscordant);
  const others = structuredClone(b);
  others.benchmarks![0].manifest = '0'.repeat(64);
  expect(compareScorecards(a, others, { baseline: b }).some(({ suite: name }) => name === 'small')).toBe(false);
});
