// Which checkpoints of a run are let go, by its recipe's `keep`. It only marks rounds; their blobs go with the next
// collection (collector.ts), a day later at the earliest.

import type { Store } from '@fovea/artifacts';
import {
  type CommittedRound,
  type Fleet,
  faultPoint,
  prunedRef,
  prunedRounds,
  pruneRound,
  type RunRecord,
  readScores,
  timestamp,
} from '@fovea/jobs';
import type { KeepConfig, Track } from '@fovea/recipe';

/** A committed round as retention sees it. */
export interface HeldRound {
  /** Place in its track, from 0. */
  round: number;
  /** Its score is still to come, which needs the weights. */
  isPending: boolean;
  /** Of its scorecard; null where it has none, or none with a number. */
  value: number | null;
}

/** The rounds of a track, oldest first, that no rule keeps. The newest is always kept: it is the next round's start. */
export function roundsToPrune(rounds: readonly HeldRound[], { last, best, every }: KeepConfig): number[] {
  if (last === null) return [];
  const kept = new Set(rounds.slice(-last).map(({ round }) => round));
  for (const { round, isPending } of rounds) {
    if (isPending || (every !== null && (round + 1) % every === 0)) kept.add(round);
  }
  const scored = rounds.filter(({ value }) => value !== null);
  if (best && scored.length > 0) kept.add(scored.reduce((a, b) => (b.value! > a.value! ? b : a)).round);
  return rounds.map(({ round }) => round).filter((round) => !kept.has(round));
}

export class Retention {
  readonly #fleet: Fleet;
  readonly #now: () => number;
  /** By run: how many rounds and scores there were at the last look. */
  readonly #seen = new Map<string, string>();
  readonly #values = new Map<string, number | null>();

  constructor(fleet: Fleet, now: () => number) {
    this.#fleet = fleet;
    this.#now = now;
  }

  /**
   * Marks what may go. Only for who drives the run, or once it is completed. It never fails: what cannot be judged stays.
   */
  async look(run: RunRecord, committed: ReadonlyMap<Track, readonly CommittedRound[]>): Promise<void> {
    if (run.recipe.keep.last === null) return;
    try {
      const scores = await readScores(this.#fleet.store, run.id);
      const seen = [scores.length, ...[...committed.values()].map((rounds) => rounds.length)].join();
      if (this.#seen.get(run.id) === seen) return;
      this.#seen.set(run.id, seen);
      await this.#mark(run, committed, new Map(scores.map(({ checkpoint, scorecard }) => [checkpoint, scorecard])));
    } catch (error) {
      console.error(`${timestamp()} ${run.id}: its checkpoints all stay for now: ${(error as Error).message}`);
    }
  }

  async #mark(
    { id, recipe }: RunRecord,
    committed: ReadonlyMap<Track, readonly CommittedRound[]>,
    cards: ReadonlyMap<string, string>,
  ): Promise<void> {
    const { store } = this.#fleet;
    const marked = await prunedRounds(store, id);
    for (const [track, rounds] of committed) {
      const newest = rounds.findLast(({ round }) => round.scored)?.round.round;
      const held: HeldRound[] = [];
      for (const { round, record } of rounds) {
        const card = cards.get(record.checkpoint);
        // Of scores that were dropped for newer ones, none is to come.
        const isDropped = recipe.eval.newestOnly && round.round !== newest;
        const isDue = round.scored && recipe.eval.suites.length > 0 && !isDropped;
        const isPending = isDue && card === undefined;
        const value = recipe.keep.best && card !== undefined ? await this.#valueOf(store, card) : null;
        held.push({ round: round.round, isPending, value });
      }
      for (const round of roundsToPrune(held, recipe.keep)) {
        if (marked.has(prunedRef(id, track, round))) continue;
        const { checkpoint } = rounds.find((each) => each.round.round === round)!.record;
        await pruneRound(store, { runId: id, track, round }, checkpoint, new Date(this.#now()));
        await faultPoint('round-pruned');
      }
    }
  }

  /** The run's rounds may have changed other than by commits. */
  forget(runId: string): void {
    this.#seen.delete(runId);
  }

  /** What checkpoints of a track are compared by; see `keep.best` of the recipe. */
  async #valueOf(store: Store, scorecard: string): Promise<number | null> {
    const known = this.#values.get(scorecard);
    if (known !== undefined) return known;
    const { measureOf, parseScorecard } = await import('@fovea/benchmarks');
    const card = parseScorecard(JSON.parse(new TextDecoder().decode(await store.get(scorecard))), scorecard);
    const value =
      measureOf(card, { suite: 'robustvqa', split: 'V2', metric: 'top1' }) ??
      measureOf(card, { suite: 'robustvqa', split: null, metric: 'top1' }) ??
      measureOf(card, { suite: 'retention', split: null, metric: 'top1' });
    this.#values.set(scorecard, value);
    return value;
  }
}
