// Judges one checkpoint by a plan of questions: features, outcomes, intervals, scorecard. No clock and no path goes into
// the card, so the same weights and recipe give the same bytes. Where plans come from is score-checkpoint.ts's business.

import type { Recipe } from '@fovea/recipe';
import type { ImageTextEncoder } from './image-text-encoder.ts';
import { type EvalPlan, type Omission, planHash, type Split, type Suite, suiteVersion } from './plan.ts';
import { type ProbeOutcome, runProbes } from './probes.ts';
import { METRICS, type ProbeItems, type Scorecard, type ScoreResult, scorecardSchema } from './scorecard.ts';
import { featuresOf, type ItemScores, namesOf, type RunOptions, scoreItems } from './scoring.ts';
import { type BootstrapOptions, percentileInterval, proportion, rSquared } from './statistics.ts';

export interface JudgeRequest extends RunOptions {
  plan: EvalPlan;
  /** The model under test. */
  subject: ImageTextEncoder;
  /** Id of the checkpoint. */
  checkpoint: string;
  /** `baseline`, `aligned`, `control` or `placebo`. */
  role: string;
  eval: Recipe['eval'];
  suites: readonly Suite[];
}

/** Scores a subject on every question of a plan. Deterministic; throws the plan's errors and the signal's reason. */
export async function scorePlan(request: JudgeRequest): Promise<Scorecard> {
  const { plan, subject, checkpoint, role, suites } = request;
  const features = await featuresOf(subject, plan, 0, plan.items.length, {
    signal: request.signal,
    progress: (event) => request.progress?.({ ...event, text: `scoring ${role}` }),
  });
  const names = await namesOf(subject, plan.classes);
  const gold = plan.items.map((item) => item.gold);
  const scores = scoreItems(features, names, subject.dim, gold, plan.foils);
  const clusters = clusterTable(plan);
  const { seed, bootstrap: count, rendersPerConcept } = request.eval;
  const bootstrap = { count, seed };
  const probed = probeResults(plan, features, subject.dim, clusters.index, bootstrap);
  const results = [
    ...plan.splits
      .filter((s) => s.suite !== 'probes')
      .flatMap((s) => splitResults(s, plan, scores, clusters.index, bootstrap)),
    ...probed.results,
  ];
  return scorecardSchema.parse({
    version: 1,
    checkpoint,
    role,
    suiteVersion,
    questions: planHash(plan),
    config: { seed, bootstrap: count, rendersPerConcept, suites: [...suites] },
    classes: plan.classes.length,
    foils: plan.foilKind,
    results,
    omitted: [...plan.omitted, ...probed.omitted],
    items: {
      ids: plan.items.map((item) => item.id),
      clusterNames: clusters.names,
      clusters: Array.from(clusters.index),
      foils: Array.from(plan.foils),
      top1: Array.from(scores.top1),
      twoway: Array.from(scores.twoway),
      splits: Object.fromEntries(plan.splits.map((s) => [`${s.suite}/${s.split}`, Array.from(s.rows)])),
    },
    probes: probed.items,
  } satisfies Record<keyof Omit<Scorecard, 'benchmarks'>, unknown>);
}

function clusterTable(plan: EvalPlan): { index: Int32Array; names: string[] } {
  const names: string[] = [];
  const known = new Map<string, number>();
  const index = Int32Array.from(plan.items, ({ clusterId }) => {
    const at = known.get(clusterId) ?? names.push(clusterId) - 1;
    known.set(clusterId, at);
    return at;
  });
  return { index, names };
}

function splitResults(
  split: Split,
  plan: EvalPlan,
  scores: ItemScores,
  clusters: Int32Array,
  bootstrap: BootstrapOptions,
): ScoreResult[] {
  const rows = split.rows;
  if (rows.length === 0) return [];
  const failed = new Set(scores.errors);
  const errors = rows.filter((row) => failed.has(row)).length;
  const own = rows.map((row) => clusters[row]);
  return METRICS.map((metric) => {
    const values = Uint8Array.from(rows, (row) => scores[metric][row]);
    const chance = metric === 'twoway' ? 0.5 : 1 / plan.classes.length;
    const estimate = proportion(values, own, bootstrap);
    return { suite: split.suite, split: split.split, metric, chance, errors, ...estimate };
  });
}

interface Probed {
  results: ScoreResult[];
  omitted: Omission[];
  items: Scorecard['probes'];
}

function probeResults(
  plan: EvalPlan,
  features: Float32Array,
  dim: number,
  clusters: Int32Array,
  bootstrap: BootstrapOptions,
): Probed {
  const nothing: Probed = { results: [], omitted: [], items: { rows: [], targets: {} } };
  if (plan.probe === null) return nothing;
  const { rows, targets } = plan.probe;
  const own = new Float32Array(rows.length * dim);
  for (let i = 0; i < rows.length; i++) own.set(features.subarray(rows[i] * dim, (rows[i] + 1) * dim), i * dim);
  if (!own.every(Number.isFinite)) {
    return {
      ...nothing,
      omitted: [{ suite: 'probes', split: 'id', reason: 'the checkpoint gives features that are not finite' }],
    };
  }
  const ownClusters = rows.map((row) => clusters[row]);
  const run = runProbes(own, dim, ownClusters, targets, bootstrap.seed);
  const testClusters = run.test.map((i) => ownClusters[i]);
  const items: Scorecard['probes'] = { rows: Array.from(run.test, (i) => rows[i]), targets: {} };
  const results: ScoreResult[] = [];
  const omitted: Omission[] = [];
  for (const outcome of run.outcomes) {
    const stored = rounded(outcome);
    const estimate = rSquared(stored, testClusters, bootstrap);
    if (estimate === null) {
      omitted.push({ suite: 'probes', split: 'id', reason: `${outcome.name} does not vary over the test pictures` });
      continue;
    }
    items.targets[outcome.name] = stored;
    results.push({
      suite: 'probes',
      split: 'id',
      metric: `r2-${outcome.name}`,
      value: estimate.value,
      n: run.test.length,
      ci: percentileInterval(estimate.draws),
      method: 'cluster-bootstrap',
      clusters: new Set(testClusters).size,
      chance: 0,
      errors: 0,
    });
  }
  return { results, omitted, items };
}

/** Seven digits are kept, which is what fp32 features can mean; every R² is computed from the rounded numbers. */
function rounded(outcome: ProbeOutcome): ProbeItems {
  const round = (values: Float64Array) => Array.from(values, (v) => Number(v.toPrecision(7)));
  return {
    columns: outcome.columns,
    error: round(outcome.error),
    baseline: round(outcome.baseline),
    lambda: outcome.lambda,
  };
}
