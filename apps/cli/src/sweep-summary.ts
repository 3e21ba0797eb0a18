// What a sweep has found so far, from the store alone: per point the measure over its seeds with an interval, where each
// point stands, and the best. For a control matrix, which has one point, also every role and what lies between them.

import type { Store } from '@fovea/artifacts';
import { meanInterval, measureOf, parseScorecard } from '@fovea/benchmarks';
import {
  type Measure,
  type RunRecord,
  reachedBy,
  readControl,
  readRun,
  type SweepRecord,
  type SweepStatus,
  sweepStatus,
  type Trial,
  trialsOf,
} from '@fovea/jobs';
import { ROLES, type Role, type SweepMetric, type SweepValues } from '@fovea/recipe';
import { table } from './summary.ts';

export interface Estimate {
  /** Seeds behind the mean. */
  n: number;
  /** Null where n = 0. */
  mean: number | null;
  /** 95 %, Student's t over the seeds; null where n < 2. */
  ci: readonly [number, number] | null;
}

interface TrialSummary {
  run: string;
  seed: number;
  status: string;
  /** Rounds after which it was stopped; null where it was not. */
  stoppedAt: number | null;
  /** Of the measure; null where it is not scored yet. */
  value: number | null;
}

export interface PointSummary {
  id: string;
  values: SweepValues;
  /** Rounds of the align stage that the measure is of, where points are judged at rungs. */
  rounds: number | null;
  estimate: Estimate;
  runs: TrialSummary[];
}

export interface SweepSummary {
  sweep: string;
  status: SweepStatus;
  metric: SweepMetric;
  search: string;
  rungs: number[];
  points: PointSummary[];
  /** Id of the point that is best among those that got farthest; null where none has a value. */
  best: string | null;
  /** Roles and their differences over the seeds; empty where there is more than one point. */
  roles: { name: string; estimate: Estimate }[];
}

export async function summarizeSweep(store: Store, record: SweepRecord): Promise<SweepSummary> {
  const { id, sweep, rungs } = record;
  const measure = measureIn(store, sweep.metric);
  const points: PointSummary[] = [];
  const trials = trialsOf(record);
  for (const [index, { id: point, values }] of record.points.entries()) {
    const own = trials.filter((trial) => trial.point === index);
    points.push({ id: point, values, ...(await summarizePoint(store, record, own, measure)) });
  }
  const roles = points.length === 1 ? await summarizeRoles(store, trials, measure) : [];
  const status = await sweepStatus(store, id);
  const { metric, search } = sweep;
  return { sweep: id, status, metric, search: search.kind, rungs, points, best: bestOf(points, metric.goal), roles };
}

function measureIn(store: Store, metric: SweepMetric): Measure {
  const known = new Map<string, Promise<number | null>>();
  const read = async (scorecard: string) => {
    const json = JSON.parse(new TextDecoder().decode(await store.get(scorecard)));
    return measureOf(parseScorecard(json, scorecard.slice(0, 12)), metric);
  };
  return (scorecard) => {
    if (!known.has(scorecard)) known.set(scorecard, read(scorecard));
    return known.get(scorecard)!;
  };
}

/** Seeds are compared at the highest rung that all of them have reached. */
async function summarizePoint(store: Store, { sweep, rungs }: SweepRecord, trials: Trial[], measure: Measure) {
  const isJudged = sweep.search.kind === 'asha';
  const runs: (TrialSummary & { byRung: (number | null)[] })[] = [];
  for (const { run: id, seed } of trials) {
    const control = await readControl(store, id);
    if (!control) {
      runs.push({ run: id, seed, status: 'not started', stoppedAt: null, value: null, byRung: [] });
      continue;
    }
    const run = await readRun(store, id);
    const at = isJudged ? rungs : [undefined];
    const byRung = await Promise.all(
      at.map(async (rounds) => (await reachedBy(store, run, sweep.metric, measure, rounds)) ?? null),
    );
    const isStopped =
      run.status === 'paused' && control.rounds !== undefined && control.rounds < rungs[rungs.length - 1];
    runs.push({
      run: id,
      seed,
      status: run.status,
      stoppedAt: isStopped ? control.rounds! : null,
      value: byRung.findLast((value) => value !== null) ?? null,
      byRung,
    });
  }
  const common = isJudged ? rungs.findLastIndex((_, rung) => runs.every(({ byRung }) => byRung[rung] != null)) : 0;
  const values = runs.flatMap(({ byRung }) => byRung[Math.max(common, 0)] ?? []);
  return {
    rounds: isJudged && common >= 0 ? rungs[common] : null,
    estimate: estimateOf(values),
    runs: runs.map(({ byRung: _byRung, ...run }) => run),
  };
}

function estimateOf(values: number[]): Estimate {
  const { mean, ci } = meanInterval(values);
  return { n: values.length, mean: values.length === 0 ? null : mean, ci };
}

/** The start and each role at its newest scored round, and what lies between them, paired by seed. */
async function summarizeRoles(store: Store, trials: Trial[], measure: Measure): Promise<SweepSummary['roles']> {
  const started: RunRecord[] = [];
  for (const { run } of trials) if (await readControl(store, run)) started.push(await readRun(store, run));
  const stages = started.flatMap(({ recipe }) => recipe.stages);
  const roles = ROLES.filter((role) => stages.some((stage) => stage.stage === 'align' && stage.roles.includes(role)));
  const row = async (role: Role | 'baseline', against: SweepMetric['against']) => {
    const values = await Promise.all(started.map((run) => reachedBy(store, run, { role, against }, measure)));
    const estimate = estimateOf(values.filter((value) => typeof value === 'number'));
    return { name: against ? `${role} − ${against}` : role, estimate };
  };
  const pairs = roles.flatMap((role) => {
    const others = role === 'aligned' ? roles.filter((other) => other !== role) : [];
    return [...others, 'baseline' as const].map((other) => [role, other] as const);
  });
  const alone = [...roles, 'baseline' as const].map((role) => [role, null] as const);
  return Promise.all([...alone, ...pairs].map(([role, against]) => row(role, against)));
}

/** Of the points that have come as far as any has, the best; one of fewer rounds is not comparable. */
function bestOf(points: PointSummary[], goal: SweepMetric['goal']): string | null {
  const far = Math.max(...points.map(({ rounds }) => rounds ?? 0));
  const rivals = points.filter(({ rounds, estimate }) => (rounds ?? 0) === far && estimate.mean !== null);
  const sign = goal === 'max' ? 1 : -1;
  return rivals.sort((a, b) => sign * (b.estimate.mean! - a.estimate.mean!))[0]?.id ?? null;
}

/** The summary as tables. */
export function sweepText(summary: SweepSummary): string {
  const { metric, points, rungs, roles } = summary;
  const isJudged = summary.search === 'asha';
  const split = metric.split === null ? '(mean over splits)' : metric.split;
  const what = `${metric.suite} ${split} ${metric.metric}, ${metric.role}${metric.against ? ` − ${metric.against}` : ''}`;
  const fields = Object.keys(points[0].values);
  const rows = points.map((point) => [
    point.id,
    ...fields.map((field) => JSON.stringify(point.values[field])),
    ...(isJudged ? [point.rounds === null ? '–' : String(point.rounds)] : []),
    ...cells(point.estimate),
    standing(point),
    point.id === summary.best ? 'best' : '',
  ]);
  const head = ['point', ...fields, ...(isJudged ? ['rounds'] : []), 'n', 'mean', '95 %', 'runs', ''];
  const lines = [
    `${summary.sweep}: ${summary.status}; ${points.length} points × ${points[0].runs.length} seeds; ${what} (${metric.goal})`,
    ...(isJudged ? [`rungs at ${rungs.join(', ')} rounds`] : []),
    table(head, rows),
  ];
  const alone =
    points[0].runs.length === 1 && 'n = 1: one seed has no interval, so differences between points may be chance.';
  const matrix =
    roles.length > 0 &&
    table(
      ['role', 'n', 'mean', '95 %'],
      roles.map(({ name, estimate }) => [name, ...cells(estimate)]),
    );
  return [...lines, ...(matrix ? ['', matrix] : []), ...(alone ? ['', alone] : [])].join('\n');
}

function cells({ n, mean, ci }: Estimate): string[] {
  const number = (x: number) => x.toFixed(4);
  return [
    String(n),
    mean === null ? '–' : number(mean),
    ci ? `[${ci.map(number).join(', ')}]` : n === 1 ? 'n = 1' : '–',
  ];
}

/** `2 completed, 1 stopped at 4`. */
function standing({ runs }: PointSummary): string {
  const counts = new Map<string, number>();
  for (const { status, stoppedAt } of runs) {
    const name = stoppedAt === null ? status : `stopped at ${stoppedAt}`;
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return [...counts].map(([name, n]) => `${n} ${name}`).join(', ');
}
