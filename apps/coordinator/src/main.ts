// The coordinator's process: reconciles whenever a job ends and once a second besides, writes how the run ended into
// the store, and exits.

import { isUserError } from '@fovea/artifacts';
import {
  bullmq,
  EVAL_QUEUE,
  type ProcessContext,
  prefixOf,
  publishEvent,
  runProcess,
  TRAIN_QUEUE,
  timestamp,
  updateRun,
} from '@fovea/jobs';
import type { QueueEvents } from 'bullmq';
import { Bell } from './bell.ts';
import { type Outcome, Planner } from './planner.ts';

/** The planner looks at least this often, whatever Redis tells it. */
const POLL_MS = 1000;
/** Looks in a row that may go wrong, as while Redis restarts, before the run fails. */
const PATIENCE = 20;

await runProcess(async (context) => {
  const bell = new Bell(POLL_MS);
  context.signal.addEventListener('abort', () => bell.ring(), { once: true });
  const events = await listen(context, () => bell.ring());
  const planner = new Planner({
    store: context.store,
    run: context.run,
    runDir: context.runDir,
    redis: context.redis,
    width: Number(process.env.FOVEA_TRAIN_WORKERS) || 1,
    scoreAfter: process.env.FOVEA_SCORE_AFTER === 'training' ? 'training' : 'commit',
  });
  const stopped = new Promise<null>((resolve) =>
    context.signal.addEventListener('abort', () => resolve(null), { once: true }),
  );
  const outcome = await Promise.race([pursue(planner, bell, context.signal), stopped]);
  if (outcome === null) return;
  await conclude(context, outcome);
  await Promise.all([...events.map((each) => each.close()), planner.close()]);
});

/** Reconciles until the run has an end; null when the process is asked to stop. */
async function pursue(planner: Planner, bell: Bell, signal: AbortSignal): Promise<Outcome | null> {
  let faults = 0;
  while (!signal.aborted) {
    try {
      const outcome = await planner.reconcile();
      if (outcome.state !== 'working') return outcome;
      faults = 0;
    } catch (error) {
      if (isUserError(error)) return { state: 'failed', message: error.message, user: true };
      if (++faults > PATIENCE) throw error;
      console.error(`${timestamp()} reconcile: ${(error as Error).stack}`);
    }
    await bell.wait();
  }
  return null;
}

async function listen(context: ProcessContext, wake: () => void): Promise<QueueEvents[]> {
  const { QueueEvents } = bullmq();
  const events = [TRAIN_QUEUE, EVAL_QUEUE].map((queue) => {
    const each = new QueueEvents(queue, {
      connection: context.open(),
      prefix: prefixOf(context.run.id),
      lastEventId: '0-0',
    });
    each.on('completed', wake);
    each.on('failed', wake);
    each.on('error', (error) => console.error(`${timestamp()} queue events: ${error.message}`));
    return each;
  });
  await Promise.all(events.map((each) => each.waitUntilReady()));
  return events;
}

async function conclude({ store, run, redis }: ProcessContext, outcome: Outcome): Promise<void> {
  if (outcome.state === 'failed') {
    const error = { message: outcome.message, user: outcome.user };
    console.error(`${timestamp()} failed: ${error.message}`);
    await publishEvent(redis, run.id, { type: 'failed', ...error }).catch(() => undefined);
    await updateRun(store, run.id, { status: 'failed', error }, new Date());
  } else {
    console.log(`${timestamp()} completed`);
    await updateRun(store, run.id, { status: 'completed', error: null }, new Date());
    await publishEvent(redis, run.id, { type: 'completed' }).catch(() => undefined);
  }
}
