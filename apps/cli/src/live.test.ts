import { Writable } from 'node:stream';
import type { RunEvent, RunRecord } from '@fovea/jobs';
import { expect, test } from 'vitest';
import { recipe } from '../../../packages/jobs/test-fixtures/run.ts';
import { duration, LiveView, number, picture } from './live.ts';
import { RunProgress } from './progress.ts';

const run = { id: 'tiny-1', recipe } as RunRecord;

const step = (track: string, round: number, stage: string, step: number, stepsBefore = 0): RunEvent => ({
  type: 'progress',
  kind: 'train',
  track,
  round,
  stage,
  stepsBefore,
  step,
  steps: 10,
  loss: 0.5,
  imagesPerSecond: 640,
});
const committed = (track: string, round: number, stage: string): RunEvent => ({
  type: 'committed',
  track,
  round,
  stage,
  checkpoint: 'abcdef0123456789',
  step: 10,
  steps: 10,
  seconds: 1,
  imagesPerSecond: 640,
  lossFirst: 1,
  lossLast: 0.5,
  gap: null,
});
const score = (track: string, round: number, at: number): RunEvent => ({
  type: 'progress',
  kind: 'score',
  track,
  round,
  step: at,
  steps: 4,
  text: 'retention',
});
const scored = (track: string, round: number): RunEvent => ({
  type: 'scored',
  track,
  round,
  role: track,
  scorecard: 'x',
  cached: false,
});

/** A stream that keeps what is written. */
function screen(tty: boolean): NodeJS.WriteStream & { text: string } {
  const out = new Writable({
    write(chunk, _encoding, done) {
      screen.text += chunk;
      done();
    },
  }) as unknown as NodeJS.WriteStream & { text: string };
  const screen = Object.assign(out, { text: '', isTTY: tty, columns: 60 });
  return screen;
}

test('progress knows stage, share, time left and the eval queue', () => {
  const progress = new RunProgress(run);
  expect(progress).toMatchObject({ current: null, share: 0, eta: null, scoresInAll: 5, scoresWaiting: 0 });
  progress.apply(step('trunk', 1, 'pretrain', 5), 0);
  expect(progress.current).toMatchObject({
    stage: 'pretrain',
    round: 1,
    rounds: 1,
    step: 5,
    steps: 10,
    loss: 0.5,
    imagesPerSecond: 640,
  });
  // 5 of 60 steps; 55 steps of 64 pictures at 640 a second.
  expect(progress.share).toBeCloseTo(5 / 60);
  expect(progress.eta).toBeCloseTo(5.5);
  for (const [round, stage] of [
    [1, 'pretrain'],
    [2, 'projector'],
  ] as const)
    progress.apply(committed('trunk', round, stage), 1);
  expect(progress.scoresWaiting).toBe(1);
  progress.apply(score('trunk', 2, 1), 2);
  expect(progress.scoring).toEqual({ role: 'baseline', round: 2, text: 'retention 25 %' });
  progress.apply(step('aligned', 1, 'align', 3, 10), 3);
  expect(progress.current).toMatchObject({ track: 'aligned', round: 2, rounds: 2, step: 13, steps: 20 });
  progress.apply(scored('trunk', 2), 4);
  expect(progress).toMatchObject({ scored: 1, scoresWaiting: 0, scoring: null });
  progress.apply(scored('trunk', 2), 4);
  expect(progress.scored).toBe(1);
});

test('progress begins where the store is', () => {
  const rounds = [{ round: { track: 'trunk', round: 1, steps: 10 }, record: {} }] as never;
  expect(new RunProgress(run, new Map([['trunk', rounds]])).share).toBeCloseTo(10 / 60);
});

test('without a terminal: milestones at once, steps every three seconds, no escape codes', () => {
  const out = screen(false);
  let now = 0;
  const view = new LiveView({ out, env: {}, now: () => now });
  view.start(new RunProgress(run));
  for (let i = 1; i <= 8; i++) {
    view.apply(step('trunk', 1, 'pretrain', i));
    now += 1;
  }
  view.apply(committed('trunk', 1, 'pretrain'));
  view.apply({ type: 'retrying', kind: 'shard', job: 'shard-trunk-2-0', attempt: 1, message: 'the engine ended' });
  view.stop();
  expect(out.text).not.toContain('\x1b');
  const lines = out.text.trim().split('\n');
  expect(lines).toHaveLength(5);
  expect(lines[0]).toBe('pretrain round 1/1 step 1/10 · loss 0.500 · 640 images/s · evals 0/5 done · 5.9 s left');
  expect(lines[3]).toBe('pretrain: round 1 committed as abcdef012345 (10 steps in 1 s, loss 1.00 → 0.500)');
  expect(lines[4]).toBe('shard-trunk-2-0 failed and is tried again: the engine ended');
});

test('on a terminal the picture is redrawn in place and no line is too wide; NO_COLOR takes the colours away', () => {
  const draw = (env: NodeJS.ProcessEnv) => {
    const out = screen(true);
    const view = new LiveView({ out, env });
    view.start(new RunProgress(run));
    view.apply(step('aligned', 1, 'align', 3, 10));
    view.note('a note that stays');
    view.stop();
    return out.text;
  };
  const plain = draw({ NO_COLOR: '1' });
  expect(plain).toMatch(
    /^a note that stays\n {2}run {5}tiny-1\n {2}stage {3}align aligned · round 2\/2 · step 13\/20\n/,
  );
  expect(Math.max(...plain.split('\n').map((line) => line.length))).toBeLessThan(60);
  expect(draw({})).toContain('\x1b[33ma note that stays\x1b[0m');
  expect(picture(new RunProgress(run), 10)[2]).toEqual(['all', '░░░░░░░░░░ 0 %']);
});

test.each([
  [0.04, '0.0 s'],
  [7.25, '7.3 s'],
  [8, '8 s'],
  [59.4, '59 s'],
  [60, '1 min'],
  [130, '2 min 10 s'],
  [3900, '1 h 5 min'],
])('%d s is %s', (seconds, text) => {
  expect(duration(seconds)).toBe(text);
});

test.each([
  [null, '–'],
  [Number.NaN, '–'],
  [0, '0'],
  [0.12345, '0.123'],
  [812.6, '813'],
  [12345, '12345'],
  [1.2e-5, '1.20e-5'],
])('%d is %s', (value, text) => {
  expect(number(value)).toBe(text);
});
