// Sweeps as the store knows them: what was asked for, with every point resolved, and one ref per run that was started for
// it. Runs of a sweep are ordinary runs whose ids follow from the sweep's, so that starting one twice starts it once.

import { blobRefSchema, canonicalJson, FoveaError, type Store } from '@fovea/artifacts';
import { planOf, recipeHash, type SweepMetric, type SweepValues, sweepSchema, type Track } from '@fovea/recipe';
import { z } from 'zod';
import { cancelRun, readControl, type Submission, sendControl, submitRun } from './control.ts';
import { faultPoint } from './fault.ts';
import type { Fleet } from './fleet.ts';
import { parseRef, readRun, scoredRef } from './runs.ts';
import { type RunRecord, runRecordSchema, scoredSchema } from './schemas.ts';

export const sweepRef = (id: string) => `sweeps/${id}/sweep.json`;
export const trialRef = (id: string, n: number) => `sweeps/${id}/points/${n}.json`;
const wishRef = (id: string) => `sweeps/${id}/control.json`;
const endRef = (id: string) => `sweeps/${id}/end.json`;

/** What a run of a point is made of, but for its seed. */
const resolvedSchema = runRecordSchema.pick({
  recipe: true,
  recipeDir: true,
  sources: true,
  recipeText: true,
  recipeSource: true,
});

/** `sweeps/<id>/sweep.json`: written once. */
export const sweepRecordSchema = z.strictObject({
  version: z.literal(1),
  id: z.string().regex(/^[a-z0-9][a-z0-9-]*$/),
  createdAt: z.iso.datetime(),
  sweep: sweepSchema,
  seeds: z.array(z.int().min(0)).min(1),
  /** Rounds of the align stage's tracks after which points are judged (`rungsOf` of @fovea/recipe). */
  rungs: z.array(z.int().min(1)).min(1),
  /** In the order in which they are started; `resolved` is the blob of a recipe and where it came from. */
  points: z
    .array(z.strictObject({ id: z.string(), values: z.record(z.string(), z.json()), resolved: blobRefSchema }))
    .min(1),
});
export type SweepRecord = z.infer<typeof sweepRecordSchema>;

/** `sweeps/<id>/points/<n>.json`: a run that was started. */
const trialSchema = z.strictObject({
  run: z.string(),
  /** Index of the point. */
  point: z.int().min(0),
  values: z.record(z.string(), z.json()),
  seed: z.int().min(0),
});
/** One run of a sweep: a point with a seed. */
export interface Trial {
  /** Place in the order of the sweep's runs. */
  n: number;
  run: string;
  point: number;
  values: SweepValues;
  seed: number;
}

const endSchema = z.strictObject({ status: z.enum(['completed', 'cancelled']), at: z.iso.datetime() });
export type SweepStatus = 'running' | 'cancelling' | z.infer<typeof endSchema>['status'];

export interface SweepWish extends Pick<SweepRecord, 'sweep' | 'seeds' | 'rungs'> {
  points: { id: string; values: SweepValues; resolved: z.infer<typeof resolvedSchema> }[];
}

/** Hands a sweep to the fleet's coordinator, under the first free id of `name-time`, `name-time-2`, …. */
export async function submitSweep(fleet: Fleet, wish: SweepWish, now: Date): Promise<SweepRecord> {
  const { store } = fleet;
  const points: SweepRecord['points'] = [];
  for (const { id, values, resolved } of wish.points) {
    const bytes = new TextEncoder().encode(canonicalJson(resolvedSchema.parse(resolved)));
    points.push({ id, values, resolved: await store.put(bytes) });
  }
  const at = now.toISOString();
  const stamp = at.slice(0, 19).replace(/[-:]/g, '').replace('T', '-');
  for (let n = 1; ; n++) {
    const id = `${wish.sweep.name}-${stamp}${n > 1 ? `-${n}` : ''}`;
    const record = sweepRecordSchema.parse({ ...wish, version: 1, id, createdAt: at, points });
    if (!(await store.createRef(sweepRef(id), record))) continue;
    await sendControl(fleet, { type: 'sweep', sweep: id });
    return record;
  }
}

/** The record of a sweep; a FoveaError where there is none. */
export async function readSweep(store: Store, id: string): Promise<SweepRecord> {
  const value = /^[a-z0-9][a-z0-9-]*$/.test(id) ? await store.readRef(sweepRef(id)) : null;
  if (value === null)
    throw new FoveaError(`There is no sweep called "${id}" in the store; \`fovea sweep list\` says which there are.`);
  return parseRef(sweepRecordSchema, value, sweepRef(id));
}

/** Every sweep in the store with how it is, newest first. */
export async function listSweeps(store: Store): Promise<{ sweep: SweepRecord; status: SweepStatus }[]> {
  const ids = await sweepIds(store);
  const sweeps = await Promise.all(
    ids.map(async (id) => ({ sweep: await readSweep(store, id), status: await sweepStatus(store, id) })),
  );
  return sweeps.sort(({ sweep: a }, { sweep: b }) =>
    a.createdAt < b.createdAt ? 1 : a.createdAt > b.createdAt ? -1 : 0,
  );
}

async function sweepIds(store: Store): Promise<string[]> {
  return (await store.listRefs('sweeps')).flatMap((ref) => /^sweeps\/([^/]+)\/sweep\.json$/.exec(ref)?.[1] ?? []);
}

/** Ids of the sweeps that have not ended. */
export async function openSweeps(store: Store): Promise<string[]> {
  const refs = new Set(await store.listRefs('sweeps'));
  return [...refs].flatMap((ref) => {
    const id = /^sweeps\/([^/]+)\/sweep\.json$/.exec(ref)?.[1];
    return id !== undefined && !refs.has(endRef(id)) ? [id] : [];
  });
}

export async function sweepStatus(store: Store, id: string): Promise<SweepStatus> {
  const end = await store.readRef(endRef(id));
  if (end !== null) return parseRef(endSchema, end, endRef(id)).status;
  return (await store.readRef(wishRef(id))) === null ? 'running' : 'cancelling';
}

/** Notes how a sweep ended, once. */
export async function endSweep(store: Store, id: string, status: 'completed' | 'cancelled', now: Date): Promise<void> {
  await store.createRef(endRef(id), endSchema.parse({ status, at: now.toISOString() }));
}

/** Ends a sweep and its runs at once; what they have stays. */
export async function cancelSweep(fleet: Fleet, id: string): Promise<void> {
  const { store } = fleet;
  await readSweep(store, id);
  const status = await sweepStatus(store, id);
  if (status === 'completed' || status === 'cancelled')
    throw new FoveaError(`The sweep ${id} is ${status}, so there is nothing to cancel.`);
  await store.writeRef(wishRef(id), { wants: 'cancel' });
  await sendControl(fleet, { type: 'sweep', sweep: id });
}

/** Every run that a sweep is made of, started or not, in their order: a point's seeds follow each other. */
export function trialsOf({ id, points, seeds }: SweepRecord): Trial[] {
  return points.flatMap(({ values }, point) =>
    seeds.map((seed, i) => ({ n: point * seeds.length + i, run: `${id}-p${point}-s${seed}`, point, values, seed })),
  );
}

/** The sweep that a run's id says it belongs to. */
export const sweepOfRun = (runId: string): string | null => /^(.+)-p\d+-s\d+$/.exec(runId)?.[1] ?? null;

/** Submits a run of a sweep for so many rounds, or to its end. Idempotent. */
export async function startTrial(
  fleet: Fleet,
  { id, sweep, points }: SweepRecord,
  { n, ...trial }: Trial,
  rounds: number | undefined,
  now: Date,
): Promise<RunRecord> {
  const { store } = fleet;
  const { run, point, seed } = trial;
  await store.createRef(trialRef(id, n), trialSchema.parse(trial));
  await faultPoint('sweep-noted');
  const bytes = await store.get(points[point].resolved.sha256);
  const { recipe: shared, ...about } = resolvedSchema.parse(JSON.parse(new TextDecoder().decode(bytes)));
  const recipe = { ...shared, seed };
  const submission: Submission = { ...about, recipe, recipeHash: recipeHash(recipe, about.sources) };
  return submitRun(fleet, { ...submission, id: run, priority: sweep.priority, rounds }, now);
}

/** Cancels the runs of a sweep that have not ended; whether none is left. */
export async function cancelTrials(fleet: Fleet, sweep: SweepRecord): Promise<boolean> {
  const { store } = fleet;
  let isOver = true;
  for (const { run } of trialsOf(sweep)) {
    const control = await readControl(store, run);
    if (!control) continue;
    const { status } = await readRun(store, run);
    if (status === 'completed' || status === 'failed' || status === 'cancelled') continue;
    isOver = false;
    if (control.wants !== 'cancel') await cancelRun(fleet, run);
  }
  return isOver;
}

/** Reads one measure off a scorecard; null where it has none. */
export type Measure = (scorecard: string) => Promise<number | null>;

/**
 * What a run's role reached after so many rounds, or at its newest scored round, less that of the role that it is compared
 * with. Undefined until both are scored; null where a scorecard has no such measure.
 */
export async function reachedBy(
  store: Store,
  { id, recipe }: Pick<RunRecord, 'id' | 'recipe'>,
  { role, against }: { role: SweepMetric['role'] | 'baseline'; against: SweepMetric['against'] },
  measure: Measure,
  rounds?: number,
): Promise<number | null | undefined> {
  const plan = planOf(recipe);
  const scoreOf = async (track: Track, round: number) => {
    const ref = scoredRef(id, track, round);
    const value = await store.readRef(ref);
    return value === null ? undefined : measure(parseRef(scoredSchema, value, ref).scorecard);
  };
  const start = plan.get('trunk')!.at(-1)!.round;
  if (role === 'baseline') return scoreOf('trunk', start);
  const refs = rounds === undefined ? new Set(await store.listRefs(`runs/${id}/scores`)) : null;
  const newest = plan.get(role)?.findLast(({ round }) => refs?.has(scoredRef(id, role, round)))?.round;
  const round = rounds === undefined ? newest : rounds - 1;
  if (round === undefined) return undefined;
  const value = await scoreOf(role, round);
  if (value == null || against === null) return value;
  const other = against === 'baseline' ? await scoreOf('trunk', start) : await scoreOf(against, round);
  return other == null ? other : value - other;
}
