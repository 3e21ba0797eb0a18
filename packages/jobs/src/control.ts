// What people want of a run: a small record in the store that operators write and the coordinator reads, and a channel
// that says at once that something changed. The channel may lose messages; the record does not.

import { FoveaError, type Store } from '@fovea/artifacts';
import type { Redis } from 'ioredis';
import { z } from 'zod';
import { type Fleet, keys, purge } from './fleet.ts';
import { recoverRun } from './recover.ts';
import { createRun, listRuns, parseRef, readRun } from './runs.ts';
import type { RunRecord } from './schemas.ts';

/** Lower goes first; a run that says nothing has this one. */
export const DEFAULT_PRIORITY = 100;
export const MAX_PRIORITY = 1000;

/** `runs/<id>/control.json` in the store. Runs without one belong to whoever started them. */
export const controlSchema = z.strictObject({
  version: z.literal(1),
  wants: z.enum(['run', 'pause', 'cancel']),
  /** The session that is wanted at least: one more than the last to start a run again. */
  session: z.int().min(1),
  /** Lower goes first. */
  priority: z.int().min(1).max(MAX_PRIORITY),
  /** The run fails if it has not ended by then; ISO 8601. */
  deadline: z.iso.datetime().nullable(),
  /** Rounds of each track of the align stage after which the run waits; absent where it goes on to its end. */
  rounds: z.int().min(1).optional(),
});
export type Control = z.infer<typeof controlSchema>;

export const controlRef = (runId: string) => `runs/${runId}/control.json`;

export type ControlMessage =
  /** Something about this run changed in the store. */
  | { type: 'run'; run: string }
  /** Workers stop what they do for this run; `back` gives the jobs back, else they end. */
  | { type: 'abort'; run: string; reason: string }
  /** The worker that has this job stops it at the next step, keeps what it has, and gives it back. */
  | { type: 'preempt'; job: string }
  /** The worker that has this job drops it: the round goes on without it. */
  | { type: 'cut'; job: string }
  /** A sweep was submitted or cancelled. */
  | { type: 'sweep'; sweep: string }
  /** A worker came or went. */
  | { type: 'workers' };

export async function sendControl({ redis, prefix }: Pick<Fleet, 'redis' | 'prefix'>, message: ControlMessage) {
  await redis.publish(keys.control(prefix), JSON.stringify(message));
}

/** Who only listens asks now and then whether the connection still is one. */
const PING_MS = 10_000;

/** Listens on a connection of its own, which can do nothing else from then on. */
export async function onControl(
  redis: Redis,
  prefix: string,
  heard: (message: ControlMessage) => void,
  pingMs = PING_MS,
): Promise<void> {
  redis.on('message', (_channel, text) => heard(JSON.parse(text) as ControlMessage));
  const ping = setInterval(() => void redis.ping().catch(() => undefined), pingMs);
  ping.unref();
  redis.once('end', () => clearInterval(ping));
  await redis.subscribe(keys.control(prefix));
}

/** Null where nobody but the process that started the run may decide about it. */
export async function readControl(store: Store, runId: string): Promise<Control | null> {
  const value = await store.readRef(controlRef(runId));
  return value === null ? null : parseRef(controlSchema, value, controlRef(runId));
}

export interface Submission
  extends Pick<RunRecord, 'recipe' | 'recipeHash' | 'recipeDir' | 'sources' | 'recipeText' | 'recipeSource'> {
  priority?: number;
  deadline?: string | null;
  /** See {@link Control}. */
  rounds?: number;
  /** Id to make the run under; submitting it again changes nothing. @default one that is free */
  id?: string;
}

/** Makes a run and hands it to the fleet's coordinator. */
export async function submitRun(
  fleet: Fleet,
  { priority, deadline, rounds, id, ...about }: Submission,
  now: Date,
): Promise<RunRecord> {
  const run = await createRun(fleet.store, about, now, 'submitted', id);
  const control: Control = {
    version: 1,
    wants: 'run',
    session: 1,
    priority: priority ?? DEFAULT_PRIORITY,
    deadline: deadline ?? null,
    ...(rounds !== undefined && { rounds }),
  };
  await fleet.store.createRef(controlRef(run.id), controlSchema.parse(control));
  await sendControl(fleet, { type: 'run', run: run.id });
  return run;
}

/** Stops a run after the steps that are being computed; what they did is kept. */
export async function pauseRun(fleet: Fleet, runId: string): Promise<void> {
  await change(fleet, runId, (control, run) => {
    if (isOver(run)) throw new FoveaError(`The run ${runId} is ${run.status}, so there is nothing to pause.`);
    return { ...control, wants: 'pause' };
  });
}

/**
 * Lets a paused, stopped, failed or cancelled run go on from its last checkpoint, or one that waits after its rounds: to
 * the end, or for as many rounds of each track as are given.
 */
export async function resumeRun(fleet: Fleet, runId: string, rounds?: number): Promise<void> {
  await change(fleet, runId, ({ rounds: _before, ...control }, run) => {
    if (run.status === 'completed')
      throw new FoveaError(`The run ${runId} is completed, so there is nothing to go on with.`);
    const isGoing = (run.status === 'running' || run.status === 'submitted') && control.wants === 'run';
    const until = rounds === undefined ? {} : { rounds };
    return { ...control, ...until, ...(!isGoing && { wants: 'run', session: run.session + 1 }) };
  });
}

/** Ends a run at once; its checkpoints stay. */
export async function cancelRun(fleet: Fleet, runId: string): Promise<void> {
  await change(fleet, runId, (control, run) => {
    if (run.status === 'completed')
      throw new FoveaError(`The run ${runId} is completed, so there is nothing to cancel.`);
    if (control.wants === 'cancel')
      throw new FoveaError(`The run ${runId} is cancelled already; nothing is left to cancel.`);
    return { ...control, wants: 'cancel' };
  });
}

/** Changes when a run's jobs are taken and by when it must have ended. */
export async function rankRun(
  fleet: Fleet,
  runId: string,
  changes: Partial<Pick<Control, 'priority' | 'deadline'>>,
): Promise<void> {
  await change(fleet, runId, (control) => ({ ...control, ...changes }));
}

async function change(fleet: Fleet, runId: string, to: (control: Control, run: RunRecord) => Control): Promise<void> {
  const run = await readRun(fleet.store, runId);
  const control = await readControl(fleet.store, runId);
  if (!control)
    throw new FoveaError(
      `The run ${runId} was started by \`fovea train\`, not submitted to a fleet: stop it where it runs, or \`fovea runs rebuild ${runId}\` hands it to this fleet.`,
    );
  const wanted = controlSchema.safeParse(to(control, run));
  if (!wanted.success) {
    const [issue] = wanted.error.issues;
    throw new FoveaError(`The run ${runId} cannot be changed: "${issue.path.join('.')}": ${issue.message}.`);
  }
  await fleet.store.writeRef(controlRef(runId), wanted.data);
  await sendControl(fleet, { type: 'run', run: runId });
}

const isOver = ({ status }: RunRecord) => status === 'completed' || status === 'failed' || status === 'cancelled';

/**
 * Takes runs up from the store alone, as after Redis lost everything: a run that has not ended, or the one that is named,
 * begins a new session, whoever drove it before. Rounds whose data is gone are forgotten and trained again; runs whose
 * record is damaged are left as they are, and told to `onDamaged`.
 */
export async function rebuildRuns(
  fleet: Fleet,
  runId?: string,
  onDamaged: (run: string, error: FoveaError) => void = () => {},
): Promise<{ run: string; dropped: string[] }[]> {
  const runs = runId === undefined ? await listRuns(fleet.store, onDamaged) : [await readRun(fleet.store, runId)];
  const rebuilt: { run: string; dropped: string[] }[] = [];
  for (const run of runs) {
    if (run.status === 'completed' || (runId === undefined && isOver(run))) continue;
    const dropped = await recoverRun(fleet.store, run);
    await purge(fleet.redis, fleet.prefix, run.id);
    const known = await readControl(fleet.store, run.id);
    const control: Control = {
      version: 1,
      priority: known?.priority ?? DEFAULT_PRIORITY,
      deadline: known?.deadline ?? null,
      wants: known?.wants === 'pause' && runId === undefined ? 'pause' : 'run',
      session: Math.max(run.session, known?.session ?? 1) + 1,
      ...(known?.rounds !== undefined && runId === undefined && { rounds: known.rounds }),
    };
    await fleet.store.writeRef(controlRef(run.id), controlSchema.parse(control));
    await sendControl(fleet, { type: 'run', run: run.id });
    rebuilt.push({ run: run.id, dropped });
  }
  return rebuilt;
}
