// Why a job failed for good, as its user should read it: what was being done, what happened, and what mends it. A user's
// error is such a sentence already.

import { failureOf, type JobData, jobDataSchema } from '@fovea/jobs';
import type { Job } from 'bullmq';

export interface Reason {
  message: string;
  user: boolean;
  /** Only out of date: the job may be queued anew. */
  stale: boolean;
}

/** What BullMQ says of a job that was taken up `maxStartedAttempts` times and never ended. */
const STARTED_TOO_OFTEN = /started more than allowable limit/;
const KILLED = /ended by SIGKILL/;
const HUNG = /said nothing for/;

export function reasonOf(job: Pick<Job, 'id' | 'data' | 'failedReason' | 'attemptsMade'>): Reason {
  const { message, user, stale } = failureOf(job.failedReason || 'it failed without a word');
  if (user) return { message, user, stale };
  const [said] = message.split('\n');
  const times = job.attemptsMade > 1 ? ` in the last of ${job.attemptsMade} attempts` : '';
  const why = STARTED_TOO_OFTEN.test(said)
    ? 'every worker that took it up died before it came to an end'
    : `${said.replace(/[.;]$/, '')}${times}`;
  const data = jobDataSchema.safeParse(job.data);
  const what = data.success ? subjectOf(data.data) : `The job ${job.id}`;
  return { message: `${what} could not be done: ${why}; ${mendOf(said)}, then resume the run.`, user, stale };
}

/** `Round 3 of aligned`, `Shard 1 of 2 of round 3 of aligned`, `The score of round 3 of aligned`. */
function subjectOf(data: JobData): string {
  if (data.kind === 'report') return 'The report';
  if (data.kind === 'score') return `The score of round ${data.round} of ${data.track}`;
  const round = `round ${data.round.round} of ${data.round.track}`;
  if (data.kind === 'merge') return `The merge of ${round}`;
  const { index, of } = data.shard;
  return of === 1 ? `Round ${data.round.round} of ${data.round.track}` : `Shard ${index + 1} of ${of} of ${round}`;
}

function mendOf(said: string): string {
  if (STARTED_TOO_OFTEN.test(said) || KILLED.test(said))
    return "see the workers' logs, and give them more memory or the recipe smaller batches";
  if (HUNG.test(said)) return "raise engine.hangTimeout where a step may take that long, or mend the worker's device";
  return "the whole error stands in the run's log; mend its cause";
}
