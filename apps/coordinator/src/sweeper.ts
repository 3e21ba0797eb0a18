// Carries sweeps on: one look reads how their runs stand, decides, and writes what it wants into the runs' control records.
// It keeps nothing but what can never change, so it may be killed, or run twice, at any moment.

import { FoveaError } from '@fovea/artifacts';
import {
  type Control,
  cancelTrials,
  endSweep,
  type Fleet,
  faultPoint,
  type Measure,
  openSweeps,
  pauseRun,
  type RunRecord,
  reachedBy,
  readControl,
  readRun,
  readSweep,
  resumeRun,
  type SweepRecord,
  startTrial,
  sweepOfRun,
  sweepStatus,
  type Trial,
  timestamp,
  trialsOf,
} from '@fovea/jobs';
import { type Decision, decide, type TrialState } from './halving.ts';

export class Sweeper {
  readonly #fleet: Fleet;
  readonly #now: () => number;
  readonly #records = new Map<string, SweepRecord>();
  /** By run: it is completed, or has these scores at its rungs. */
  readonly #done = new Map<string, TrialState>();
  readonly #scores = new Map<string, number | null>();

  constructor(fleet: Fleet, now: () => number) {
    this.#fleet = fleet;
    this.#now = now;
  }

  /** Looks at the sweeps of which one of these runs is, or at all. */
  async look(heard: ReadonlySet<string> | null): Promise<void> {
    const touched = heard && new Set([...heard].map(sweepOfRun));
    if (touched?.size === (touched?.has(null) ? 1 : 0)) return;
    for (const id of await openSweeps(this.#fleet.store)) {
      if (touched && !touched.has(id)) continue;
      try {
        await this.#pursue(await this.#recordOf(id));
      } catch (error) {
        const text = error instanceof FoveaError ? error.message : (error as Error).stack;
        console.error(`${timestamp()} sweep ${id}: ${text}`);
      }
    }
  }

  async #recordOf(id: string): Promise<SweepRecord> {
    const record = this.#records.get(id) ?? (await readSweep(this.#fleet.store, id));
    this.#records.set(id, record);
    return record;
  }

  async #pursue(record: SweepRecord): Promise<void> {
    const { id, sweep, rungs } = record;
    if ((await sweepStatus(this.#fleet.store, id)) === 'cancelling') {
      if (await cancelTrials(this.#fleet, record)) await this.#end(record, 'cancelled');
      return;
    }
    const trials = trialsOf(record);
    const states = await Promise.all(trials.map((trial) => this.#stateOf(record, trial)));
    const { search, metric, parallel } = sweep;
    const eta = search.kind === 'asha' ? search.eta : 1;
    const decision = decide(states, { rungs: rungs.length, eta, parallel, goal: metric.goal });
    await this.#act(record, trials, decision);
    if (decision.isOver) await this.#end(record, 'completed');
  }

  async #end({ id }: SweepRecord, status: 'completed' | 'cancelled'): Promise<void> {
    await endSweep(this.#fleet.store, id, status, new Date(this.#now()));
    this.#records.delete(id);
    console.log(`${timestamp()} sweep ${id}: ${status}`);
  }

  async #act(record: SweepRecord, trials: Trial[], { start, advance, pause }: Decision): Promise<void> {
    const now = new Date(this.#now());
    const fleet = this.#fleet;
    const say = ({ n }: TrialState, text: string) => console.log(`${timestamp()} ${trials[n].run}: ${text}`);
    for (const { trial, level } of advance) {
      await resumeRun(fleet, trials[trial.n].run, this.#roundsOf(record, level));
      await faultPoint('sweep-promoted');
      say(trial, `goes on to ${record.rungs[level]} rounds`);
    }
    for (const trial of pause) {
      await pauseRun(fleet, trials[trial.n].run);
      say(trial, `waits after ${record.rungs[trial.level]} rounds, as it is not among the best there`);
    }
    for (const trial of start) {
      await startTrial(fleet, record, trials[trial.n], this.#roundsOf(record, 0), now);
      await faultPoint('sweep-started');
    }
  }

  /** How far a run may train; undefined for its own end. */
  #roundsOf({ rungs, sweep }: SweepRecord, level: number): number | undefined {
    const isLast = level === rungs.length - 1;
    return isLast && (sweep.search.kind !== 'asha' || sweep.search.max === null) ? undefined : rungs[level];
  }

  async #stateOf(record: SweepRecord, trial: Trial): Promise<TrialState> {
    const { store } = this.#fleet;
    const known = this.#done.get(trial.run);
    if (known) return known;
    const control = await readControl(store, trial.run);
    const { n, point } = trial;
    if (!control) return { n, point, state: 'new', level: 0, scores: [] };
    const run = await readRun(store, trial.run);
    const level = levelOf(record, control);
    const state = stateOf(run, control);
    const scores = await Promise.all(record.rungs.map((_, rung) => this.#scoreAt(record, run, rung, level)));
    // A run that goes to its own end has more to do than to be scored.
    if (state !== 'done' && control.rounds === undefined) scores[level] = undefined;
    const found: TrialState = { n, point, state, level, scores };
    if (state === 'done') this.#done.set(trial.run, found);
    return found;
  }

  /** What the run reached at a rung; only a sweep that judges at rungs needs to know. */
  async #scoreAt(
    { sweep, rungs }: SweepRecord,
    run: RunRecord,
    rung: number,
    level: number,
  ): Promise<number | null | undefined> {
    if (sweep.search.kind !== 'asha' || rung > level) return undefined;
    const key = `${run.id}/${rung}`;
    if (this.#scores.has(key)) return this.#scores.get(key);
    const measure: Measure = async (scorecard) => {
      const { measureOf, parseScorecard } = await import('@fovea/benchmarks');
      const bytes = await this.#fleet.store.get(scorecard);
      return measureOf(parseScorecard(JSON.parse(new TextDecoder().decode(bytes)), scorecard), sweep.metric);
    };
    const score = await reachedBy(this.#fleet.store, run, sweep.metric, measure, rungs[rung]);
    if (score !== undefined) this.#scores.set(key, score);
    return score;
  }
}

function levelOf({ rungs }: SweepRecord, { rounds }: Control): number {
  const level = rungs.findIndex((rung) => rounds !== undefined && rounds <= rung);
  return level < 0 ? rungs.length - 1 : level;
}

function stateOf({ status, session }: RunRecord, control: Control): TrialState['state'] {
  if (status === 'completed') return 'done';
  if (control.wants === 'cancel') return 'lost';
  const isOver = status === 'failed' || status === 'cancelled';
  if (isOver && control.session <= session) return 'lost';
  return control.wants === 'pause' ? 'held' : 'going';
}
