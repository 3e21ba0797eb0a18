// The part of the backend that a store alone can answer. A hash in a request is only looked up where a committed round
// or a score names it: any other blob might be gigabytes of weights, and is nobody's business here.

import { isUserError, readCheckpoint, type Store } from '@fovea/artifacts';
import {
  committedRounds,
  listRuns,
  listSweeps,
  readControl,
  readRun,
  readSweep,
  reportRecordSchema,
  reportRef,
  runRef,
  type ScoredCheckpoint,
  scoredSchema,
  sweepRef,
  sweepStatus,
  trialRef,
  trialsOf,
} from '@fovea/jobs';
import { z } from 'zod';
import type { StoreReads } from './backend.ts';
import { ApiError } from './errors.ts';

const hash = z.string().regex(/^[0-9a-f]{64}$/);
const DEFAULT_CONTROL = { wants: 'run', priority: 100, deadline: null } as const;

/** Real answers from a real store. */
export function storeReads(store: Store): StoreReads {
  const index = new Index(store);
  const json = async (sha256: string): Promise<unknown> =>
    JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(await store.get(sha256)));
  const read = async <T>(ref: string, schema: z.ZodType<T>): Promise<T | null> => {
    const value = await store.readRef(ref);
    if (value === null) return null;
    const parsed = schema.safeParse(value);
    if (parsed.success) return parsed.data;
    throw new ApiError(
      500,
      `The file refs/${ref} in the store is damaged or of another version; put back a good copy.`,
    );
  };
  return {
    async runs() {
      const damaged: string[] = [];
      const runs = await listRuns(store, (id) => damaged.push(id));
      return { runs, damaged: damaged.sort() };
    },
    run: async (id) => ((await store.readRef(runRef(id))) === null ? null : readRun(store, id)),
    async control(id) {
      const control = await readControl(store, id);
      if (control === null) return DEFAULT_CONTROL;
      const { wants, priority, deadline } = control;
      return { wants, priority, deadline };
    },
    rounds: (run) => committedRounds(store, run),
    async scores(id) {
      const refs = await store.listRefs(`runs/${id}/scores`);
      const scores = await Promise.all(refs.map((ref) => read(ref, scoredSchema)));
      return scores.filter((score): score is ScoredCheckpoint => score !== null).sort((a, b) => a.round - b.round);
    },
    async checkpoint(id) {
      const runs = await index.runsWith('checkpoint', id);
      return runs && (await store.has(id)) ? { manifest: await readCheckpoint(store, id), runs } : null;
    },
    async scorecard(id) {
      const runs = await index.runsWith('scorecard', id);
      return runs && (await store.has(id)) ? json(id) : null;
    },
    async sweeps() {
      return (await listSweeps(store)).map(({ sweep: record, status }) => ({ record, status }));
    },
    async sweep(id) {
      if ((await store.readRef(sweepRef(id))) === null) return null;
      const [record, status] = [await readSweep(store, id), await sweepStatus(store, id)];
      const started = new Set(await store.listRefs(`sweeps/${id}/points`));
      const runs = await Promise.all(
        trialsOf(record).map(async ({ n, run, point, values, seed }) => {
          const isThere = started.has(trialRef(id, n)) && (await store.readRef(runRef(run))) !== null;
          return { id: run, point, values, seed, status: isThere ? (await readRun(store, run)).status : null };
        }),
      );
      return { record, status, runs };
    },
    async report(id) {
      const report = await read(reportRef(id), reportRecordSchema);
      if (report === null) return null;
      return { html: () => store.get(report.report.sha256), summary: () => json(report.summary.sha256) };
    },
  };
}

/** Refs that name a checkpoint or a scorecard; the run's id is their second part. */
const NAMING = /^runs\/([^/]+)\/(?:tracks\/[^/]+\/\d+|scores\/[^/]+)\.json$/;

/**
 * Which runs name a hash. Rounds and scores are written once, so each ref is read once; a hash that is not known makes
 * it look for new ones, and those who ask meanwhile share the next look.
 */
class Index {
  readonly #store: Store;
  readonly #seen = new Set<string>();
  readonly #names = { checkpoint: new Map<string, Set<string>>(), scorecard: new Map<string, Set<string>>() };
  #looking: Promise<void> = Promise.resolve();
  #next: Promise<void> | null = null;

  constructor(store: Store) {
    this.#store = store;
  }

  /** Runs that are known to name it; null where none does. */
  async runsWith(kind: 'checkpoint' | 'scorecard', id: string): Promise<string[] | null> {
    if (!this.#names[kind].has(id)) await this.#look();
    const runs = this.#names[kind].get(id);
    return runs ? [...runs].sort() : null;
  }

  #look(): Promise<void> {
    this.#next ??= this.#looking.then(() => {
      this.#next = null;
      const looking = this.#read();
      this.#looking = looking.catch(() => undefined);
      return looking;
    });
    return this.#next;
  }

  async #read(): Promise<void> {
    for (const ref of await this.#store.listRefs('runs')) {
      const [, run] = NAMING.exec(ref) ?? [];
      if (run === undefined || this.#seen.has(ref)) continue;
      const value = await this.#store
        .readRef(ref)
        .catch((error) => (isUserError(error) ? null : Promise.reject(error)));
      for (const kind of ['checkpoint', 'scorecard'] as const) {
        const id = hash.safeParse((value as Record<string, unknown> | null)?.[kind]);
        if (id.success) this.#name(kind, id.data, run);
      }
      this.#seen.add(ref);
    }
  }

  #name(kind: 'checkpoint' | 'scorecard', id: string, run: string): void {
    const runs = this.#names[kind].get(id) ?? new Set();
    this.#names[kind].set(id, runs.add(run));
  }
}
