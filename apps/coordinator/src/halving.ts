// What to do next about a sweep's runs, as a pure function of how they stand: start, let go on, pause. Points that are
// judged at rungs follow asynchronous successive halving (ASHA: Li et al. 2020, arXiv 1810.05934, algorithm 2); a sweep
// with one rung starts its runs one after another.

export interface TrialState {
  /** Place in the order of the sweep's runs. */
  n: number;
  /** Index of its point; a point has a run for each seed. */
  point: number;
  /** `held` neither trains nor has ended, by an operator's or our own wish; `lost` failed or was cancelled. */
  state: 'new' | 'going' | 'held' | 'done' | 'lost';
  /** Index of the rung that it may train to. */
  level: number;
  /**
   * By rung: what it reached there; null for no number, undefined while it is not known. A run that goes on by itself
   * from its last rung to its end has none there before it is done.
   */
  scores: (number | null | undefined)[];
}

export interface Decision {
  /** Runs to begin, for as long as the first rung is. */
  start: TrialState[];
  /** Runs to let go on, to the rung of that index. */
  advance: { trial: TrialState; level: number }[];
  /** Runs that have reached a rung and stay there for now. */
  pause: TrialState[];
  /** Nothing goes on or is left to begin. */
  isOver: boolean;
}

interface Point {
  trials: TrialState[];
  level: number;
  scores: (number | null | undefined)[];
}

/** `rungs` is how many there are; of those that reached one, the best 1/eta go on. */
export function decide(
  trials: readonly TrialState[],
  { rungs, eta, parallel, goal }: { rungs: number; eta: number; parallel: number; goal: 'max' | 'min' },
): Decision {
  const isReached = ({ level, scores }: TrialState) => scores[level] !== undefined;
  const going = trials.filter((trial) => trial.state === 'going' && !isReached(trial));
  let free = Math.max(0, parallel - going.length);
  const take = <T>(from: T[]) => {
    const taken = from.splice(0, free);
    free -= taken.length;
    return taken;
  };
  const points = pointsOf(trials, rungs);
  const isIdle = (trial: TrialState) => (trial.state === 'going' || trial.state === 'held') && isReached(trial);
  const wanted = [...laggards(points), ...promotions(points, rungs, eta, goal)].filter(({ trial }) => isIdle(trial));
  const isWaiting = wanted.length > 0;
  const advance = take(wanted);
  const fresh = trials.filter(({ state }) => state === 'new');
  const start = take(fresh);
  const goesOn = new Set(advance.map(({ trial }) => trial));
  const pause = trials.filter((trial) => trial.state === 'going' && isReached(trial) && !goesOn.has(trial));
  const isHeld = trials.some((trial) => trial.state === 'held' && !isReached(trial));
  const isOver = going.length === 0 && !isWaiting && start.length + fresh.length === 0 && !isHeld;
  return { start, advance, pause, isOver };
}

function pointsOf(trials: readonly TrialState[], rungs: number): Point[] {
  const points = new Map<number, TrialState[]>();
  for (const trial of trials) points.set(trial.point, [...(points.get(trial.point) ?? []), trial]);
  return [...points.values()].map((trials) => ({
    trials,
    level: Math.max(-1, ...trials.map(({ state, level }) => (state === 'new' ? -1 : level))),
    scores: Array.from({ length: rungs }, (_, rung) => meanAt(trials, rung)),
  }));
}

/** Over the seeds; null, which ranks last, once one of them was lost or gave no number. */
function meanAt(trials: readonly TrialState[], rung: number): number | null | undefined {
  const scores = trials.map(({ scores, state }) =>
    scores[rung] === undefined && state === 'lost' ? null : scores[rung],
  );
  if (scores.includes(undefined)) return undefined;
  return scores.includes(null) ? null : scores.reduce<number>((sum, score) => sum + score!, 0) / scores.length;
}

/** Seeds of points that have been promoted already: all of a point's runs go as far. */
function laggards(points: Point[]): Decision['advance'] {
  return points.flatMap(({ trials, level }) =>
    trials.filter((trial) => trial.level < level).map((trial) => ({ trial, level })),
  );
}

/** Points to promote, the highest rung first and on each the best first. */
function promotions(points: Point[], rungs: number, eta: number, goal: 'max' | 'min'): Decision['advance'] {
  const sign = goal === 'max' ? 1 : -1;
  const found: Decision['advance'] = [];
  for (let rung = rungs - 2; rung >= 0; rung--) {
    const there = points.filter(({ scores }) => scores[rung] !== undefined);
    const value = ({ scores }: Point) => (scores[rung] === null ? Number.NEGATIVE_INFINITY : sign * scores[rung]!);
    const best = there
      .sort((a, b) => (value(a) === value(b) ? 0 : value(b) - value(a)))
      .slice(0, Math.floor(there.length / eta))
      .filter(({ scores, level }) => scores[rung] !== null && level === rung);
    found.push(...best.flatMap(({ trials }) => trials.map((trial) => ({ trial, level: rung + 1 }))));
  }
  return found;
}
