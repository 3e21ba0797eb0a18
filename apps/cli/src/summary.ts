// The table at the end of a run, from its summary.json: one row per measure, one column per role, each role at its last
// checkpoint. It is also how a finished run is read back.

import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { FoveaError } from '@fovea/artifacts';
import { number } from './live.ts';

/** The part of summary.json that is shown here. @fovea/benchmarks writes it and holds its schema. */
export interface Summary {
  run: string;
  status: string;
  stages: {
    name: string;
    role?: string;
    steps: number;
    seconds: number;
    lossFirst: number | null;
    lossLast: number | null;
    conditionGap: number | null;
  }[];
  checkpoints: { id: string; step: number; stage: string }[];
  evals: {
    suite: string;
    split: string;
    checkpoint: string;
    role: string;
    metric: string;
    value: number | null;
    n: number;
    ci: [number, number] | null;
  }[];
}

/** Reads runs/<id>/summary.json. */
export async function readSummary(runDir: string): Promise<Summary> {
  const file = path.join(runDir, 'summary.json');
  try {
    const summary: Summary = JSON.parse(await readFile(file, 'utf8'));
    for (const part of ['stages', 'checkpoints', 'evals'] as const) {
      if (!Array.isArray(summary[part])) throw new Error(`it has no ${part}`);
    }
    return summary;
  } catch (error) {
    throw new FoveaError(
      `The summary ${file} cannot be read: ${(error as Error).message}; delete it and resume the run to write it anew.`,
    );
  }
}

const ROLE_ORDER = ['baseline', 'aligned', 'control', 'placebo'];

/** Roles by measures as text, or null where nothing was scored. */
export function scoreTable(summary: Summary): string | null {
  const last = lastScores(summary);
  const roles = [...new Set(last.map((each) => each.role))].sort((a, b) => order(a) - order(b));
  if (roles.length === 0) return null;
  const rows = new Map<string, Map<string, string>>();
  for (const each of last) {
    const name = `${each.suite} ${each.split} ${each.metric}`;
    const cell =
      each.value === null ? '–' : `${decimal(each.value)}${each.ci ? ` [${each.ci.map(decimal).join(', ')}]` : ''}`;
    if (!rows.has(name)) rows.set(name, new Map([['n', String(each.n)]]));
    rows.get(name)!.set(each.role, cell);
  }
  const columns = ['n', ...roles];
  return table(
    ['measure', ...columns],
    [...rows].map(([name, cells]) => [name, ...columns.map((column) => cells.get(column) ?? '')]),
  );
}

/** Three decimals: the measures are shares, correlations and the like. */
function decimal(value: number): string {
  return value.toFixed(3).replace(/^-(0\.0*)$/, '$1');
}

/** Stages with their steps, time and loss as text. */
export function stageTable(summary: Summary): string {
  const rows = summary.stages.map((stage) => [
    stage.role && stage.role !== 'baseline' && !stage.name.includes(stage.role)
      ? `${stage.name} ${stage.role}`
      : stage.name,
    String(stage.steps),
    stage.seconds.toFixed(1),
    `${number(stage.lossFirst)} → ${number(stage.lossLast)}`,
    stage.conditionGap == null ? '' : number(stage.conditionGap),
  ]);
  return table(['stage', 'steps', 'seconds', 'loss', 'condition gap'], rows);
}

function lastScores(summary: Summary): Summary['evals'] {
  const steps = new Map(summary.checkpoints.map(({ id, step }) => [id, step]));
  const newest = new Map<string, number>();
  for (const { role, checkpoint } of summary.evals) {
    newest.set(role, Math.max(newest.get(role) ?? -1, steps.get(checkpoint) ?? 0));
  }
  return summary.evals.filter(({ role, checkpoint }) => (steps.get(checkpoint) ?? 0) === newest.get(role));
}

function order(role: string): number {
  const at = ROLE_ORDER.indexOf(role);
  return at < 0 ? ROLE_ORDER.length : at;
}

/** Columns padded to their widest cell; the first to the left, the others to the right. */
export function table(head: string[], rows: string[][]): string {
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column].length)));
  const line = (cells: string[]) =>
    cells
      .map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i])))
      .join('  ')
      .trimEnd();
  return [line(head), widths.map((width) => '─'.repeat(width)).join('  '), ...rows.map(line)].join('\n');
}
