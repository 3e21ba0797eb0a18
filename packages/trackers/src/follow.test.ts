// From records to points, and the loop that hands them on: complete and once whatever the tracker or the store does.

import { describe, expect, it } from 'vitest';
import { followRun, pointsOfRound, pointsOfScore } from './follow.ts';
import { StoredRun, testRecord, testRun, until } from './testing.ts';
import { Had, type Point, type TrackedRun, type Tracker } from './tracker.ts';

class Shelf implements Tracker {
  readonly name = 'Shelf';
  readonly kept: Point[] = [];
  run: TrackedRun | null = null;
  outcome: string | null = null;
  away = false;
  hangs = false;

  async open(run: TrackedRun) {
    await this.answer();
    this.run = run;
    const had = new Had();
    for (const point of this.kept) had.add(point);
    return had;
  }

  async log(points: readonly Point[]) {
    await this.answer();
    this.kept.push(...points);
  }

  async close(outcome: string) {
    await this.answer();
    this.outcome = outcome;
  }

  async answer() {
    if (this.hangs) await new Promise(() => undefined);
    if (this.away) throw new Error('away');
  }

  steps(series: string, track = 'aligned') {
    return this.kept.filter((point) => point.series === series && point.track === track).map(({ step }) => step);
  }
}

const upTo = (n: number) => Array.from({ length: n }, (_, i) => i + 1);

function options() {
  const said: string[] = [];
  return { said, say: (line: string) => said.push(line), retryMs: [2, 10] as const };
}

describe('the points', () => {
  it('of a round stand at its steps and times, each series once', () => {
    const points = pointsOfRound('aligned', testRecord(1, 108, 4));
    const of = (series: string) => points.filter((point) => point.series === series);
    expect(of('train/loss').map(({ step, value }) => [step, value])).toEqual([105, 106, 107, 108].map((n) => [n, n]));
    const end = Date.parse(testRecord(1, 108, 4).committedAt);
    expect(of('train/loss').map(({ at }) => at - end)).toEqual([-1500, -1000, -500, 0]);
    expect(of('train/grad_norm/encoder')).toEqual([
      { track: 'aligned', series: 'train/grad_norm/encoder', step: 108, value: 108.125, at: end },
    ]);
    expect(of('probe/gap').map(({ value }) => value)).toEqual([0.25]);
    expect(pointsOfRound('aligned', testRecord(2, 108, 4)).some(({ series }) => series === 'probe/gap')).toBe(false);
    expect(new Set(points.map(({ series, step }) => `${series} ${step}`)).size).toBe(points.length);
  });

  it('of a round without steps are none', () => {
    expect(pointsOfRound('trunk', testRecord(0, 0, 0))).toEqual([]);
  });

  it('of a round whose late shards were cut off are spread over its steps', () => {
    const record = testRecord(0, 12, 12);
    record.metrics.loss = record.metrics.loss.slice(0, 8);
    const steps = pointsOfRound('aligned', record).filter(({ series }) => series === 'train/loss');
    expect(steps.map(({ step }) => step)).toEqual([2, 3, 5, 6, 8, 9, 11, 12]);
  });

  it('of a scorecard are all its results; what is none is refused', () => {
    const results = [{ suite: 'retention', split: 'id', metric: 'top1', value: 0.5, n: 3 }];
    expect(pointsOfScore('aligned', testRecord(0, 7, 7), { results })).toMatchObject([
      { series: 'eval/retention/id/top1', step: 7, value: 0.5 },
    ]);
    expect(() => pointsOfScore('aligned', testRecord(0, 7, 7), { results: [{}] })).toThrow(/aligned at step 7/);
  });
});

describe('a follower', () => {
  it('hands on what is there and what comes, and describes the run', async () => {
    const [source, shelf, { said, ...rest }] = [await StoredRun.create(), new Shelf(), options()];
    await source.commit('aligned', 0, testRecord(0, 4, 4));
    const follower = followRun(testRun(), source, [shelf], rest);
    await until(() => shelf.steps('train/loss').length === 4);
    await source.commit('aligned', 1, testRecord(1, 8, 4));
    await source.score('aligned', 1, 0.5);
    for (let i = 0; i < 50; i++) follower.poke();
    await until(() => shelf.steps('eval/robustvqa/A/top1').length === 1);
    await source.score('aligned', 0, 0.25);
    await follower.close('completed');
    expect(shelf.steps('train/loss')).toEqual(upTo(8));
    expect(shelf.steps('eval/robustvqa/A/top1')).toEqual([8, 4]);
    expect(shelf.run?.params).toMatchObject({ name: 'tracked', 'stages.0.lr': '0.001', weights: 'null' });
    expect([shelf.outcome, said]).toEqual(['completed', []]);
    follower.poke();
    expect(shelf.kept).toHaveLength(new Set(shelf.kept.map((point) => JSON.stringify(point))).size);
  });

  it('loses nothing to a tracker that is away for longer than a queue is long', async () => {
    const [source, shelf, { said, ...rest }] = [await StoredRun.create(), new Shelf(), options()];
    shelf.away = true;
    const follower = followRun(testRun(), source, [shelf], { ...rest, bound: 1000 });
    for (let round = 0; round < 20; round++) {
      await source.commit('aligned', round, testRecord(round, 400 * (round + 1), 400));
      follower.poke();
    }
    shelf.away = false;
    await follower.close('completed', 30_000);
    expect(shelf.steps('train/loss')).toEqual(upTo(8000));
    expect(said.some((line) => line.includes('did not get'))).toBe(false);
  });

  it('ends in time beside a tracker that hangs, which gets the rest another day', async () => {
    const [source, good, bad, { said, ...rest }] = [await StoredRun.create(), new Shelf(), new Shelf(), options()];
    bad.hangs = true;
    for (let round = 0; round < 5; round++)
      await source.commit('aligned', round, testRecord(round, 4 * (round + 1), 4));
    const start = performance.now();
    await followRun(testRun(), source, [good, bad], rest).close('stopped', 400);
    expect(performance.now() - start).toBeLessThan(2000);
    expect([good.steps('train/loss'), good.outcome, bad.kept]).toEqual([upTo(20), 'stopped', []]);
    expect(said.at(-1)).toBe('What Shelf lacks is in the store; it is sent when the run is followed again.');
    bad.hangs = false;
    await followRun(testRun(), source, [bad], rest).close('completed');
    expect(bad.steps('train/loss')).toEqual(upTo(20));
  });

  it('waits for a store that is away and for a scorecard that is damaged', async () => {
    const [stored, shelf, { said, ...rest }] = [await StoredRun.create(), new Shelf(), options()];
    await stored.commit('aligned', 0, testRecord(0, 4, 4));
    await stored.score('aligned', 0, 0.5);
    await stored.score('baseline', 0, 0.25);
    await stored.commit('trunk', 0, testRecord(0, 0, 0));
    const [damaged] = await stored.scores();
    let away = true;
    const source = {
      rounds: async () => stored.rounds(),
      scores: async () => stored.scores(),
      scorecard: async (sha256: string) =>
        away && sha256 === damaged.scorecard ? { results: 'torn' } : stored.scorecard(sha256),
    };
    const follower = followRun(testRun(), source, [shelf], rest);
    for (let i = 0; i < 3; i++) {
      await until(() => said.length > 0 && shelf.steps('eval/robustvqa/A/top1', 'trunk').length > 0);
      follower.poke();
    }
    away = false;
    await follower.close('completed');
    expect(shelf.steps('train/loss')).toEqual(upTo(4));
    expect(shelf.steps('eval/robustvqa/A/top1')).toEqual([4]);
    expect(said).toHaveLength(1);
    expect(said[0]).toMatch(/^Shelf waits for the store \(/);
  });
});
