// For the tests here: a run with its rounds and scorecards in a real store, and folders that are removed again.

import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { openStore, type Store } from '@fovea/artifacts';
import type { RoundRecord, ScoredCheckpoint } from '@fovea/jobs';
import { recipeSchema } from '@fovea/recipe';
import { onTestFinished } from 'vitest';
import type { RunSource } from './follow.ts';
import type { Point } from './tracker.ts';

export const CREATED = '2026-11-22T10:00:00.000Z';

export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'fovea-trackers-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

export const testRun = (id = 'tracked-20261122-100000') => ({
  id,
  createdAt: CREATED,
  recipe: recipeSchema.parse({
    name: 'tracked',
    data: { kind: 'emoji-world' },
    stages: [{ stage: 'align', steps: 12, lr: 0.001, roundSteps: 4 }],
  }),
});

/** Round `round` of a track, of `steps` steps that end at step `last`; every value tells its step. */
export function testRecord(round: number, last: number, steps: number): RoundRecord {
  const values = (scale: number) => Array.from({ length: steps }, (_, i) => scale * (last - steps + i + 1));
  return {
    checkpoint: String(round).padStart(64, '0'),
    step: last,
    stage: steps > 0 ? 'align' : 'init',
    metrics: {
      steps,
      seconds: steps / 2,
      imagesPerSecond: 128,
      loss: values(1),
      terms: steps > 0 ? { feedback: values(0.5), 'odd:name': values(0.25) } : {},
      gradNorm: steps > 0 ? { encoder: last + 0.125 } : {},
      probe: { before: 2, after: 1, gap: round % 2 ? 0.25 : null },
    },
    committedAt: new Date(Date.parse(CREATED) + last * 1000).toISOString(),
  };
}

/** A run's records in a store that is filled as the test goes on. */
export class StoredRun implements RunSource {
  readonly store: Store;
  readonly #scores: ScoredCheckpoint[] = [];

  static async create(): Promise<StoredRun> {
    return new StoredRun(await openStore(await temporaryFolder()));
  }

  constructor(store: Store) {
    this.store = store;
  }

  async commit(track: string, round: number, record: RoundRecord): Promise<void> {
    await this.store.createRef(`tracks/${track}/${round}.json`, record);
  }

  async score(role: string, round: number, value: number): Promise<void> {
    const results = [
      { suite: 'robustvqa', split: 'A', metric: 'top1', value },
      { suite: 'robustvqa', split: 'R/noto', metric: 'twoway', value: value / 2 },
    ];
    const { sha256 } = await this.store.put(Buffer.from(JSON.stringify({ results })));
    this.#scores.push({ checkpoint: String(round).padStart(64, '0'), role, round, scorecard: sha256 });
  }

  async rounds() {
    const tracks = new Map<string, { record: RoundRecord }[]>();
    for (const track of ['trunk', 'aligned', 'control']) {
      const rounds: { record: RoundRecord }[] = [];
      for (let record: unknown; (record = await this.store.readRef(`tracks/${track}/${rounds.length}.json`)); )
        rounds.push({ record: record as RoundRecord });
      tracks.set(track, rounds);
    }
    return tracks;
  }

  async scores() {
    return this.#scores;
  }

  async scorecard(sha256: string) {
    return JSON.parse(Buffer.from(await this.store.get(sha256)).toString());
  }
}

/** Points of one series: steps `from` … `from + n − 1`. */
export const somePoints = (from: number, n: number, series = 'train/loss', track = 'aligned'): Point[] =>
  Array.from({ length: n }, (_, i) => ({ track, series, step: from + i, value: from + i, at: (from + i) * 1000 }));

/** Waits until something holds; fails after `ms`. */
export async function until(holds: () => boolean | Promise<boolean>, ms = 20_000): Promise<void> {
  for (const end = performance.now() + ms; !(await holds()); ) {
    if (performance.now() > end) throw new Error(`still not so after ${ms} ms: ${holds}`);
    await sleep(10);
  }
}
