// What the coordinator tells those who watch: figures for Prometheus and curves for the trackers. It listens and never
// decides; a tracker that is down costs no round.

import {
  type CommittedRound,
  committedRounds,
  type Fleet,
  type PoolCounts,
  type RunRecord,
  readScores,
  type WorkerInfo,
} from '@fovea/jobs';
import { FleetMetrics, type Follower, followRun, type Outcome, openTrackers, type Tracker } from '@fovea/trackers';

export class Observer {
  readonly metrics = new FleetMetrics();
  readonly #fleet: Fleet;
  readonly #trackers: () => Tracker[];
  readonly #followed = new Map<string, Follower>();
  /** Rounds by run and track whose figures were given. */
  readonly #rounds = new Map<string, number>();

  constructor(fleet: Fleet, trackers: () => Tracker[] = () => openTrackers({})) {
    this.#fleet = fleet;
    this.#trackers = trackers;
  }

  /** A run goes on, or something of it was committed or scored. */
  changed(run: RunRecord, committed: ReadonlyMap<string, readonly CommittedRound[]>): void {
    const known = this.#followed.get(run.id);
    if (known) known.poke();
    else this.#followed.set(run.id, this.#follow(run));
    for (const [track, rounds] of committed) {
      const key = `${run.id}/${track}`;
      const from = this.#rounds.get(key);
      this.#rounds.set(key, rounds.length);
      // What was committed before this process began was counted by the one before.
      for (const { record } of rounds.slice(from ?? rounds.length)) {
        const { steps, seconds, imagesPerSecond } = record.metrics;
        this.metrics.observeRound({ stage: record.stage, steps, seconds });
        this.metrics.observeSpeed({ run: run.id, track, imagesPerSecond });
      }
    }
  }

  async ended(runId: string, outcome: Outcome): Promise<void> {
    const follower = this.#followed.get(runId);
    this.#followed.delete(runId);
    for (const key of this.#rounds.keys()) if (key.startsWith(`${runId}/`)) this.#rounds.delete(key);
    await follower?.close(outcome);
  }

  /** One look of the coordinator at everything. */
  async looked(
    pools: readonly PoolCounts[],
    workers: readonly WorkerInfo[],
    running: string[],
    seconds: number,
  ): Promise<void> {
    this.metrics.observePools(pools);
    this.metrics.observeWorkers(workers);
    await this.metrics.observeRuns(running);
    this.metrics.observeReconcile(seconds);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#followed.keys()].map((id) => this.ended(id, 'running')));
  }

  #follow(run: RunRecord): Follower {
    const { store } = this.#fleet;
    const source = {
      rounds: () => committedRounds(store, run),
      scores: () => readScores(store, run.id),
      scorecard: async (hash: string) => JSON.parse(new TextDecoder().decode(await store.get(hash))),
    };
    return followRun(run, source, this.#trackers(), { say: (text) => console.error(`${run.id}: ${text}`) });
  }
}
