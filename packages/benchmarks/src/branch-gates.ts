// When a branch of a run must not go on: its newest scorecard has lost more of what the start could do than the recipe's
// gates allow. It only reads scorecards; who stops what is the coordinator's matter, and the report says the same.

import { FoveaError } from '@fovea/artifacts';
import { type EvalGate, gatesOf, planOf } from '@fovea/recipe';
import { type Comparison, compareScorecards } from './compare.ts';
import { differenceInterval, isShare, metricName, signed, splitName } from './report/html.ts';
import { finalScorecards, type RunData } from './run-data.ts';
import type { Scorecard } from './scorecard.ts';

/**
 * The first gate that `now` fails against `start`, in a sentence; null where all hold. A gate fails when the whole 95 %
 * interval of the paired difference lies below −maxDrop. Throws a FoveaError where a gate names what was not scored.
 */
export function failedGate(now: Scorecard, start: Scorecard, gates: readonly EvalGate[]): string | null {
  const rows = compareScorecards(now, start, { baseline: start });
  for (const gate of gates) {
    const failed = rowsOf(gate, rows).find((row) => row.ci[1] < -gate.maxDrop / 100);
    if (failed) return sentence(gate, failed);
  }
  return null;
}

export interface Stop {
  role: string;
  /** Rounds of the branch that were trained, of those planned. */
  rounds: number;
  planned: number;
  /** The gate that failed, in a sentence. */
  reason: string;
}

/** Branches of a run that ended before their plan because a gate failed. */
export function stoppedBranches({ recipe, rounds, scorecards }: RunData): Stop[] {
  const gates = gatesOf(recipe);
  const finals = finalScorecards(scorecards);
  const start = finals.get('baseline');
  if (gates.length === 0 || !start) return [];
  return [...planOf(recipe)].flatMap(([track, plan]): Stop[] => {
    const done = rounds.filter((round) => round.track === track).length;
    const card = finals.get(track);
    const reason = track !== 'trunk' && done < plan.length && card ? failedGate(card, start, gates) : null;
    return reason === null ? [] : [{ role: track, rounds: done, planned: plan.length, reason }];
  });
}

function rowsOf({ suite, split, metric }: EvalGate, rows: readonly Comparison[]): Comparison[] {
  const own = rows.filter((row) => row.suite === suite && row.metric === metric && (split ?? row.split) === row.split);
  if (own.length > 0) return own;
  const there = [...new Set(rows.map((row) => `${row.suite}/${row.split} ${row.metric}`))].join(', ');
  throw new FoveaError(
    `The gate on ${metric} of ${suite}${split === undefined ? '' : `, split "${split}",`} finds no such scores; scored are ${there}. Change eval.gates.`,
  );
}

function sentence(gate: EvalGate, { suite, split, metric, delta, ci, n }: Comparison): string {
  const what = `${suite}, ${splitName(suite, split, metric)}, ${metricName(metric)}`;
  const points = isShare(metric) ? ' pp' : '';
  const change = isShare(metric) ? signed(100 * delta, 1) : signed(delta, 3);
  const allowed = isShare(metric) ? `${gate.maxDrop} pp` : String(gate.maxDrop / 100);
  return `${what} changed by ${change}${points} ${differenceInterval(ci, metric)} from the start on ${n} items, more than the ${allowed} that may be lost`;
}
