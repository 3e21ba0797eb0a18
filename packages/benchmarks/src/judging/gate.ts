// Regression gates: how much worse a run may be than another before whoever asked (a CI job, a training run) is told to
// stop. A gate fails only on proof: when the whole interval of the paired difference lies below the allowed drop.

import { FoveaError } from '@fovea/artifacts';
import { parseMapping } from '@fovea/recipe';
import { z } from 'zod';
import { signed } from '../report/html.ts';
import type { Interval } from '../statistics.ts';
import { type CompareOptions, compareSuite, type RunDifference } from './compare.ts';
import type { JudgedRun } from './judged-run.ts';
import { DIRECTIONS, MACRO } from './paired.ts';

export const gateSchema = z.strictObject({
  /** Name of the suite. */
  suite: z.string().min(1),
  /** A split; without one the suite's only split, or the mean over its splits. */
  split: z.string().min(1).optional(),
  metric: z.enum(['accuracy', 'pair-accuracy', 'f1', 'd-prime', 'chair-i', 'recall']).default('accuracy'),
  /** What it is compared with: `baseline` is the run that the comparison names second; else a run folder. */
  vs: z.string().min(1).default('baseline'),
  /** Loss that is allowed, in points: hundredths of the metric; of chair-i a rise is the loss. */
  maxDrop: z.number().min(0).max(100).default(1),
  /** The interval is at 1 − alpha. */
  alpha: z.number().min(0.0001).max(0.5).default(0.05),
  /** Fewer items (pairs, for pair-accuracy) than these decide nothing. */
  minN: z.int().min(1).default(1),
});
export type Gate = z.infer<typeof gateSchema>;

const gateFile = z.strictObject({ gates: z.array(gateSchema).min(1).max(1000) });

/** The gates of a YAML or JSON document `gates: [{suite, maxDrop, …}]`; `where` names it in sentences. */
export function parseGates(text: string, where: string): Gate[] {
  const parsed = gateFile.safeParse(parseMapping(text, `gate file "${where}"`));
  if (parsed.success) return parsed.data.gates;
  const [fault] = parsed.error.issues;
  throw new FoveaError(
    `The gate file "${where}" is not as expected at ${fault.path.join('.') || 'its top'} (${fault.message}); it is a list such as gates: [{suite: emoji-retention, metric: accuracy, maxDrop: 1}].`,
  );
}

export interface GateVerdict {
  gate: Gate;
  verdict: 'pass' | 'fail' | 'inconclusive';
  split: string;
  delta: number;
  /** At 1 − alpha. */
  ci: Interval;
  n: number;
  detectable: number | null;
  /** One sentence with all of it. */
  text: string;
}

/** Judges every gate of `run`. Throws a FoveaError for a suite, split or metric that is not there: nothing passes unseen. */
export function judgeGates(
  gates: readonly Gate[],
  run: JudgedRun,
  versus: (vs: string) => JudgedRun,
  options: Pick<CompareOptions, 'count' | 'seed'> = {},
): GateVerdict[] {
  const known = new Map<string, RunDifference[]>();
  return gates.map((gate) => {
    const other = versus(gate.vs);
    const [own, reference] = [run, other].map((side) => suiteOf(side, gate.suite));
    const key = JSON.stringify([gate.suite, gate.vs, gate.alpha]);
    const rows = known.get(key) ?? compareSuite(run.key, own, other.key, reference, { ...options, alpha: gate.alpha });
    known.set(key, rows);
    return judgeGate(gate, rowOf(gate, rows));
  });
}

function suiteOf(run: JudgedRun, name: string) {
  const suite = run.suites.find(({ manifest }) => manifest.name === name);
  if (suite) return suite;
  const reason = run.incomplete?.find((one) => one.suite === name)?.reason;
  throw new FoveaError(
    `A gate asks for suite "${name}", which ${run.subject} ${reason ? `has not completed (${reason})` : 'was not asked'}; run the suite, or take the gate out.`,
  );
}

function rowOf(gate: Gate, rows: readonly RunDifference[]): RunDifference {
  const splits = [...new Set(rows.map((row) => row.split))];
  const split = gate.split ?? (splits.includes(MACRO) ? MACRO : splits[0]);
  const row = rows.find((one) => one.split === split && one.metric === gate.metric);
  if (row) return row;
  const there = rows.map((one) => `${one.split}/${one.metric}`).join(', ');
  throw new FoveaError(
    `A gate asks for ${gate.metric} of split "${split}" in suite "${gate.suite}", which has no such comparison; it has ${there}.`,
  );
}

/** One gate against the difference that it names, whose interval is at 1 − `gate.alpha`. */
export function judgeGate(gate: Gate, row: RunDifference): GateVerdict {
  const bound = -gate.maxDrop / 100;
  const enough = row.n >= gate.minN;
  const [low, high] = DIRECTIONS[row.metric] === -1 ? [-row.ci[1], -row.ci[0]] : row.ci;
  const verdict = !enough ? 'inconclusive' : high < bound ? 'fail' : low >= bound ? 'pass' : 'inconclusive';
  return {
    gate,
    verdict,
    ...{ split: row.split, delta: row.delta, ci: row.ci, n: row.n, detectable: row.detectable },
    text: sentence(gate, row, verdict),
  };
}

const WORDS = { pass: 'passes', fail: 'fails', inconclusive: 'is inconclusive' };

function sentence(gate: Gate, row: RunDifference, verdict: GateVerdict['verdict']): string {
  const points = (x: number) => signed(100 * x, 2);
  const interval = `[${points(row.ci[0])}, ${points(row.ci[1])}]`;
  const few = row.n < gate.minN ? `; it asks for ${gate.minN} items` : '';
  const found =
    row.detectable === null
      ? 'what difference it would have found cannot be told'
      : `a difference of ${(100 * row.detectable).toFixed(2)} points would have been found in 80 % of repetitions`;
  const mde = verdict === 'inconclusive' ? `; ${found}` : '';
  return `Gate ${row.suite}/${row.split} ${row.metric} ${WORDS[verdict]}: ${points(row.delta)} points ${interval} at ${Number((100 * row.level).toFixed(2))} % against an allowed drop of ${gate.maxDrop}, n = ${row.n}${few}${mde}.`;
}
