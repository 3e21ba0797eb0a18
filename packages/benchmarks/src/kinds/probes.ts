// What a linear probe reads off frozen features: R² of values, accuracy of classes that are given as one-hot numbers. The
// probe is fitted by the subject on the suite's probe rows; knowing nothing is their mean, or their commonest class.

import type { Judged, MeasureOptions, Scorer, SuiteKind } from '../judging/kind.ts';
import type { Result } from '../judging/result.ts';
import { percentileInterval, rSquared } from '../statistics.ts';
import type { Item } from '../suite/item.ts';
import type { Suite } from '../suite/suite.ts';
import { Estimates } from './estimates.ts';

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

const means = new WeakMap<Suite, Map<string, number[]>>();

/** Column means of a target over the probe rows. */
function meanOf(suite: Suite, target: string, columns: number): number[] {
  const known = means.get(suite) ?? new Map<string, number[]>();
  means.set(suite, known);
  const found = known.get(target);
  if (found) return found;
  const sums: number[] = Array.from({ length: columns }, () => 0);
  for (const { targets } of suite.probes)
    for (let c = 0; c < columns; c++) sums[c] += (targets[target]?.[c] ?? 0) / suite.probes.length;
  known.set(target, sums);
  return sums;
}

const isOneHot = (gold: readonly number[]): boolean =>
  gold.length > 1 && sum(gold) === 1 && gold.every((v) => v === 0 || v === 1);

/** Position of the largest; -1 where two are as large. */
function largest(values: readonly number[]): number {
  const most = Math.max(...values);
  const at = values.indexOf(most);
  return values.lastIndexOf(most) === at ? at : -1;
}

const squares = (a: readonly number[], b: readonly number[]): number[] => a.map((x, c) => (x - b[c]) ** 2);

const scorer: Scorer = {
  id: 'probe',
  version: 1,
  score({ id: itemId, ask }, answer, suite) {
    const scored = { itemId, margin: null, confidence: null };
    const isWhole = ask.kind === 'estimate' && answer.kind === 'values' && answer.values.length === ask.gold.length;
    if (!isWhole) return { ...scored, label: 'unknown', rule: 'no-values', correct: 0 };
    const error = squares(answer.values, ask.gold);
    if (isOneHot(ask.gold)) {
      const at = largest(answer.values);
      const isRight = at === ask.gold.indexOf(1);
      const label = at < 0 ? 'unknown' : `${at}`;
      return { ...scored, label, rule: 'argmax', correct: isRight ? 1 : 0, detail: { error } };
    }
    const baseline = squares(meanOf(suite, ask.target, ask.gold.length), ask.gold);
    const isCloser = sum(error) < sum(baseline);
    const label = isCloser ? 'closer' : 'farther';
    return { ...scored, label, rule: 'closer-than-mean', correct: isCloser ? 1 : 0, detail: { error } };
  },
};

const targetOf = ({ ask }: Item): string => (ask.kind === 'estimate' ? ask.target : '');
const goldOf = ({ ask }: Item): number[] => (ask.kind === 'estimate' ? ask.gold : []);

function measureTarget(suite: Suite, split: string, judged: readonly Judged[], options: MeasureOptions): Result {
  const estimates = new Estimates(suite, judged, options);
  const columns = goldOf(judged[0].item).length;
  const mean = meanOf(suite, targetOf(judged[0].item), columns);
  if (judged.every(({ item }) => isOneHot(goldOf(item)))) {
    const part = ({ scored }: Judged) => ({ top: scored.correct as number, bottom: 1 });
    return estimates.ratio(part, { split, metric: 'accuracy', chance: Math.max(...mean), isProportion: true });
  }
  const baseline = judged.flatMap(({ item }) => squares(mean, goldOf(item)));
  // Without an answer nothing is known, which is the baseline.
  const error = judged.flatMap(
    ({ item, scored }) => (scored.detail?.error as number[] | undefined) ?? squares(mean, goldOf(item)),
  );
  const found = rSquared({ columns, error, baseline }, estimates.clusterIndex, options);
  const [low, high] = found ? percentileInterval(found.draws) : [Number.NaN, Number.NaN];
  return {
    suite: suite.manifest.name,
    split,
    metric: 'r2',
    value: found?.value ?? null,
    n: judged.length,
    ...estimates.counts(),
    ci: Number.isFinite(low)
      ? { low, high, method: 'cluster-bootstrap', level: 0.95, resamples: options.count, seed: options.seed }
      : null,
    chance: 0,
  };
}

/** `r2` or `accuracy` of every target, in the part `split/target`. */
export const probes: SuiteKind = {
  kind: 'probes',
  scorers: [scorer],
  measure(suite, judged, options) {
    const parts = new Map<string, Judged[]>();
    for (const one of judged) {
      const part = `${one.item.split}/${targetOf(one.item)}`;
      const known = parts.get(part);
      if (known) known.push(one);
      else parts.set(part, [one]);
    }
    return [...parts].map(([part, own]) => measureTarget(suite, part, own, options));
  },
};
