// Compares the plan of one run with what the store holds and queues what is missing. It keeps no state that matters: the
// plan comes from the recipe, the truth from the store, and every job's id from what the job is for, so that it may be
// killed, started twice or faced with an empty Redis at any moment.

import {
  type CommittedRound,
  type Control,
  committedRounds,
  DEFAULT_PRIORITY,
  type Fleet,
  faultPoint,
  JOB_VERSION,
  type JobBook,
  type JobData,
  type JobDataOf,
  jobId,
  jobPriority,
  type Need,
  place,
  planRef,
  queueOf,
  type RunRecord,
  readReport,
  readScores,
  roundPlanSchema,
  scoredRef,
  sendControl,
  shardRef,
  shardsRef,
  type WorkerInfo,
} from '@fovea/jobs';
import { gatesOf, planOf, type Round, type Track } from '@fovea/recipe';
import { inject } from '@fovea/trackers/traces';
import type { Job } from 'bullmq';
import { reasonOf } from './failure.ts';
import { judgeBranch } from './gate.ts';

export interface PlannerOptions {
  fleet: Fleet;
  book: JobBook;
  run: RunRecord;
  /** Of the run among others; see `Control`. */
  priority?: number;
  /** `commit` scores a checkpoint as soon as it exists; `training` waits until no round is left. @defaultValue 'commit' */
  scoreAfter?: 'commit' | 'training';
  /** Milliseconds since 1970; for the deadlines of rounds. */
  now?: () => number;
}

export type Outcome =
  | { state: 'working' }
  | { state: 'completed' }
  | { state: 'failed'; message: string; user: boolean };

interface NextRound {
  round: Round;
  base: string | null;
  /** Place in the order of the run's jobs. */
  order: number;
}

type Failure = Extract<Outcome, { state: 'failed' }>;
const WORKING = { state: 'working' } as const;

/** Times that a job which its workers call stale is queued anew before the run fails. */
const MAX_STALE = 5;

/** Jobs that are looked after at the same time. */
const AT_ONCE = 50;

export class Planner {
  readonly #options: Required<PlannerOptions>;
  readonly #plan: Map<Track, Round[]>;
  #committed = new Map<Track, CommittedRound[]>();
  #workers: readonly WorkerInfo[] = [];
  /** Rounds of a branch after which it waits. */
  #most = Number.POSITIVE_INFINITY;
  /** By checkpoint, what its score said of going on. */
  readonly #verdicts = new Map<string, 'open' | 'shut'>();
  /** By job id of a score that was queued: whether all is well with it, so that thousands need not be asked for at every look. */
  #sound = new Map<string, boolean>();
  #isDoubted = true;
  readonly #stale = new Map<string, number>();

  constructor(options: PlannerOptions) {
    this.#options = { priority: DEFAULT_PRIORITY, scoreAfter: 'commit', now: Date.now, ...options };
    this.#plan = planOf(options.run.recipe);
  }

  get run(): RunRecord {
    return this.#options.run;
  }

  /** Committed rounds as of the last look. */
  get committed(): ReadonlyMap<Track, readonly CommittedRound[]> {
    return this.#committed;
  }

  /** What an operator wants from now on. */
  rank({ priority, rounds }: Pick<Control, 'priority' | 'rounds'>): void {
    this.#options.priority = priority;
    this.#most = rounds ?? Number.POSITIVE_INFINITY;
  }

  /** A job of this run failed: look at it at the next reconciliation. */
  noticed(id: string): void {
    this.#sound.set(id, false);
  }

  /** The next look asks for every job again, as after Redis lost something. */
  doubt(): void {
    this.#isDoubted = true;
  }

  /** One look at the store and the queue, with the workers that there are. Idempotent; calls must not overlap. */
  async reconcile(workers: readonly WorkerInfo[] = []): Promise<Outcome> {
    const { fleet, run, scoreAfter } = this.#options;
    this.#workers = workers;
    this.#committed = await committedRounds(fleet.store, run, this.#committed);
    await faultPoint('plan-looked');
    const { next, isWaiting } = await this.#nextRounds();
    for (const round of next.slice(0, this.#width())) {
      const failure = await this.#ensureRound(round);
      if (failure) return failure;
    }
    if (next.length > 0 && scoreAfter === 'training' && !isWaiting) return WORKING;
    const { failure, isScored } = await this.#ensureScores();
    // A score that fails does not cost the rounds that are still to be trained.
    if (next.length > 0) return WORKING;
    if (failure) return failure;
    return isWaiting || !isScored ? WORKING : this.#ensureReport();
  }

  /** Tracks that are trained at once: as many as there are workers for, since an engine keeps the graphs of one track. */
  #width(): number {
    const { workers } = place(this.#need('train'), this.#workers);
    return Math.max(1, Math.floor(workers / this.run.recipe.shards.max));
  }

  #need(role: 'train' | 'eval'): Need {
    const { device, memory } = this.run.recipe.engine;
    return { role, device, memory: role === 'train' ? memory : 0 };
  }

  /** The next round of every track that has one and whose start is committed, in the order in which to train them. */
  async #nextRounds(): Promise<{ next: NextRound[]; isWaiting: boolean }> {
    const next: NextRound[] = [];
    let isWaiting = false;
    const trunk = this.#committed.get('trunk') ?? [];
    const start = trunk.length === this.#plan.get('trunk')!.length ? trunk.at(-1)!.record.checkpoint : null;
    for (const [order, [track, rounds]] of [...this.#plan].entries()) {
      const done = this.#committed.get(track) ?? [];
      const round = rounds[done.length];
      if (!round) continue;
      if (track !== 'trunk' && start === null) continue;
      const isFull = track !== 'trunk' && done.length >= this.#most;
      const gate = isFull ? 'waits' : await this.#gateOf(track, done);
      isWaiting ||= gate === 'waits';
      if (gate !== 'open') continue;
      next.push({ round, base: done.at(-1)?.record.checkpoint ?? start, order });
    }
    return { next, isWaiting };
  }

  /** Whether a branch may go on: `waits` for the score of its newest scored checkpoint, or `shut` by it for good. */
  async #gateOf(track: Track, done: CommittedRound[]): Promise<'open' | 'waits' | 'shut'> {
    const { store } = this.#options.fleet;
    const gates = gatesOf(this.run.recipe);
    const newest = done.findLast(({ round }) => round.scored);
    if (track === 'trunk' || gates.length === 0 || !newest) return 'open';
    const known = this.#verdicts.get(newest.record.checkpoint);
    if (known) return known;
    const scores = await readScores(store, this.run.id);
    const cardOf = (checkpoint?: string) => scores.find((score) => score.checkpoint === checkpoint)?.scorecard;
    const start = cardOf(this.#committed.get('trunk')?.at(-1)?.record.checkpoint);
    const now = cardOf(newest.record.checkpoint);
    if (!start || !now) return 'waits';
    const reason = await judgeBranch(store, { start, now }, gates);
    if (reason !== null) console.log(`${track} stops after round ${newest.round.round}: ${reason}`);
    const verdict = reason === null ? 'open' : 'shut';
    this.#verdicts.set(newest.record.checkpoint, verdict);
    return verdict;
  }

  async #ensureRound(next: NextRound): Promise<Failure | null> {
    const { book } = this.#options;
    const { round, base } = next;
    const of = await this.#shardsOf(round);
    if (of === null) return null;
    const merge: JobDataOf<'merge'> = { kind: 'merge', ...this.#jobBase(), round, base, shards: of };
    const shards = Array.from({ length: of }, (_, index): JobDataOf<'shard'> => {
      return { kind: 'shard', ...this.#jobBase(), round, base, shard: { index, of } };
    });
    const mergeJob = await book.find(merge);
    if (!mergeJob) {
      await this.#addRound(next, merge, shards);
      return null;
    }
    if (await mergeJob.isCompleted()) {
      this.#committed = await committedRounds(this.#options.fleet.store, this.run, this.#committed);
      const known = this.#committed.get(round.track)?.length ?? 0;
      // Its ref was taken away after the commit: train the round again.
      if (known <= this.#plan.get(round.track)!.indexOf(round)) await book.remove(mergeJob);
      return null;
    }
    const jobs = await Promise.all(shards.map((shard) => book.find(shard)));
    if (this.#isDeserted(mergeJob, 'train') && (await book.remove(mergeJob))) return null;
    if (of > 1) return this.#late(mergeJob, jobs, round, of);
    for (const job of [...jobs, mergeJob]) {
      if (job && (await job.isFailed())) return this.#again(job, mergeJob);
    }
    return null;
  }

  async #addRound({ order }: NextRound, merge: JobDataOf<'merge'>, shards: JobDataOf<'shard'>[]): Promise<void> {
    const { book, priority } = this.#options;
    await book.addRound(this.#pool('train'), merge, shards, jobPriority(priority, order + 1));
    await faultPoint('plan-queued');
  }

  #pool(role: 'train' | 'eval') {
    return place(this.#need(role), this.#workers).pool;
  }

  /** Into how many shards a round is cut: decided once, by the workers that were there; null while there are too few. */
  async #shardsOf({ track, round, steps }: Round): Promise<number | null> {
    const { store } = this.#options.fleet;
    const { min, max } = this.run.recipe.shards;
    if (max === 1 || steps === 0) return 1;
    const ref = planRef(this.run.id, track, round);
    const planned = roundPlanSchema.safeParse(await store.readRef(ref));
    if (planned.success) return planned.data.shards;
    const { workers } = place(this.#need('train'), this.#workers);
    const tracks = [...this.#plan].filter(([name, rounds]) => {
      return (name === 'trunk') === (track === 'trunk') && (this.#committed.get(name)?.length ?? 0) < rounds.length;
    });
    if (workers < min) return null;
    const shards = Math.min(max, steps, Math.max(min, Math.floor(workers / tracks.length)));
    await store.createRef(ref, { shards });
    return roundPlanSchema.parse(await store.readRef(ref)).shards;
  }

  /** Lets a round go on without the shards that failed or are late, once those that are done make a quorum. */
  async #late(merge: Job, shards: (Job | null)[], { track, round }: Round, of: number): Promise<Failure | null> {
    const { fleet, now } = this.#options;
    const { quorum, deadline } = this.run.recipe.shards;
    const done = (await fleet.store.listRefs(shardsRef(this.run.id, track, round))).filter((ref) =>
      ref.endsWith(`-of-${of}.json`),
    );
    const enough = Math.min(quorum ?? of, of);
    const isDone = (index: number) => done.includes(shardRef(this.run.id, track, round, { index, of }));
    const failures: Job[] = [];
    const missing: Job[] = [];
    for (const [index, job] of shards.entries()) {
      if (!job || isDone(index)) continue;
      ((await job.isFailed()) ? failures : missing).push(job);
    }
    // What a merge of too few failed of, they know better.
    if (failures.length > 0 && done.length + missing.length < enough) return this.#again(failures[0], merge);
    if (await merge.isFailed()) return this.#again(merge);
    if (deadline === null || missing.length === 0 || done.length < enough) return null;
    const ends = shards.flatMap((job) => (job?.finishedOn ? [job.finishedOn] : []));
    if (ends.length === 0 || now() < Math.min(...ends) + 1000 * deadline) return null;
    for (const job of missing) {
      await job.removeChildDependency().catch(() => false);
      await sendControl(fleet, { type: 'cut', job: job.id! });
    }
    return null;
  }

  /** A failed job is the run's failure, unless it was only stale, or asked for by a worker that is gone. */
  async #again(job: Job, parent?: Job): Promise<Failure | null> {
    const { message, user, stale } = reasonOf(job);
    const times = (this.#stale.get(job.id!) ?? 0) + 1;
    if (!stale || times > MAX_STALE) return { state: 'failed', message, user };
    this.#stale.set(job.id!, times);
    if (parent) await this.#options.book.remove(parent);
    await this.#options.book.remove(job);
    return null;
  }

  /** Whether a job waits in a queue that nobody works on while somebody else could do it. */
  #isDeserted(job: Job, role: 'train' | 'eval'): boolean {
    const { workers } = place(this.#need(role), this.#workers);
    return workers > 0 && !this.#workers.some((worker) => queueOf(worker) === job.queueName);
  }

  #dueScores(): JobDataOf<'score'>[] {
    const { suites } = this.run.recipe.eval;
    if (suites.length === 0) return [];
    return [...this.#committed.values()].flat().flatMap(({ round, record }) =>
      round.scored
        ? {
            kind: 'score' as const,
            ...this.#jobBase(),
            checkpoint: record.checkpoint,
            role: round.track === 'trunk' ? 'baseline' : round.track,
            track: round.track,
            round: round.round,
            suites,
          }
        : [],
    );
  }

  /** Queues the scores that are due; whether none is missing, and the first failure among them. */
  async #ensureScores(): Promise<{ failure: Failure | null; isScored: boolean }> {
    const { fleet, book, priority } = this.#options;
    const due = this.#dueScores();
    if (due.length === 0) return { failure: null, isScored: true };
    // Before the scores are listed: a job that has ended by then has left its score.
    if (this.#isDoubted) await this.#recheck();
    const known = new Set(await fleet.store.listRefs(`runs/${this.run.id}/scores`));
    const unscored = due.filter(({ track, round }) => !known.has(scoredRef(this.run.id, track, round)));
    const missing = await this.#newest(unscored, due);
    const order = new Map(due.map((score, i) => [score, i + 1]));
    const fresh = missing.filter((score) => !this.#sound.has(jobId(score)));
    await book.addAll(
      this.#pool('eval'),
      fresh.map((data) => ({ data, priority: jobPriority(priority, order.get(data)!) })),
    );
    if (fresh.length > 0) await faultPoint('plan-queued');
    for (const score of fresh) this.#sound.set(jobId(score), true);
    const bad = missing.filter((score) => !this.#sound.get(jobId(score)));
    for (let from = 0; from < bad.length; from += AT_ONCE) {
      const some = bad.slice(from, from + AT_ONCE);
      const failures = await Promise.all(some.map((score) => this.#ensure(score, order.get(score)!)));
      const failure = failures.find((each) => each !== null);
      if (failure) return { failure, isScored: false };
      for (const score of some) this.#sound.set(jobId(score), true);
    }
    return { failure: null, isScored: missing.length === 0 };
  }

  /** Asks after every job that was queued. */
  async #recheck(): Promise<void> {
    const isServed = place(this.#need('eval'), this.#workers).workers > 0;
    const alive = isServed ? this.#workers.map(queueOf) : null;
    this.#sound = await this.#options.book.soundness(this.run.id, alive);
    this.#isDoubted = false;
  }

  /** Where only the newest checkpoint is to be scored, the older ones that still wait are dropped; the last of a track never is. */
  async #newest(missing: JobDataOf<'score'>[], due: JobDataOf<'score'>[]): Promise<JobDataOf<'score'>[]> {
    if (!this.run.recipe.eval.newestOnly) return missing;
    const kept: JobDataOf<'score'>[] = [];
    for (const score of missing) {
      const isOld = due.some((other) => other.track === score.track && other.round > score.round);
      const isLast = this.#plan.get(score.track as Track)?.at(-1)?.round === score.round;
      const job = isOld && !isLast ? await this.#options.book.find(score) : null;
      if (!isOld || isLast || (job && (await job.isActive()))) kept.push(score);
      else if (job) await this.#options.book.remove(job);
    }
    return kept;
  }

  async #ensureReport(): Promise<Outcome> {
    const { store } = this.#options.fleet;
    const report = await readReport(store, this.run.id);
    if (report && (await store.has(report.report.sha256)) && (await store.has(report.summary.sha256)))
      return { state: 'completed' };
    return (await this.#ensure({ kind: 'report', ...this.#jobBase() }, 1)) ?? WORKING;
  }

  /** Queues a job of one piece unless it is there; one that ended without what it is for is done again. */
  async #ensure(data: JobData, order: number): Promise<Failure | null> {
    const { book, priority } = this.#options;
    const job = await book.find(data);
    if (job && (await job.isFailed())) {
      const failure = await this.#again(job);
      if (failure) return failure;
    } else if (job && !(await job.isCompleted()) && !this.#isDeserted(job, 'eval')) return null;
    if (job && !(await book.remove(job))) return null;
    await book.add(this.#pool('eval'), data, jobPriority(priority, order));
    await faultPoint('plan-queued');
    return null;
  }

  #jobBase() {
    const { id, session } = this.run;
    const trace = inject();
    return { version: JOB_VERSION as typeof JOB_VERSION, run: id, session, ...(trace && { trace }) };
  }
}
