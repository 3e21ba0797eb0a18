// What yes/no answers are worth, from six counts. "Yes" is the positive answer. A question left without one (not
// understood, or an error) is wrong, yet neither a yes nor a no: it lowers recall or specificity and raises no rate of yes.

import { normalQuantile } from './normal.ts';

/** Questions by what was right (`yes` or `no`) and what was said. */
export interface BinaryCounts {
  /** Right: yes, said: yes. */
  tp: number;
  /** Right: yes, said: no. */
  fn: number;
  /** Right: no, said: yes. */
  fp: number;
  /** Right: no, said: no. */
  tn: number;
  /** Right: yes, said: neither. */
  blankYes: number;
  /** Right: no, said: neither. */
  blankNo: number;
}

export const BINARY_METRICS = [
  'accuracy',
  'accuracy-answered',
  'precision',
  'recall',
  'f1',
  'specificity',
  'balanced-accuracy',
  'yes-ratio',
  'unknown-rate',
  'mcc',
  'd-prime',
  'criterion',
] as const;
export type BinaryMetric = (typeof BINARY_METRICS)[number];
export type BinaryMetrics = Record<BinaryMetric, number | null>;

export const noCounts = (): BinaryCounts => ({ tp: 0, fn: 0, fp: 0, tn: 0, blankYes: 0, blankNo: 0 });

/** Counts one question; every `said` but `yes` and `no` is an answer that was not given. */
export function count(counts: BinaryCounts, gold: 'yes' | 'no', said: string): BinaryCounts {
  const blank = said !== 'yes' && said !== 'no';
  if (gold === 'yes') counts[blank ? 'blankYes' : said === 'yes' ? 'tp' : 'fn']++;
  else counts[blank ? 'blankNo' : said === 'yes' ? 'fp' : 'tn']++;
  return counts;
}

/**
 * All metrics of the counts; 0 ÷ 0 is null. Accuracy, recall, specificity and yes-ratio are over every question asked,
 * `accuracy-answered` over those answered by yes or no. F1 is 2PR ⁄ (P + R), so null for whoever never says yes rightly.
 * MCC takes a missing answer as a third class (R_K of Gorodkin 2004; without one it is Matthews' own). d′ = z(H) − z(F) and
 * criterion = −½ (z(H) + z(F)) of hit and false-alarm rates (Green & Swets 1966; below 0 leans to yes), which become
 * (x + ½) ⁄ (n + 1) (Hautus 1995) only when one of them is 0 or 1.
 */
export function binaryMetrics({ tp, fn, fp, tn, blankYes, blankNo }: BinaryCounts): BinaryMetrics {
  const yes = tp + fn + blankYes;
  const no = fp + tn + blankNo;
  const precision = over(tp, tp + fp);
  const recall = over(tp, yes);
  const specificity = over(tn, no);
  return {
    accuracy: over(tp + tn, yes + no),
    'accuracy-answered': over(tp + tn, tp + fn + fp + tn),
    precision,
    recall,
    f1: precision === null || recall === null ? null : over(2 * precision * recall, precision + recall),
    specificity,
    'balanced-accuracy': recall === null || specificity === null ? null : (recall + specificity) / 2,
    'yes-ratio': over(tp + fp, yes + no),
    'unknown-rate': over(blankYes + blankNo, yes + no),
    mcc: correlation(tp + tn, [yes, no], [tp + fp, fn + tn, blankYes + blankNo]),
    ...detection(tp, yes, fp, no),
  };
}

const over = (top: number, bottom: number): number | null => (bottom === 0 ? null : top / bottom);

function correlation(right: number, gold: readonly [number, number], said: readonly [number, number, number]) {
  const n = gold[0] + gold[1];
  const spreadOf = (parts: readonly number[]) => n * n - parts.reduce((sum, x) => sum + x * x, 0);
  return over(right * n - gold[0] * said[0] - gold[1] * said[1], Math.sqrt(spreadOf(gold) * spreadOf(said)));
}

function detection(hits: number, yes: number, alarms: number, no: number) {
  if (yes === 0 || no === 0) return { 'd-prime': null, criterion: null };
  const extreme = [hits / yes, alarms / no].some((rate) => rate === 0 || rate === 1);
  const z = (x: number, n: number) => normalQuantile(extreme ? (x + 0.5) / (n + 1) : x / n);
  const hit = z(hits, yes);
  const alarm = z(alarms, no);
  return { 'd-prime': hit - alarm, criterion: -(hit + alarm) / 2 };
}
