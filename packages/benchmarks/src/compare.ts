// Compares scorecards over the same questions: paired differences with cluster-bootstrap intervals, exact McNemar for
// right-or-wrong outcomes, Holm over one named family. A difference is only called one when interval and test agree.

import { FoveaError } from '@fovea/artifacts';
import { METRICS, notTestable, resultOf, type Scorecard } from './scorecard.ts';
import {
  bootstrapP,
  holm,
  type Interval,
  mcnemarExact,
  pairedDifference,
  percentileInterval,
  rSquared,
} from './statistics.ts';

export type Verdict = 'better' | 'worse' | 'inconclusive' | 'not-testable';

export interface Comparison {
  suite: string;
  split: string;
  metric: string;
  /** Roles; the difference and the verdict are of `a` against `b`. */
  a: string;
  b: string;
  /** value(a) − value(b), a share or an R². */
  delta: number;
  /** 95 % paired cluster bootstrap. */
  ci: Interval;
  /** Two-sided: exact McNemar for right-or-wrong outcomes, bootstrap for R². */
  p: number;
  test: 'mcnemar' | 'bootstrap';
  n: number;
  /** Items that `a` alone has right, and `b` alone; null for R². */
  wins: number | null;
  losses: number | null;
  nDiscordant: number | null;
  verdict: Verdict;
  /** Why it carries no verdict; null when it does. */
  notTestable: string | null;
}

export const ALPHA = 0.05;
/** Questions of a benchmark's split that can carry a verdict. */
const MIN_PAIRED = 100;

/** Every suite, split and metric of two scorecards, `a` minus `b`; the baseline decides which splits can carry a verdict. */
export function compareScorecards(a: Scorecard, b: Scorecard, options: { baseline: Scorecard }): Comparison[] {
  for (const other of [b, options.baseline]) {
    if (other.questions !== a.questions || other.suiteVersion !== a.suiteVersion) {
      throw new FoveaError(
        `Scorecards of ${a.checkpoint.slice(0, 12)} (${a.role}) and ${other.checkpoint.slice(0, 12)} (${other.role}) answer different questions, so they cannot be compared; score both with the same recipe and foils.`,
      );
    }
  }
  const bootstrap = { count: a.config.bootstrap, seed: a.config.seed };
  const rows: Comparison[] = [];
  for (const [key, at] of Object.entries(a.items.splits)) {
    const [suite, split] = [key.slice(0, key.indexOf('/')), key.slice(key.indexOf('/') + 1)];
    if (suite === 'probes' || at.length === 0) continue;
    const reason = notTestable(options.baseline, suite, split);
    const clusters = at.map((row) => a.items.clusters[row]);
    for (const metric of METRICS) {
      const own = at.map((row) => a.items[metric][row]);
      const other = at.map((row) => b.items[metric][row]);
      const { delta, ci } = pairedDifference(own, other, clusters, bootstrap);
      const wins = own.filter((v, i) => v > other[i]).length;
      const losses = own.filter((v, i) => v < other[i]).length;
      const p = mcnemarExact(wins, losses);
      const head = { suite, split, metric, a: a.role, b: b.role };
      const counts = { n: at.length, wins, losses, nDiscordant: wins + losses };
      rows.push({ ...head, delta, ci, p, test: 'mcnemar', ...counts, ...judge(ci, p, reason) });
    }
  }
  return [...rows, ...compareProbes(a, b), ...compareBenchmarks(a, b)];
}

/** Right or wrong on the splits of the benchmarks that both were asked, in the same way. */
function compareBenchmarks(a: Scorecard, b: Scorecard): Comparison[] {
  const bootstrap = { count: a.config.bootstrap, seed: a.config.seed };
  return (a.benchmarks ?? []).flatMap((own) => {
    const other = b.benchmarks?.find(({ name }) => name === own.name);
    const isSame = other?.manifest === own.manifest && other.subject === own.subject && other.scorer === own.scorer;
    if (!other || !isSame) return [];
    return Object.entries(own.items.splits).map(([split, at]): Comparison => {
      const [x, y] = [own, other].map(({ items }) => at.map((row) => items.correct[row]));
      const clusters = at.map((row) => own.items.clusters[row]);
      const { delta, ci } = pairedDifference(x, y, clusters, bootstrap);
      const wins = x.filter((v, i) => v > y[i]).length;
      const losses = x.filter((v, i) => v < y[i]).length;
      const p = mcnemarExact(wins, losses);
      const reason = at.length < MIN_PAIRED ? `${at.length} items, fewer than ${MIN_PAIRED}` : null;
      const head = { suite: own.name, split, metric: 'accuracy', a: a.role, b: b.role };
      const counts = { n: at.length, wins, losses, nDiscordant: wins + losses };
      return { ...head, delta, ci, p, test: 'mcnemar', ...counts, ...judge(ci, p, reason) };
    });
  });
}

function compareProbes(a: Scorecard, b: Scorecard): Comparison[] {
  const bootstrap = { count: a.config.bootstrap, seed: a.config.seed };
  const clusters = a.probes.rows.map((row) => a.items.clusters[row]);
  return Object.keys(a.probes.targets).flatMap((name) => {
    if (!b.probes.targets[name]) return [];
    const own = rSquared(a.probes.targets[name], clusters, bootstrap);
    const other = rSquared(b.probes.targets[name], clusters, bootstrap);
    if (!own || !other) return [];
    const metric = `r2-${name}`;
    const read = [a, b].some((card) => (resultOf(card, 'probes', 'id', metric)?.ci[0] ?? 0) > 0);
    const reason = read ? null : 'neither probe reads it: both R² intervals reach down to 0';
    const draws = own.draws.map((x, i) => x - other.draws[i]);
    const ci = percentileInterval(draws);
    const p = bootstrapP(draws);
    const head = { suite: 'probes', split: 'id', metric, a: a.role, b: b.role };
    const counts = { n: clusters.length, wins: null, losses: null, nDiscordant: null };
    return [
      {
        ...head,
        delta: own.value - other.value,
        ci,
        p,
        test: 'bootstrap' as const,
        ...counts,
        ...judge(ci, p, reason),
      },
    ];
  });
}

function judge(ci: Interval, p: number, reason: string | null): Pick<Comparison, 'verdict' | 'notTestable'> {
  if (reason !== null) return { verdict: 'not-testable', notTestable: reason };
  if (p > ALPHA || (ci[0] <= 0 && ci[1] >= 0)) return { verdict: 'inconclusive', notTestable: null };
  return { verdict: ci[0] > 0 ? 'better' : 'worse', notTestable: null };
}

/** The comparison that is fixed before anything is seen: names on re-drawn styles, feedback against no feedback. */
export const PRIMARY = { suite: 'robustvqa', split: 'V2', metric: 'top1', a: 'aligned', b: 'control' } as const;

/** The pairs a claim about feedback rests on; Holm's adjustment runs over all their testable comparisons. */
export const CLAIM_PAIRS = [
  ['aligned', 'control'],
  ['aligned', 'placebo'],
] as const;

/** Differences that any change brings, or that show what a branch did; no claim rests on them. */
export const CONTEXT_PAIRS = [
  ['aligned', 'baseline'],
  ['control', 'baseline'],
  ['placebo', 'baseline'],
  ['placebo', 'control'],
] as const;

export interface JudgedComparison extends Comparison {
  kind: 'primary' | 'family' | 'context';
  /** Holm-adjusted p in the family; null outside it. */
  pAdjusted: number | null;
}

export interface RoleComparisons {
  rows: JudgedComparison[];
  /** The family in words, for the report. */
  family: string;
}

/** All pairs of roles at their final checkpoints. In the family, a verdict needs Holm's p as well. */
export function compareRoles(finals: Map<string, Scorecard>): RoleComparisons {
  const baseline = finals.get('baseline');
  if (!baseline) return { rows: [], family: 'No baseline was scored, so nothing is compared.' };
  const pairs = (list: readonly (readonly [string, string])[]) =>
    list.flatMap(([a, b]) => {
      const [own, other] = [finals.get(a), finals.get(b)];
      return own && other ? compareScorecards(own, other, { baseline }) : [];
    });
  const claims = pairs(CLAIM_PAIRS);
  const family = claims.filter((row) => !isPrimary(row) && row.verdict !== 'not-testable');
  const adjusted = holm(family.map((row) => row.p));
  const rows = claims.map((row): JudgedComparison => {
    if (isPrimary(row)) return { ...row, kind: 'primary', pAdjusted: null };
    const at = family.indexOf(row);
    if (at < 0) return { ...row, kind: 'family', pAdjusted: null };
    const verdict = adjusted[at] <= ALPHA ? row.verdict : 'inconclusive';
    return { ...row, kind: 'family', pAdjusted: adjusted[at], verdict };
  });
  const context = pairs(CONTEXT_PAIRS).map((row): JudgedComparison => ({ ...row, kind: 'context', pAdjusted: null }));
  return { rows: [...rows, ...context], family: familyText(family.length) };
}

function isPrimary(row: Comparison): boolean {
  return (Object.keys(PRIMARY) as (keyof typeof PRIMARY)[]).every((key) => row[key] === PRIMARY[key]);
}

function familyText(size: number): string {
  return `The family is every testable comparison (split × metric) of aligned with control and of aligned with placebo except the primary one: ${size} tests, adjusted by Holm’s method at α = ${ALPHA}.`;
}
