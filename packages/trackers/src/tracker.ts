// What a tracker is: somewhere else that keeps the curves of a run. It is asked what it has before anything is written,
// so that a series is complete and holds every step once, whoever was killed in between. It never decides anything.

/** One value of one curve. */
export interface Point {
  track: string;
  /** `train/loss`, `train/<term>`, `train/grad_norm/<module>`, `probe/<what>` or `eval/<suite>/<split>/<metric>`. */
  series: string;
  /** Optimiser steps since the first checkpoint of the chain. */
  step: number;
  value: number;
  /** When it was measured, in milliseconds since 1970; a function of the round's record, so it is the same every time. */
  at: number;
}

/** What a tracker is told of a run. */
export interface TrackedRun {
  id: string;
  /** Name of the recipe, under which runs are grouped. */
  name: string;
  /** In milliseconds since 1970. */
  createdAt: number;
  /** The resolved recipe, flattened: `stages.0.lr` → `0.001`. */
  params: Record<string, string>;
}

/** How a run was left; all but the last three may go on. */
export type Outcome = 'running' | 'paused' | 'stopped' | 'failed' | 'completed' | 'cancelled';

export interface Tracker {
  /** For messages: `TensorBoard`. */
  readonly name: string;
  /** Makes or finds the run and tells what is there. Called again after every failure, and then starts anew. */
  open(run: TrackedRun, signal: AbortSignal): Promise<Had>;
  /** Writes at most {@link MAX_POINTS} points; steps of a series ascend. Resolves when they are kept. */
  log(points: readonly Point[], signal: AbortSignal): Promise<void>;
  close(outcome: Outcome, signal: AbortSignal): Promise<void>;
}

export const MAX_POINTS = 1000;

/** The tracker understood the points and will never take them: they are dropped and the next ones are tried. */
export class TrackerRefusal extends Error {
  override readonly name = 'TrackerRefusal';
}

/** The tracker asks to be left alone for so many milliseconds. */
export class TrackerBusy extends Error {
  override readonly name = 'TrackerBusy';
  readonly retryAfterMs: number;

  constructor(message: string, retryAfterMs: number) {
    super(message);
    this.retryAfterMs = retryAfterMs;
  }
}

/** Evaluations end in any order; every other series is written in the order of its steps. */
export const inAnyOrder = (series: string): boolean => series.startsWith('eval/');

/** Which points a tracker has: of a series in order its last step, of the others every step. */
export class Had {
  readonly #last = new Map<string, number>();
  readonly #steps = new Map<string, Set<number>>();

  add({ track, series, step }: Pick<Point, 'track' | 'series' | 'step'>): void {
    const key = `${track}/${series}`;
    if (!inAnyOrder(series)) this.#last.set(key, Math.max(step, this.#last.get(key) ?? step));
    else this.#steps.set(key, (this.#steps.get(key) ?? new Set()).add(step));
  }

  has({ track, series, step }: Pick<Point, 'track' | 'series' | 'step'>): boolean {
    const key = `${track}/${series}`;
    return inAnyOrder(series) ? this.#steps.get(key)?.has(step) === true : step <= (this.#last.get(key) ?? -1);
  }
}

/** Values by their key, in the order in which keys first come. */
export function groupBy<K, V>(values: Iterable<V>, keyOf: (value: V) => K): Map<K, V[]> {
  const groups = new Map<K, V[]>();
  for (const value of values) {
    const key = keyOf(value);
    const group = groups.get(key);
    if (group) group.push(value);
    else groups.set(key, [value]);
  }
  return groups;
}

/** The first line of what an error says, for one sentence. */
export const reasonOf = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).split('\n')[0].slice(0, 300);
