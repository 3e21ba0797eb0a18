// Numbers and names of judged suites in words: which metrics are shares, how a value and its interval are written, what a
// suite's headline is. Shared by the page and the Markdown, so that both say the same.

import { fixed, signed } from '../../report/html.ts';
import type { JudgedRun, JudgedSuite } from '../judged-run.ts';
import type { Result } from '../result.ts';

const NOT_SHARES = /^(d-prime|criterion|mcc|auroc|ece|brier|nll|aurc|temperature|r2|mae|mse|mean-|median-|count-)/;

/** Shares are written in per cent; d′, areas and losses as they are. */
export const isShare = (metric: string): boolean => !NOT_SHARES.test(metric);

const NAMES: Record<string, string> = {
  'd-prime': 'd′',
  criterion: 'criterion c',
  f1: 'F1',
  'f1-macro': 'F1, mean of splits',
  'accuracy-macro': 'accuracy, mean of splits',
  mcc: 'MCC',
  auroc: 'AUROC',
  aurc: 'AURC',
  ece: 'ECE',
  'ece-mass': 'ECE, equal mass',
  'ece-scaled': 'ECE under the temperature',
  'auroc-confidence': 'AUROC of confidence',
  r2: 'R²',
  mse: 'squared error',
  brier: 'Brier score',
  nll: 'NLL',
  'chair-i': 'CHAIR-i',
  'chair-s': 'CHAIR-s',
  mce: 'mCE',
};

export const metricName = (metric: string): string => NAMES[metric] ?? metric.replaceAll('-', ' ');

/** `47.1 %` or `2.453`. */
export function valueText(metric: string, value: number | null): string {
  if (value === null) return 'not defined';
  return isShare(metric) ? `${fixed(100 * value, 1)}\u00a0%` : fixed(value, 3);
}

export function intervalText(metric: string, ci: { low: number; high: number } | null): string {
  if (ci === null) return '';
  const one = (x: number) => (isShare(metric) ? fixed(100 * x, 1) : fixed(x, 3));
  return `[${one(ci.low)}, ${one(ci.high)}]`;
}

/** `+1.3 pp` or `+0.080`. */
export function deltaText(metric: string, delta: number): string {
  return isShare(metric) ? `${signed(100 * delta, 1)}\u00a0pp` : signed(delta, 3);
}

export function deltaInterval(metric: string, [low, high]: readonly [number, number]): string {
  const one = (x: number) => (isShare(metric) ? signed(100 * x, 1) : signed(x, 3));
  return `[${one(low)}, ${one(high)}]`;
}

/** What a comparison could have found: `2.1 pp`; in words where it cannot be told. */
export function detectableText(metric: string, detectable: number | null): string {
  if (detectable === null) return 'cannot be told';
  return isShare(metric) ? `${fixed(100 * detectable, 1)}\u00a0pp` : fixed(detectable, 3);
}

export function pText(p: number | null): string {
  if (p === null) return '–';
  return p < 0.001 ? '<\u00a00.001' : fixed(p, 3);
}

/** Metrics from the one that stands for a suite down. */
const HEADLINES = [
  'accuracy-macro',
  'f1-macro',
  'chair-i',
  'mce',
  'shape-bias',
  'pair-accuracy',
  'accuracy',
  'f1',
  'top-1',
  'top1',
  'mean-recall',
  'recall-at-1',
  'chair-s',
  'recall',
];

/** Metrics whose rise is a loss. */
export const isLowerBetter = (metric: string): boolean =>
  /^(chair-|ece|brier|nll|aurc|mce|ce|error|unknown-rate|mae|mse|median-rank)/.test(metric);

const rank = (metric: string): number => {
  const at = HEADLINES.indexOf(metric);
  return at < 0 ? HEADLINES.length : at;
};

/** A split that stands for itself, not for a part such as `pattern/…` or captions cut short. */
const isWhole = ({ split }: Result): boolean => !split.includes('/');

/** The number that stands for a suite on a card; of a split before its unfiltered twin. */
export function headline({ results }: JudgedSuite): Result | null {
  const whole = results.filter((result) => isWhole(result) && result.value !== null);
  const beside = ({ split }: Result) => Number(split.endsWith('-unfiltered'));
  const sorted = [...whole].sort((a, b) => rank(a.metric) - rank(b.metric) || beside(a) - beside(b));
  return sorted[0] ?? results[0] ?? null;
}

/** Up to two metrics worth a drawing, over the suite's whole splits. */
export function drawnMetrics(suites: readonly JudgedSuite[]): string[] {
  const metrics = new Set(
    suites.flatMap(({ results }) => results.filter((r) => isWhole(r) && r.value !== null).map((r) => r.metric)),
  );
  const known = [...metrics].filter((metric) => HEADLINES.includes(metric) && !metric.endsWith('-macro'));
  return known.sort((a, b) => rank(a) - rank(b)).slice(0, 2);
}

/** Runs under names that tell them apart: where two are of one subject, with the start of their keys. */
export function distinctRuns(runs: readonly JudgedRun[]): JudgedRun[] {
  return runs.map((run) => {
    const isTwin = runs.some((other) => other !== run && other.subject === run.subject);
    return isTwin ? { ...run, subject: `${run.subject} ${run.key.slice(0, 6)}` } : run;
  });
}

/** Runs that have a suite, with their place in the report, which gives them a colour. */
export function suitesNamed(
  runs: readonly JudgedRun[],
  name: string,
): { run: JudgedRun; at: number; suite: JudgedSuite }[] {
  return runs.flatMap((run, at) => {
    const suite = run.suites.find(({ manifest }) => manifest.name === name);
    return suite ? [{ run, at, suite }] : [];
  });
}

/** Colour and line pattern of the run at a place, told apart by people with any colour vision. */
export const ROLES = ['aligned', 'control', 'placebo', 'other', 'baseline'] as const;
export const roleOf = (at: number): string => ROLES[at % ROLES.length];
