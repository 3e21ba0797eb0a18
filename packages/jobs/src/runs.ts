// Runs as the store knows them: one record per run, one per committed round. Everything about a run can be told from
// these files alone; Redis only knows what is being done about it now.

import { canonicalJson, FoveaError, type Store, sha256Hex } from '@fovea/artifacts';
import { isJudging, planOf, type Round, type Track } from '@fovea/recipe';
import type { z } from 'zod';
import {
  type ReportResult,
  type RoundRecord,
  type RunRecord,
  type RunStatus,
  reportRecordSchema,
  roundRecordSchema,
  runRecordSchema,
  type ScoredCheckpoint,
  scoredSchema,
} from './schemas.ts';

export const runRef = (runId: string) => `runs/${runId}/run.json`;
export const roundRef = (runId: string, track: string, round: number) => `runs/${runId}/tracks/${track}/${round}.json`;
export const planRef = (runId: string, track: string, round: number) => `runs/${runId}/plans/${track}/${round}.json`;
export const shardsRef = (runId: string, track: string, round: number) => `runs/${runId}/shards/${track}/${round}`;
export const shardRef = (runId: string, track: string, round: number, { index, of }: { index: number; of: number }) =>
  `${shardsRef(runId, track, round)}/${index}-of-${of}.json`;
export const scoredRef = (runId: string, track: string, round: number) => `runs/${runId}/scores/${track}-${round}.json`;
export const reportRef = (runId: string) => `runs/${runId}/report.json`;
/** Of a checkpoint's score, whichever run asked for it first. */
export const scoreRef = (key: string) => `scores/${key}.json`;

/**
 * Name of a score: the checkpoint, which stands for the recipe's files too, and all that decides how it is judged. The same
 * key is never scored twice.
 */
export function scoreKey(
  checkpoint: string,
  suiteVersion: string,
  { recipe, sources = {} }: Pick<RunRecord, 'recipe' | 'sources'>,
  suites: readonly string[],
): string {
  const judging = Object.entries(sources).filter(([field]) => isJudging(field));
  const { everyRounds: _rounds, newestOnly: _newest, gates: _gates, benchmarks, ...evalConfig } = recipe.eval;
  const asked = {
    suites,
    ...(benchmarks.length > 0 && { benchmarks }),
    ...(judging.length > 0 && { files: Object.fromEntries(judging) }),
  };
  return sha256Hex(
    canonicalJson({ checkpoint, suiteVersion, evalConfig: { ...evalConfig, ...asked }, data: recipe.data }),
  );
}

/**
 * Makes a run under the first free id of `name-time`, `name-time-2`, …; its session is 1. Under an id that is given it is
 * made once, and found from then on.
 */
export async function createRun(
  store: Store,
  run: Pick<RunRecord, 'recipe' | 'recipeHash' | 'recipeDir' | 'sources' | 'recipeText' | 'recipeSource'>,
  now: Date,
  status: RunStatus = 'running',
  given?: string,
): Promise<RunRecord> {
  const at = now.toISOString();
  const stamp = at.slice(0, 19).replace(/[-:]/g, '').replace('T', '-');
  for (let n = 1; ; n++) {
    const id = given ?? `${run.recipe.name}-${stamp}${n > 1 ? `-${n}` : ''}`;
    const record: RunRecord = {
      version: 1,
      id,
      ...run,
      createdAt: at,
      updatedAt: at,
      session: 1,
      status,
      error: null,
    };
    if (await store.createRef(runRef(id), runRecordSchema.parse(record))) return record;
    if (given !== undefined) return readRun(store, given);
  }
}

/** The record of a run; a FoveaError where there is none. */
export async function readRun(store: Store, runId: string): Promise<RunRecord> {
  const value = /^[a-z0-9][a-z0-9-]*$/.test(runId) ? await store.readRef(runRef(runId)) : null;
  if (value === null) {
    throw new FoveaError(`There is no run called "${runId}" in the store; \`fovea runs\` lists those that there are.`);
  }
  return parseRef(runRecordSchema, value, runRef(runId));
}

/** Changes fields of a run's record. Only who drives the run may: its `fovea train`, or the fleet's coordinator. */
export async function updateRun(
  store: Store,
  runId: string,
  changes: Partial<Pick<RunRecord, 'status' | 'error' | 'session'>>,
  now: Date,
): Promise<RunRecord> {
  const record = { ...(await readRun(store, runId)), ...changes, updatedAt: now.toISOString() };
  await store.writeRef(runRef(runId), runRecordSchema.parse(record));
  return record;
}

/**
 * Every run in the store, newest first. One whose record is damaged is left out where `onDamaged` is told of it, and a
 * FoveaError where nobody is: who throws away what no run needs must know all of them.
 */
export async function listRuns(
  store: Store,
  onDamaged?: (run: string, error: FoveaError) => void,
): Promise<RunRecord[]> {
  const refs = (await store.listRefs('runs')).filter((ref) => /^runs\/[^/]+\/run\.json$/.test(ref));
  const read = async (id: string): Promise<RunRecord[]> => {
    try {
      return [await readRun(store, id)];
    } catch (error) {
      if (!onDamaged || !(error instanceof FoveaError)) throw error;
      onDamaged(id, error);
      return [];
    }
  };
  const runs = (await Promise.all(refs.map((ref) => read(ref.split('/')[1])))).flat();
  return runs.sort((a, b) => (a.createdAt < b.createdAt ? 1 : a.createdAt > b.createdAt ? -1 : a.id < b.id ? 1 : -1));
}

export async function readRound(
  store: Store,
  runId: string,
  track: string,
  round: number,
): Promise<RoundRecord | null> {
  const ref = roundRef(runId, track, round);
  const value = await store.readRef(ref);
  return value === null ? null : parseRef(roundRecordSchema, value, ref);
}

/** Refs that are read at the same time. */
const READS = 50;

/** A round of the plan that is committed. */
export interface CommittedRound {
  round: Round;
  record: RoundRecord;
}

/**
 * The committed rounds of every track of the plan, in order and without gaps. Pass what an earlier call returned to
 * read only what is new: committed rounds never change.
 */
export async function committedRounds(
  store: Store,
  run: RunRecord,
  known: Map<Track, CommittedRound[]> = new Map(),
): Promise<Map<Track, CommittedRound[]>> {
  const refs = new Set(await store.listRefs(`runs/${run.id}/tracks`));
  const tracks = new Map<Track, CommittedRound[]>();
  for (const [track, rounds] of planOf(run.recipe)) {
    const committed = [...(known.get(track) ?? [])];
    const due = rounds.slice(committed.length);
    const gap = due.findIndex(({ round }) => !refs.has(roundRef(run.id, track, round)));
    const there = gap < 0 ? due : due.slice(0, gap);
    // Many at once, since a store far away takes its time for each.
    for (let from = 0, isWhole = true; isWhole && from < there.length; from += READS) {
      const some = there.slice(from, from + READS);
      const records = await Promise.all(some.map(({ round }) => readRound(store, run.id, track, round)));
      for (const [i, record] of records.entries()) {
        isWhole &&= record !== null;
        if (isWhole) committed.push({ round: some[i], record: record! });
      }
    }
    tracks.set(track, committed);
  }
  return tracks;
}

/** Every score of the run so far, in the order of roles and rounds. */
export async function readScores(store: Store, runId: string): Promise<ScoredCheckpoint[]> {
  const refs = await store.listRefs(`runs/${runId}/scores`);
  const scores = await Promise.all(refs.map(async (ref) => parseRef(scoredSchema, await store.readRef(ref), ref)));
  return scores.sort((a, b) => (a.role < b.role ? -1 : a.role > b.role ? 1 : a.round - b.round));
}

export async function readReport(store: Store, runId: string): Promise<ReportResult | null> {
  const value = await store.readRef(reportRef(runId));
  return value === null ? null : parseRef(reportRecordSchema, value, reportRef(runId));
}

/** The value of a ref as its schema has it, or a FoveaError that names the file. */
export function parseRef<T>(schema: z.ZodType<T>, value: unknown, ref: string): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new FoveaError(
    `The file refs/${ref} in the store is damaged or of another version: at "${issue.path.join('.')}": ${issue.message}; put back a good copy or delete it.`,
  );
}
