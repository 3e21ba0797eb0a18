// Frees what nothing names, now and then: every few hours the first coordinator of a store to see that it is time collects
// its garbage, beside its other work. A ref that only one can create says whose turn it is; one that dies in it is made up
// for by the next.

import { hostname } from 'node:os';
import { collectGarbage, FoveaError, type Garbage, type Store } from '@fovea/artifacts';
import { committedRounds, faultPoint, keptCheckpoints, listRuns, timestamp } from '@fovea/jobs';
import type { Retention } from './retention.ts';

const HOUR_MS = 3_600_000;
const DEFAULT_HOURS = 6;

/** Hours between two collections by FOVEA_GC_HOURS; 0 for none. */
export function collectionHours(env: NodeJS.ProcessEnv = process.env): number {
  const text = env.FOVEA_GC_HOURS;
  const hours = text === undefined || text === '' ? DEFAULT_HOURS : Number(text);
  if (Number.isFinite(hours) && hours >= 0) return hours;
  throw new FoveaError(
    `The environment variable FOVEA_GC_HOURS is "${text}"; it takes the hours between two collections of garbage, or 0 for none.`,
  );
}

export class Collector {
  readonly #store: Store;
  readonly #retention: Retention;
  readonly #now: () => number;
  readonly #hours: number;
  #turn: number | null = null;
  #going: Promise<unknown> = Promise.resolve();

  constructor(store: Store, retention: Retention, now: () => number, hours = collectionHours()) {
    this.#store = store;
    this.#retention = retention;
    this.#now = now;
    this.#hours = hours;
  }

  /** Begins a collection where it is time for one, and returns at once. */
  look(): void {
    if (this.#hours === 0) return;
    const turn = Math.floor(this.#now() / (this.#hours * HOUR_MS));
    if (turn === this.#turn) return;
    this.#turn = turn;
    this.#going = this.#going
      .then(() => this.#collect(turn))
      .catch((error) => console.error(`${timestamp()} collection: ${(error as Error).message}`));
  }

  /** Waits for a collection that has begun. */
  async settled(): Promise<void> {
    await this.#going;
  }

  async #collect(turn: number): Promise<Garbage | null> {
    const store = this.#store;
    const ref = `collections/${this.#hours}h-${turn}.json`;
    const begun = { by: `${hostname()} ${process.pid}`, at: new Date(this.#now()).toISOString() };
    if (!(await store.createRef(ref, begun))) return null;
    // Those that were completed while nobody could mark what they let go.
    for (const run of await listRuns(store)) {
      if (run.status === 'completed' && run.recipe.keep.last !== null)
        await this.#retention.look(run, await committedRounds(store, run));
    }
    const found = await collectGarbage(store, { keep: await keptCheckpoints(store), now: this.#now() });
    await faultPoint('store-collected');
    await store.writeRef(ref, { ...begun, ...found });
    for (const old of await store.listRefs('collections')) if (old !== ref) await store.removeRef(old);
    const { trashed, removed } = found;
    console.log(
      `${timestamp()} collection: ${trashed.blobs} blobs to the trash, ${removed.blobs} removed (${removed.bytes} bytes)`,
    );
    return found;
  }
}
