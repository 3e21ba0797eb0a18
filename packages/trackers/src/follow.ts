// From the records of a run to the points of its curves, and the loop that hands them to every sink. The records are in
// the store and never change, and each tracker tells what it has, so there is nothing to remember in between: after a
// restart, or with a tracker that is new, the same points are offered again and only the missing ones are written.

import { canonicalJson, FoveaError } from '@fovea/artifacts';
import type { RoundRecord, RunRecord, ScoredCheckpoint } from '@fovea/jobs';
import { z } from 'zod';
import { Sink, type SinkOptions } from './sinks.ts';
import { MAX_POINTS, type Outcome, type Point, reasonOf, type TrackedRun, type Tracker } from './tracker.ts';

/** Where the records come from; each is read anew whenever there may be more. */
export interface RunSource {
  /** Committed rounds of every track, in order and without gaps (`committedRounds` of @fovea/jobs). */
  rounds(): Promise<ReadonlyMap<string, readonly { record: RoundRecord }[]>>;
  /** What was scored so far, in any order. */
  scores(): Promise<readonly ScoredCheckpoint[]>;
  /** The scorecard of that hash, as JSON. */
  scorecard(sha256: string): Promise<unknown>;
}

export interface Follower {
  /** There may be something new. Returns at once and never throws. */
  poke(): void;
  /** Sends what is left within `ms` and ends the run at every tracker. Never throws. */
  close(outcome: Outcome, ms?: number): Promise<void>;
}

/** Follows a run with every tracker, each at its own pace. Begins at once with what is there. */
export function followRun(
  run: Pick<RunRecord, 'id' | 'recipe' | 'createdAt'>,
  source: RunSource,
  trackers: readonly Tracker[],
  options: SinkOptions,
): Follower {
  const tracked = describe(run);
  const feeds = trackers.map((tracker) => new Feed(source, new Sink(tracker, tracked, options), options.say));
  const poke = () => {
    for (const feed of feeds) feed.poke();
  };
  poke();
  return {
    poke,
    close: async (outcome, ms = 5000) => {
      await Promise.all(feeds.map((feed) => feed.close(outcome, ms)));
    },
  };
}

/** One sink and how far it has come. It is given no more than it can take, so however long it is away nothing is lost. */
class Feed {
  readonly #source: RunSource;
  readonly #sink: Sink;
  readonly #say: (message: string) => void;
  /** Rounds that were handed over, by track. */
  readonly #rounds = new Map<string, number>();
  readonly #scores = new Set<string>();
  #news = false;
  #loop: Promise<void> | null = null;
  #closed = false;
  #complained = false;

  constructor(source: RunSource, sink: Sink, say: (message: string) => void) {
    this.#source = source;
    this.#sink = sink;
    this.#say = say;
  }

  poke(): void {
    if (this.#closed) return;
    this.#news = true;
    this.#loop ??= this.#work();
  }

  async close(outcome: Outcome, ms: number): Promise<void> {
    this.poke();
    this.#sink.hurry();
    const until = performance.now() + ms;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<true>((resolve) => (timer = setTimeout(resolve, ms * 0.8, true)));
    const left = await Promise.race([this.#loop, late]);
    clearTimeout(timer);
    this.#closed = true;
    await this.#sink.close(outcome, Math.max(0, until - performance.now()));
    if (left) this.#say(`What ${this.#sink.name} lacks is in the store; it is sent when the run is followed again.`);
  }

  async #work(): Promise<void> {
    while (this.#news && !this.#closed) {
      this.#news = false;
      try {
        await this.#advance();
      } catch (error) {
        this.#complain(error);
      }
    }
    this.#loop = null;
  }

  async #advance(): Promise<void> {
    const tracks = await this.#source.rounds();
    for (const [track, rounds] of tracks) {
      for (let next = this.#rounds.get(track) ?? 0; next < rounds.length && !this.#closed; next++) {
        await this.#hand(pointsOfRound(track, rounds[next].record));
        this.#rounds.set(track, next + 1);
      }
    }
    for (const score of await this.#source.scores()) {
      const track = score.role === 'baseline' ? 'trunk' : score.role;
      const record = tracks.get(track)?.[score.round]?.record;
      const key = `${track}/${score.round}`;
      if (!record || this.#closed || this.#scores.has(key)) continue;
      // One damaged scorecard does not stand before the others.
      const points = await this.#pointsOf(track, record, score.scorecard);
      if (!points) continue;
      await this.#hand(points);
      this.#scores.add(key);
    }
  }

  async #pointsOf(track: string, record: RoundRecord, scorecard: string): Promise<Point[] | null> {
    try {
      return pointsOfScore(track, record, await this.#source.scorecard(scorecard));
    } catch (error) {
      this.#complain(error);
      return null;
    }
  }

  /** The training says itself that its store is away; here it is only why a curve stops. The next poke tries again. */
  #complain(error: unknown): void {
    if (!this.#complained) this.#say(`${this.#sink.name} waits for the store (${reasonOf(error)}).`);
    this.#complained = true;
  }

  async #hand(points: readonly Point[]): Promise<void> {
    for (let from = 0; from < points.length && !this.#closed; from += MAX_POINTS) {
      this.#sink.offer(points.slice(from, from + MAX_POINTS));
      await this.#sink.idle();
    }
  }
}

/** The curves of one round: every step's loss and terms, and at its last step what there is once. */
export function pointsOfRound(track: string, record: RoundRecord): Point[] {
  const { metrics, step: last, committedAt } = record;
  const end = Date.parse(committedAt);
  const first = last - metrics.steps;
  const points: Point[] = [];
  const series = (name: string, values: readonly number[]) => {
    for (const [i, value] of values.entries()) {
      // Fewer values than steps where shards were cut off: which ones is not recorded, so they are spread.
      const nth = Math.ceil(((i + 1) * metrics.steps) / values.length);
      const at = Math.round(end - metrics.seconds * 1000 * (1 - nth / metrics.steps));
      points.push({ track, series: name, step: first + nth, value, at });
    }
  };
  series('train/loss', metrics.loss);
  for (const [term, values] of Object.entries(metrics.terms)) series(`train/${term}`, values);
  if (metrics.steps === 0) return points;
  const once = {
    'train/images_per_second': metrics.imagesPerSecond,
    'train/step_seconds': metrics.seconds / metrics.steps,
  };
  const norms = Object.entries(metrics.gradNorm).map(([module, norm]) => [`train/grad_norm/${module}`, norm] as const);
  const probe = Object.entries(metrics.probe).map(([what, value]) => [`probe/${what}`, value] as const);
  for (const [name, value] of [...Object.entries(once), ...norms, ...probe])
    if (value !== null) points.push({ track, series: name, step: last, value, at: end });
  return points;
}

const scorecardSchema = z.object({
  results: z.array(z.object({ suite: z.string(), split: z.string(), metric: z.string(), value: z.number() })),
});

/** Every result of a scorecard, at the step of the checkpoint that was judged. */
export function pointsOfScore(track: string, record: RoundRecord, scorecard: unknown): Point[] {
  const at = Date.parse(record.committedAt);
  const parsed = scorecardSchema.safeParse(scorecard);
  if (!parsed.success)
    throw new FoveaError(`A scorecard of ${track} at step ${record.step} cannot be read; score it again.`);
  return parsed.data.results.map(({ suite, split, metric, value }) => ({
    track,
    series: `eval/${suite}/${split}/${metric}`,
    step: record.step,
    value,
    at,
  }));
}

function describe({ id, recipe, createdAt }: Pick<RunRecord, 'id' | 'recipe' | 'createdAt'>): TrackedRun {
  return { id, name: recipe.name, createdAt: Date.parse(createdAt), params: Object.fromEntries(flattened('', recipe)) };
}

/** Leaves of a JSON value with their paths; lists of plain values stay whole. */
function* flattened(path: string, value: unknown): Generator<[string, string]> {
  const plain = (each: unknown) => typeof each !== 'object' || each === null;
  if (value === undefined) return;
  if (plain(value)) yield [path, String(value)];
  else if (Array.isArray(value) && value.every(plain)) yield [path, canonicalJson(value)];
  else for (const [key, each] of Object.entries(value as object)) yield* flattened(path ? `${path}.${key}` : key, each);
}
