import { JOB_VERSION, type JobData } from '@fovea/jobs';
import { expect, test } from 'vitest';
import { reasonOf } from './failure.ts';

const round = {
  track: 'aligned' as const,
  round: 3,
  stage: 'align' as const,
  stageIndex: 1,
  firstStep: 100,
  steps: 50,
  scored: false,
};
const base = { version: JOB_VERSION as 2, run: 'smoke-1', session: 1 };
const shard = {
  ...base,
  kind: 'shard' as const,
  round,
  base: 'a'.repeat(64),
  shard: { index: 1, of: 2 },
} satisfies JobData;

const failed = (failedReason: string, data: unknown = shard, attemptsMade = 3) =>
  reasonOf({ id: 'shard-3', data, failedReason, attemptsMade });

test("a user's error stands for itself", () => {
  expect(failed('FoveaError: The disk is full.')).toEqual({ message: 'The disk is full.', user: true, stale: false });
});

test('an engine that is killed again and again names its shard and the mend', () => {
  expect(failed('the engine process was ended by SIGKILL (is the machine out of memory?)').message).toBe(
    "Shard 2 of 2 of round 3 of aligned could not be done: the engine process was ended by SIGKILL (is the machine out of memory?) in the last of 3 attempts; see the workers' logs, and give them more memory or the recipe smaller batches, then resume the run.",
  );
});

test('a job that killed every worker says so in words of ours', () => {
  const { message } = failed('job started more than allowable limit', { ...base, kind: 'report' }, 0);
  expect(message).toMatch(
    /^The report could not be done: every worker that took it up died before it came to an end; /,
  );
});

test('data that is not a job of ours is called by its id', () => {
  expect(failed('no', { kind: 'garbage' }, 1).message).toMatch(/^The job shard-3 could not be done: no; /);
});

test('a stale job is known as one', () => {
  expect(failed('Stale: session 1 of the run is over').stale).toBe(true);
});
