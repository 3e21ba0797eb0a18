// What is known of a running run, folded from its plan, its committed rounds and its events. Pure: time is passed in,
// and live.ts only draws what stands here.

import type { CommittedRound, RunEvent, RunRecord } from '@fovea/jobs';
import { planOf, type Round, type Track } from '@fovea/recipe';

export interface Scoring {
  role: string;
  round: number;
  text: string;
}

interface Rate {
  images: number;
  seconds: number;
}

/** The round in work. */
export interface Current {
  track: string;
  stage: string;
  round: number;
  rounds: number;
  /** Optimiser steps of the stage: done and in all. */
  step: number;
  steps: number;
  loss: number | null;
  imagesPerSecond: number | null;
}

export class RunProgress {
  readonly run: RunRecord;
  current: Current | null = null;
  scoring: Scoring | null = null;
  scored = 0;
  reporting = false;
  private readonly plan: Map<Track, Round[]>;
  private readonly done = new Map<Round, number>();
  private readonly scoredRounds = new Set<string>();
  private readonly rates = new Map<string, Rate>();
  /** What the last score took; the first also prepares what the others use. */
  private scoreSeconds = 0;
  private scoringSince = 0;

  constructor(run: RunRecord, committed: Map<Track, CommittedRound[]> = new Map()) {
    this.run = run;
    this.plan = planOf(run.recipe);
    for (const { round } of [...committed.values()].flat())
      this.done.set(this.roundOf(round.track, round.round)!, round.steps);
  }

  /** Takes in an event; true if it is worth a line of its own. `now` is in seconds. */
  apply(event: RunEvent, now: number): boolean {
    switch (event.type) {
      case 'progress':
        if (event.kind === 'train') this.train(event);
        else this.score(event, now);
        return false;
      case 'committed':
        this.commit(event);
        return true;
      case 'scored':
        this.finishScore(event, now);
        return true;
      case 'reported':
        this.reporting = true;
        return false;
      case 'retrying':
      case 'waiting':
        return true;
      case 'failed':
      case 'completed':
      case 'paused':
      case 'cancelled':
        return false;
      default:
        return event satisfies never;
    }
  }

  /** Scores that are due now and not done, the one in work included. */
  get scoresWaiting(): number {
    if (this.run.recipe.eval.suites.length === 0) return 0;
    const due = [...this.done].filter(([round, steps]) => round.scored && steps >= round.steps).length;
    return Math.max(0, due - this.scored);
  }

  get scoresInAll(): number {
    if (this.run.recipe.eval.suites.length === 0) return 0;
    return [...this.plan.values()].flat().filter((round) => round.scored).length;
  }

  /** Share of all optimiser steps of the run that are done, 0..1. */
  get share(): number {
    const all = [...this.plan.values()].flat();
    const steps = all.reduce((sum, round) => sum + round.steps, 0);
    const done = all.reduce((sum, round) => sum + Math.min(round.steps, this.done.get(round) ?? 0), 0);
    return steps === 0 ? 1 : done / steps;
  }

  /**
   * Seconds until the end, guessed from the speed of each stage so far and of the scores; null until something was
   * measured. A stage that has not run yet counts at the slowest speed known.
   */
  get eta(): number | null {
    const speeds = [...this.rates.values()].map((rate) => rate.images / rate.seconds).filter((speed) => speed > 0);
    if (speeds.length === 0) return null;
    const slowest = Math.min(...speeds);
    let seconds = 0;
    for (const round of [...this.plan.values()].flat()) {
      const left = round.steps - Math.min(round.steps, this.done.get(round) ?? 0);
      if (left === 0) continue;
      const rate = this.rates.get(`${round.track} ${round.stage}`) ?? this.rates.get(round.stage);
      const speed = rate && rate.images > 0 ? rate.images / rate.seconds : slowest;
      seconds += (left * this.batchOf(round)) / speed;
    }
    return seconds + this.scoreSeconds * (this.scoresInAll - this.scored);
  }

  private train(event: Extract<RunEvent, { type: 'progress'; kind: 'train' }>): void {
    const round = this.roundOf(event.track, event.round);
    if (!round) return;
    this.done.set(round, Math.min(event.step, round.steps));
    if (event.imagesPerSecond) this.measure(round, event.imagesPerSecond, 1);
    const rounds = this.plan.get(round.track)!.filter((each) => each.stage === round.stage);
    // What the last event of this stage said stays until there is news; another stage's loss means something else.
    const last = this.current?.track === round.track && this.current.stage === round.stage ? this.current : null;
    this.current = {
      track: round.track,
      stage: round.stage,
      round: rounds.indexOf(round) + 1,
      rounds: rounds.length,
      step: round.firstStep + event.step,
      steps: rounds.reduce((sum, each) => sum + each.steps, 0),
      loss: event.loss ?? last?.loss ?? null,
      imagesPerSecond: event.imagesPerSecond ?? last?.imagesPerSecond ?? null,
    };
  }

  private commit(event: Extract<RunEvent, { type: 'committed' }>): void {
    const round = this.roundOf(event.track, event.round);
    if (!round) return;
    this.done.set(round, round.steps);
    if (event.imagesPerSecond > 0) this.measure(round, event.imagesPerSecond, event.seconds);
  }

  private score(event: Extract<RunEvent, { kind: 'score' | 'report' }>, now: number): void {
    this.reporting = event.kind === 'report';
    if (this.reporting) return;
    const role = event.track === 'trunk' ? 'baseline' : event.track;
    if (this.scoring?.role !== role || this.scoring.round !== event.round) this.scoringSince = now;
    const share = event.steps > 0 ? `${Math.round((100 * event.step) / event.steps)} %` : '';
    this.scoring = { role, round: event.round, text: [event.text, share].filter(Boolean).join(' ') };
  }

  private finishScore(event: Extract<RunEvent, { type: 'scored' }>, now: number): void {
    const key = `${event.track} ${event.round}`;
    if (this.scoring && !event.cached) this.scoreSeconds = now - this.scoringSince;
    this.scoring = null;
    if (this.scoredRounds.has(key)) return;
    this.scoredRounds.add(key);
    this.scored++;
  }

  private measure(round: Round, imagesPerSecond: number, seconds: number): void {
    for (const key of [`${round.track} ${round.stage}`, round.stage]) {
      const rate = this.rates.get(key) ?? { images: 0, seconds: 0 };
      // Old seconds fade, so that the guess follows the machine's load.
      this.rates.set(key, {
        images: rate.images * 0.9 + imagesPerSecond * seconds,
        seconds: rate.seconds * 0.9 + seconds,
      });
    }
  }

  private batchOf(round: Round): number {
    return round.stageIndex < 0 ? 0 : this.run.recipe.stages[round.stageIndex].batch;
  }

  private roundOf(track: string, round: number): Round | undefined {
    return this.plan.get(track as Track)?.find((each) => each.round === round);
  }
}
