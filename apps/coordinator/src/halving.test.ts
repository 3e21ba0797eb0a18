// Successive halving against an example that was worked out by hand, and what the decisions must never do.

import { philox } from '@fovea/tensor/random';
import { expect, test } from 'vitest';
import { decide, type TrialState } from './halving.ts';

const options = { rungs: 3, eta: 2, parallel: 2, goal: 'max' } as const;

/** A sweep of so many points with one seed each, in memory: what it is told to do happens at once. */
class Bench {
  readonly trials: TrialState[];
  readonly said: string[] = [];
  readonly options: { rungs: number; eta: number; parallel: number; goal: 'max' | 'min' };

  constructor(points: number, given: Partial<Bench['options']> = {}, seeds = 1) {
    this.options = { ...options, ...given };
    this.trials = Array.from({ length: points * seeds }, (_, n) => {
      return { n, point: Math.floor(n / seeds), state: 'new', level: 0, scores: [] };
    });
  }

  /** Looks, does as told, and says it in short: `+0` begins, `0>1` goes on to rung 1, `-0` stays. */
  look(): string {
    const { start, advance, pause, isOver } = decide(this.trials, this.options);
    for (const trial of start) trial.state = 'going';
    for (const { trial, level } of advance) Object.assign(trial, { state: 'going', level });
    for (const trial of pause) trial.state = 'held';
    const said = [
      ...start.map(({ n }) => `+${n}`),
      ...advance.map(({ trial, level }) => `${trial.n}>${level}`),
      ...pause.map(({ n }) => `-${n}`),
      ...(isOver ? ['over'] : []),
    ].join(' ');
    this.said.push(said);
    return said;
  }

  /** A run reaches the rung that it trains to, or its end. */
  reach(n: number, score: number | null): string {
    const trial = this.trials[n];
    trial.scores[trial.level] = score;
    if (trial.level === this.options.rungs - 1) trial.state = 'done';
    return this.look();
  }
}

// Four points, two at a time, eta 2, three rungs. By hand, with n the points that have reached a rung and floor(n/2) of them
// going on: p0 (0.5) is first at rung 0, 1/2 -> none, p2 begins. p1 (0.7): 1 of 2 goes on, p1. p2 (0.6): 1 of 3, p1, which
// has gone; p3 begins. p1 reaches rung 1 (0.8): 0 of 1; rung 0: none; nothing is left to begin. p3 (0.9): 2 of 4: p3, p1.
// p3 at rung 1 (0.85): 1 of 2, p3, to the end; p2 and p0 and p1 stay for good.
test('promotes as worked out by hand', () => {
  const bench = new Bench(4);
  expect(bench.look()).toBe('+0 +1');
  expect(bench.reach(0, 0.5)).toBe('+2 -0');
  expect(bench.reach(1, 0.7)).toBe('1>1');
  expect(bench.reach(2, 0.6)).toBe('+3 -2');
  expect(bench.reach(1, 0.8)).toBe('-1');
  expect(bench.reach(3, 0.9)).toBe('3>1');
  expect(bench.reach(3, 0.85)).toBe('3>2');
  expect(bench.reach(3, 0.95)).toBe('over');
});

test('a point that was passed over goes on once others make it one of the best', () => {
  const bench = new Bench(4, { parallel: 1 });
  bench.look();
  expect(bench.reach(0, 0.5)).toBe('+1 -0');
  expect(bench.reach(1, 0.4)).toBe('0>1 -1');
  expect(bench.trials[0].state).toBe('going');
});

test('the least is best where the goal says so, and ties go to the earlier point', () => {
  const bench = new Bench(4, { parallel: 4, goal: 'min' });
  bench.look();
  bench.reach(0, 0.3);
  bench.reach(1, 0.3);
  expect(bench.trials.map(({ level }) => level)).toEqual([1, 0, 0, 0]);
  bench.reach(2, 0.5);
  bench.reach(3, 0.1);
  expect(bench.trials.map(({ level }) => level)).toEqual([1, 0, 0, 1]);
});

test('runs that are lost or give no number count at their rung and never go on', () => {
  const bench = new Bench(4, { parallel: 4 });
  bench.look();
  bench.trials[0].state = 'lost';
  expect(bench.reach(1, null)).toBe('-1');
  expect(bench.reach(2, 0.1)).toBe('2>1');
  expect(bench.reach(3, 0.05), 'two of four').toBe('3>1');
  bench.trials[2].state = 'lost';
  bench.trials[3].state = 'lost';
  expect(bench.look()).toBe('over');
});

test('seeds of a point go on together, by their mean, though only one fits at a time', () => {
  const bench = new Bench(2, { rungs: 2, parallel: 1 }, 2);
  expect(bench.look()).toBe('+0');
  for (const n of [0, 1, 2]) bench.reach(n, [0.9, 0.1, 0.4][n]);
  expect(bench.reach(3, 0.4), 'means 0.5 and 0.4').toBe('0>1 -3');
  expect(bench.reach(0, 0.9)).toBe('1>1');
  expect(bench.reach(1, 0.2)).toBe('over');
});

test('with one rung, runs are started one after another and end by themselves', () => {
  const bench = new Bench(3, { rungs: 1, parallel: 2 });
  expect(bench.look()).toBe('+0 +1');
  bench.trials[1].state = 'held';
  expect(bench.look(), 'an operator paused one').toBe('+2');
  for (const n of [0, 2]) bench.trials[n].state = 'done';
  expect(bench.look(), 'which may be resumed').toBe('');
  bench.trials[1].state = 'lost';
  expect(bench.look()).toBe('over');
});

test.each([0, 1, 2, 3, 4])('whatever order runs end in, a search ends with its best at the top (%i)', (seed) => {
  const bench = new Bench(16, { parallel: 3, eta: 2, rungs: 4 });
  const rng = philox(seed, 'halving');
  const worth = bench.trials.map(() => rng.uniform());
  bench.look();
  for (let i = 0; bench.said.at(-1) !== 'over'; i++) {
    expect(i).toBeLessThan(100);
    const going = bench.trials.filter(({ state, level, scores }) => state === 'going' && scores[level] === undefined);
    expect(going.length).toBeGreaterThan(0);
    expect(going.length).toBeLessThanOrEqual(3);
    const next = going[rng.int(going.length)];
    if (next.level < 3 && rng.uniform() < 0.1) bench.look();
    bench.reach(next.n, worth[next.n]);
  }
  const best = worth.indexOf(Math.max(...worth));
  expect(bench.trials[best].state).toBe('done');
  for (const [level, least] of [8, 4, 2].entries())
    expect(bench.trials.filter((trial) => trial.level > level).length).toBeGreaterThanOrEqual(least);
});
