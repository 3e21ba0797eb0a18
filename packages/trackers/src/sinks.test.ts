// A sink with trackers that misbehave in every way: none of it reaches whoever offers points.

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Sink, type SinkOptions } from './sinks.ts';
import { somePoints, until } from './testing.ts';
import { Had, type Point, type TrackedRun, type Tracker, TrackerBusy, TrackerRefusal } from './tracker.ts';

const RUN: TrackedRun = { id: 'tracked-1', name: 'tracked', createdAt: 0, params: {} };

/** Keeps points in memory and does `fault` before or after it keeps some. */
class Notebook implements Tracker {
  readonly name = 'Notebook';
  readonly kept: Point[] = [];
  readonly closed: string[] = [];
  opened = 0;
  calls = 0;
  fault: (when: 'open' | 'before' | 'half' | 'after' | 'close') => unknown = () => undefined;

  async open() {
    this.opened++;
    await this.fault('open');
    const had = new Had();
    for (const point of this.kept) had.add(point);
    return had;
  }

  async log(points: readonly Point[]) {
    this.calls++;
    await this.fault('before');
    const half = Math.ceil(points.length / 2);
    this.kept.push(...points.slice(0, half));
    await this.fault('half');
    this.kept.push(...points.slice(half));
    await this.fault('after');
  }

  async close(outcome: string) {
    await this.fault('close');
    this.closed.push(outcome);
  }

  get steps() {
    return this.kept.map((point) => point.step);
  }
}

const forever = () => new Promise<never>(() => undefined);
const upTo = (n: number) => Array.from({ length: n }, (_, i) => i);

let unhandled: unknown[];
const note = (error: unknown) => unhandled.push(error);
beforeEach(() => {
  unhandled = [];
  process.on('unhandledRejection', note);
});
afterEach(async () => {
  await new Promise((resolve) => setTimeout(resolve, 20));
  process.off('unhandledRejection', note);
  expect(unhandled).toEqual([]);
});

function sinkOf(tracker: Tracker, options: Partial<SinkOptions> = {}) {
  const said: string[] = [];
  const sink = new Sink(tracker, RUN, { say: (line) => said.push(line), retryMs: [2, 20], callMs: 200, ...options });
  return { sink, said };
}

describe('a sink', () => {
  it('delivers in order and ends the run', async () => {
    const book = new Notebook();
    const { sink, said } = sinkOf(book);
    for (const point of somePoints(0, 2500)) sink.offer([point]);
    expect(await sink.close('completed')).toEqual({ dropped: 0 });
    expect(book.steps).toEqual(upTo(2500));
    expect(book.closed).toEqual(['completed']);
    expect(said).toEqual([]);
  });

  it('tells a run that had nothing to write how it ended', async () => {
    const book = new Notebook();
    const { sink } = sinkOf(book);
    sink.offer([]);
    await sink.idle();
    await sink.close('failed');
    expect([book.opened, book.closed]).toEqual([1, ['failed']]);
  });

  it.each(['open', 'before', 'half', 'after'] as const)('holds every point once where calls fail %s', async (where) => {
    const book = new Notebook();
    let left = 5;
    book.fault = (when) => {
      if (when === where && left-- > 0) throw new Error('no route');
    };
    const { sink, said } = sinkOf(book);
    sink.offer(somePoints(0, 1500));
    await sink.idle();
    sink.offer(somePoints(1000, 1000));
    await sink.close('completed');
    expect(book.steps).toEqual(upTo(2000));
    expect(said).toEqual([
      'Notebook cannot be written to (no route); the run goes on, and its points wait.',
      'Notebook is back; what it missed is being sent.',
    ]);
  });

  it('gives up a call that hangs, and goes on when it no longer does', async () => {
    const book = new Notebook();
    book.fault = (when) => (when === 'before' && book.calls < 3 ? forever() : undefined);
    const { sink, said } = sinkOf(book, { callMs: 30 });
    sink.offer(somePoints(0, 10));
    await sink.close('completed');
    expect(book.steps).toEqual(upTo(10));
    expect(said[0]).toContain('(no answer in 30 ms)');
  });

  it('does not mind a call that fails long after it was given up', async () => {
    const book = new Notebook();
    let fail = (_error: Error) => {};
    book.fault = (when) =>
      when === 'before' && book.calls === 1 ? new Promise((_, reject) => (fail = reject)) : undefined;
    const { sink } = sinkOf(book, { callMs: 20 });
    sink.offer(somePoints(0, 3));
    await sink.idle();
    fail(new Error('late'));
    expect(book.steps).toEqual(upTo(3));
  });

  it('closes in time whatever hangs, and says what was lost', async () => {
    for (const where of ['open', 'before', 'close'] as const) {
      const book = new Notebook();
      book.fault = (when) => (when === where ? forever() : undefined);
      const { sink, said } = sinkOf(book, { callMs: 60_000 });
      sink.offer(somePoints(0, 7));
      const start = performance.now();
      const { dropped } = await sink.close('completed', 150);
      expect(performance.now() - start).toBeLessThan(1000);
      expect(dropped).toBe(where === 'close' ? 0 : 7);
      expect(said.at(-1)).toMatch(where === 'close' ? /cannot be written to/ : /did not get 7 points of tracked-1\.$/);
      sink.offer(somePoints(7, 3));
      expect(sink.size).toBe(0);
    }
  });

  it('keeps the newest points within its bound while the tracker is away', async () => {
    const book = new Notebook();
    let away = true;
    book.fault = () => {
      if (away) throw new Error('ECONNREFUSED');
    };
    const { sink, said } = sinkOf(book, { bound: 5000 });
    global.gc?.();
    const before = process.memoryUsage().heapUsed;
    for (let step = 0; step < 100_000; step++) {
      sink.offer(somePoints(step, 1));
      if (step % 1000 === 0) {
        expect(sink.size).toBeLessThanOrEqual(5000);
        await new Promise((resolve) => setImmediate(resolve));
      }
    }
    global.gc?.();
    // 5000 points of some 100 bytes; the margin is for garbage where gc() cannot be called.
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(64 * 2 ** 20);
    expect(sink.dropped).toBe(95_000);
    away = false;
    const { dropped } = await sink.close('completed');
    expect(dropped).toBe(95_000);
    expect(book.kept).toHaveLength(5000);
    expect(book.steps.at(-1)).toBe(99_999);
    expect(said.filter((line) => line.includes('cannot be written'))).toHaveLength(1);
    expect(said.at(-1)).toBe('Notebook did not get 95000 points of tracked-1.');
  });

  it('drops what is refused, goes on with the rest, and waits as long as it is asked to', async () => {
    const book = new Notebook();
    let busy = 0;
    book.fault = (when) => {
      if (when !== 'before') return;
      if (book.calls === 1) throw new TrackerRefusal('a bad name');
      if (book.calls === 2) busy = performance.now();
      if (book.calls === 2) throw new TrackerBusy('429', 120);
    };
    const { sink, said } = sinkOf(book, { retryMs: [2, 1000], random: () => 1 });
    sink.offer(somePoints(0, 1001));
    await sink.idle();
    expect(performance.now() - busy).toBeGreaterThan(100);
    expect(book.steps).toEqual([1000]);
    expect(sink.dropped).toBe(1000);
    expect(said[0]).toBe('Notebook refuses points of tracked-1: a bad name.');
  });

  it('fails alone', async () => {
    const [good, bad] = [new Notebook(), new Notebook()];
    bad.fault = forever;
    const sinks = [sinkOf(good).sink, sinkOf(bad, { callMs: 60_000 }).sink];
    for (const sink of sinks) sink.offer(somePoints(0, 5));
    await until(() => good.kept.length === 5);
    expect(sinks[1].size).toBe(5);
    await Promise.all(sinks.map((sink) => sink.close('stopped', 100)));
    expect(good.closed).toEqual(['stopped']);
  });
});
