// Looks after the runs of a fleet: takes up what was submitted, does what operators want, lets each run's planner look,
// and writes how runs end. All that it knows can be read again from the store, so it may die at any moment.

import { isAway, isUserError } from '@fovea/artifacts';
import {
  type Control,
  type Fleet,
  faultPoint,
  JobBook,
  listWorkers,
  publishEvent,
  type RunEvent,
  type RunRecord,
  type RunStatus,
  readControl,
  readRun,
  recoverRun,
  runOfJob,
  runRef,
  sendControl,
  timestamp,
  updateRun,
  type WorkerInfo,
} from '@fovea/jobs';
import { withSpan } from '@fovea/trackers/traces';
import { Collector } from './collector.ts';
import type { Observer } from './observer.ts';
import { type Outcome, Planner } from './planner.ts';
import { Preemption } from './preemption.ts';
import { Retention } from './retention.ts';
import { Sweeper } from './sweeper.ts';
import { waitsFor } from './waits.ts';

export interface CoordinatorOptions {
  fleet: Fleet;
  /** The one run of a private fleet; null for all that were submitted. */
  only?: string | null;
  scoreAfter?: 'commit' | 'training';
  /** Told what happens; see `Observer`. */
  observer?: Observer | null;
  /** Milliseconds since 1970. */
  now?: () => number;
  /** Milliseconds of a clock that nobody sets, for what happens every so often. */
  elapsed?: () => number;
}

/** How a run's record looks once it does not go on. */
interface Ending extends Pick<RunRecord, 'error'> {
  status: 'paused' | 'cancelled' | 'failed' | 'completed';
  session?: number;
}

interface Going {
  planner: Planner;
  control: Control | null;
  /** What it waits for, as it was last said. */
  waits: string | null;
  /** Looks in a row that went wrong. */
  faults: number;
}

/** Everything is looked at anew at least this often, whatever was heard. */
const SWEEP_MS = 15_000;
/** Looks in a row that may go wrong, as while Redis restarts, before a run fails. */
const PATIENCE = 20;

export class Coordinator {
  readonly book: JobBook;
  readonly #options: Required<CoordinatorOptions>;
  readonly #going = new Map<string, Going>();
  /** Runs about which something was heard. */
  readonly #heard = new Set<string>();
  readonly #preemption: Preemption;
  readonly #sweeper: Sweeper;
  readonly #retention: Retention;
  readonly #collector: Collector;
  #workers: readonly WorkerInfo[] = [];
  #swept = Number.NEGATIVE_INFINITY;

  constructor(options: CoordinatorOptions) {
    this.#options = {
      only: null,
      scoreAfter: 'commit',
      observer: null,
      now: Date.now,
      elapsed: () => performance.now(),
      ...options,
    };
    this.book = new JobBook(options.fleet, (error) => console.error(`${timestamp()} queue: ${error.message}`));
    this.#preemption = new Preemption(options.fleet, this.book, this.#options.elapsed);
    this.#sweeper = new Sweeper(options.fleet, this.#options.now);
    this.#retention = new Retention(options.fleet, this.#options.now);
    this.#collector = new Collector(options.fleet.store, this.#retention, this.#options.now);
  }

  /** Ids of the runs that are going. */
  get running(): string[] {
    return [...this.#going.keys()];
  }

  get workers(): readonly WorkerInfo[] {
    return this.#workers;
  }

  /** Something about a run changed. */
  hear(runId: string): void {
    this.#heard.add(runId);
  }

  /** A job ended; a failed one is looked at even if it was thought to be queued well. */
  hearJob(id: string, failed: boolean): void {
    const run = runOfJob(id);
    if (failed) this.#going.get(run)?.planner.noticed(id);
    this.#heard.add(run);
  }

  /** The next look looks at everything, as when a worker came or Redis is back. */
  doubt(): void {
    this.#swept = Number.NEGATIVE_INFINITY;
  }

  /** One look at all that may have changed. Calls must not overlap. */
  async look(): Promise<void> {
    const now = this.#options.elapsed();
    const isSweep = now - this.#swept >= SWEEP_MS;
    this.#workers = await listWorkers(this.#options.fleet);
    const heard = new Set(this.#heard);
    this.#heard.clear();
    if (isSweep) {
      this.#swept = now;
      for (const id of await this.#ids()) heard.add(id);
      for (const { planner } of this.#going.values()) planner.doubt();
    }
    for (const id of heard) await this.#adopt(id);
    for (const [id, going] of this.#going) if (heard.has(id)) await this.#pursue(id, going);
    await this.#preemption.look(this.#workers);
    if (this.#options.only === null) await this.#sweeper.look(isSweep ? null : heard);
    this.#collector.look();
  }

  async close(): Promise<void> {
    await this.book.close();
  }

  async #ids(): Promise<string[]> {
    const { only, fleet } = this.#options;
    if (only !== null) return [only];
    const refs = await fleet.store.listRefs('runs');
    return refs.flatMap((ref) => /^runs\/([^/]+)\/control\.json$/.exec(ref)?.[1] ?? []);
  }

  /** Brings what we do about a run in line with what is wanted of it. */
  async #adopt(id: string): Promise<void> {
    const { fleet, only } = this.#options;
    const going = this.#going.get(id);
    try {
      const run = await readRun(fleet.store, id);
      const control = only === null ? await readControl(fleet.store, id) : null;
      if (only === null && control === null) return;
      const wants = control?.wants ?? 'run';
      if (wants === 'pause') return await this.#halt(run, 'paused');
      if (wants === 'cancel') return await this.#halt(run, 'cancelled');
      const session = Math.max(run.session, control?.session ?? 1);
      const isNew = run.status === 'submitted' || session > run.session;
      if (!isNew && run.status !== 'running') return await this.#leave(id);
      if (going && !isNew && going.planner.run.session === run.session) return this.#rank(going, control);
      await this.#begin(run, session, control, isNew);
    } catch (error) {
      // The store is away: no run's fault, and none can be looked at.
      if (isAway(error)) throw error;
      await this.#refuse(id, error as Error);
    }
  }

  /** What a person must mend is the run's end, if its record can say so; what may pass is tried again at once. */
  async #refuse(id: string, error: Error): Promise<void> {
    const { store } = this.#options.fleet;
    if (!isUserError(error)) {
      console.error(`${timestamp()} ${id}: ${error.stack}`);
      this.#heard.add(id);
      return;
    }
    try {
      if ((await store.readRef(runRef(id))) === null) return void this.#going.delete(id);
      const session = Math.max((await readRun(store, id)).session, (await readControl(store, id))?.session ?? 1);
      await this.#fail(id, error.message, true, { session });
    } catch {
      console.error(`${timestamp()} ${id}: ${error.message}`);
    }
  }

  async #begin(found: RunRecord, session: number, control: Control | null, isNew: boolean): Promise<void> {
    const { fleet, scoreAfter, now } = this.#options;
    if (isNew) {
      this.#retention.forget(found.id);
      await this.book.removeRun(found.id);
      for (const ref of await recoverRun(fleet.store, found))
        console.error(`${timestamp()} ${found.id}: ${ref} had lost its data and is trained again`);
    }
    const changes = { status: 'running', session, error: null } as const;
    const run = isNew ? await updateRun(fleet.store, found.id, changes, new Date(now())) : found;
    const planner = new Planner({ fleet, book: this.book, run, scoreAfter, now });
    if (control) planner.rank(control);
    this.#going.set(run.id, { planner, control, waits: null, faults: 0 });
  }

  /** Takes away what was queued for a run that does not go on, by us while we slept or by its last workers. */
  async #leave(id: string): Promise<void> {
    this.#going.delete(id);
    await this.book.removeRun(id);
  }

  /** Another priority takes hold with the jobs that are queued from now on. */
  #rank(going: Going, control: Control | null): void {
    going.control = control;
    if (control) going.planner.rank(control);
  }

  async #halt(run: RunRecord, to: 'paused' | 'cancelled'): Promise<void> {
    const { fleet } = this.#options;
    await this.#leave(run.id);
    const isOver: RunStatus[] =
      to === 'paused' ? ['paused', 'completed', 'failed', 'cancelled'] : ['cancelled', 'completed'];
    if (isOver.includes(run.status)) return;
    await sendControl(fleet, { type: 'abort', run: run.id, reason: `the run is ${to}` });
    await this.#end(run.id, { status: to, error: null }, { type: to });
  }

  async #pursue(id: string, going: Going): Promise<void> {
    const { fleet, now } = this.#options;
    const deadline = going.control?.deadline;
    if (deadline && now() > Date.parse(deadline)) {
      await sendControl(fleet, { type: 'abort', run: id, reason: 'its deadline has passed' });
      return this.#fail(id, `The run had not ended by its deadline ${deadline}; resume it with a later one.`, true);
    }
    try {
      const outcome = await withSpan('reconcile', undefined, { 'fovea.run': id }, () =>
        going.planner.reconcile(this.#workers),
      );
      going.faults = 0;
      this.#options.observer?.changed(going.planner.run, going.planner.committed);
      await this.#retention.look(going.planner.run, going.planner.committed);
      await this.#tell(id, going);
      if (outcome.state !== 'working') await this.#conclude(going.planner.run, outcome);
    } catch (error) {
      // The store is away: no run's fault, and none can be looked at.
      if (isAway(error)) throw error;
      if (isUserError(error)) return this.#fail(id, error.message, true);
      if (++going.faults > PATIENCE) throw error;
      console.error(`${timestamp()} ${id}: reconcile: ${(error as Error).stack}`);
      this.#heard.add(id);
    }
  }

  /** Says what the run waits for when that changes. */
  async #tell(id: string, going: Going): Promise<void> {
    const waits = waitsFor(going.planner.run, this.#workers);
    if (waits === going.waits) return;
    going.waits = waits;
    const { fleet } = this.#options;
    await publishEvent(fleet, id, { type: 'waiting', text: waits ?? '' }).catch(() => undefined);
  }

  async #conclude({ id, session }: RunRecord, outcome: Exclude<Outcome, { state: 'working' }>): Promise<void> {
    await faultPoint('plan-concluded');
    const found = await readRun(this.#options.fleet.store, id);
    // Another coordinator was faster, as when this one slept.
    if (found.status !== 'running' || found.session !== session) return void this.#going.delete(id);
    if (outcome.state === 'failed') return this.#fail(id, outcome.message, outcome.user);
    console.log(`${timestamp()} ${id}: completed`);
    await this.#end(id, { status: 'completed', error: null }, { type: 'completed' });
    await this.book.removeRun(id);
  }

  async #fail(id: string, message: string, user: boolean, more: Pick<Ending, 'session'> = {}): Promise<void> {
    console.error(`${timestamp()} ${id}: failed: ${message}`);
    await this.#end(id, { status: 'failed', error: { message, user }, ...more }, { type: 'failed', message, user });
    await this.book.removeRun(id);
  }

  async #end(id: string, changes: Ending, event: RunEvent): Promise<void> {
    const { fleet, now } = this.#options;
    this.#going.delete(id);
    await updateRun(fleet.store, id, changes, new Date(now()));
    await publishEvent(fleet, id, event).catch(() => undefined);
    await this.#options.observer?.ended(id, changes.status);
  }
}
