// The report's tables: results of a suite, comparisons, gates, errors by kind, and what a reader must know before believing
// them. Words and numbers only; nothing is decided here.

import { deltaBar } from '../../report/charts.ts';
import { esc, fixed, type Html } from '../../report/html.ts';
import type { RunComparisons, RunDifference } from '../compare.ts';
import type { GateVerdict } from '../gate.ts';
import type { JudgedRun } from '../judged-run.ts';
import type { Result } from '../result.ts';
import type { Answered } from './figures.ts';
import { ASPECTS, type Cell, errorsByKind, TASKS } from './taxonomy.ts';
import {
  deltaInterval,
  deltaText,
  detectableText,
  intervalText,
  isShare,
  metricName,
  pText,
  roleOf,
  valueText,
} from './words.ts';

export function runKeyLabel(run: JudgedRun, at: number): Html {
  return `<span class="key role-${roleOf(at)}">${esc(run.subject)}</span>`;
}

/** Splits and metrics in the order of the first run that has them. */
export function resultRows(
  answered: readonly Answered[],
): { split: string; metric: string; found: (Result | undefined)[] }[] {
  const keys = new Map<string, { split: string; metric: string }>();
  for (const { suite } of answered) {
    for (const { split, metric } of suite.results) keys.set(JSON.stringify([split, metric]), { split, metric });
  }
  return [...keys.values()].map(({ split, metric }) => ({
    split,
    metric,
    found: answered.map(({ suite }) => suite.results.find((r) => r.split === split && r.metric === metric)),
  }));
}

export function resultsTable(answered: readonly Answered[]): Html {
  const rows = resultRows(answered);
  const heads = answered.map(
    ({ run, at }) =>
      `<th class="num" scope="col">${answered.length > 1 ? runKeyLabel(run, at) : 'Value'}, 95 % interval</th><th class="num" scope="col">Unknown</th><th class="num" scope="col">Errors</th>`,
  );
  let before = '';
  const lines = rows.map(({ split, metric, found }) => {
    const some = found.find((result) => result !== undefined) as Result;
    const name = split === before ? '' : esc(split);
    before = split;
    const cells = found.map((result) => {
      if (!result) return '<td class="num">–</td><td class="num">–</td><td class="num">–</td>';
      const { value, ci, unknown, errors } = result;
      return `<td class="num"><b>${valueText(metric, value)}</b> <span class="quiet">${intervalText(metric, ci)}</span></td><td class="num">${unknown}</td><td class="num">${errors}</td>`;
    });
    const chance = some.chance === null ? '–' : valueText(metric, some.chance);
    return `<tr${name === '' ? '' : ' class="first"'}><th scope="row">${name || `<span class="hidden">${esc(split)}</span>`}</th><td>${esc(metricName(metric))}</td><td class="num">${some.n}</td>${cells.join('')}<td class="num">${chance}</td></tr>`;
  });
  const table = `<div class="scroll" tabindex="0"><table class="results"><thead><tr><th scope="col">Split</th><th scope="col">Metric</th><th class="num" scope="col">n</th>${heads.join('')}<th class="num" scope="col">Chance</th></tr></thead><tbody>${lines.join('')}</tbody></table></div>`;
  return `<details${rows.length <= 30 ? ' open' : ''}><summary>All ${rows.length} numbers</summary>${table}</details>`;
}

const VERDICTS = { better: 'better', worse: 'worse', inconclusive: 'inconclusive' } as const;

export function comparisonsTable({ rows, family, omitted }: RunComparisons, runs: readonly JudgedRun[]): Html {
  const claims = rows.filter((row) => row.pAdjusted !== null);
  const rest = rows.filter((row) => row.pAdjusted === null);
  const left = omitted.map(({ suite, reason }) => `<li><b>${esc(suite)}</b>: ${esc(reason)}.</li>`);
  return (
    `<p class="quiet">${esc(family)} A difference is better or worse when its interval excludes 0 and its adjusted p is below α; a gain in accuracy that d′ does not share is a threshold shift and no gain. b counts what only the first has right, c what only the second has (McNemar). The detectable difference is what would have been found in 80 % of repetitions.</p>` +
    differences(claims, runs) +
    (rest.length === 0
      ? ''
      : `<details><summary>${rest.length} other differences, unadjusted</summary><p class="quiet">Context; no claim rests on these.</p>${differences(rest, runs)}</details>`) +
    (left.length === 0 ? '' : `<h3>Not compared</h3><ul>${left.join('')}</ul>`)
  );
}

function differences(rows: readonly RunDifference[], runs: readonly JudgedRun[]): Html {
  const reach = (share: boolean) =>
    Math.max(1e-9, ...rows.filter((r) => isShare(r.metric) === share).flatMap((r) => r.ci.map(Math.abs)));
  const reaches = [reach(false), reach(true)];
  const groups = [...new Set(rows.map((row) => JSON.stringify([row.a, row.b, row.suite])))];
  const body = groups.map((group) => {
    const own = rows.filter((row) => JSON.stringify([row.a, row.b, row.suite]) === group);
    const head = `<tr class="group"><th colspan="8" scope="rowgroup">${esc(own[0].suite)}: ${name(own[0].a, runs)} minus ${name(own[0].b, runs)}</th></tr>`;
    return `<tbody>${head}${own.map((row) => line(row, reaches[Number(isShare(row.metric))])).join('')}</tbody>`;
  });
  return (
    '<div class="scroll" tabindex="0"><table class="comparisons"><thead><tr><th scope="col">Split</th><th scope="col">Metric</th><th scope="col">Verdict</th><th class="num" scope="col">Difference, interval</th><td class="bar" aria-hidden="true"></td>' +
    '<th class="num" scope="col">b / c</th><th class="num" scope="col">p</th><th class="num" scope="col">p, Holm</th></tr></thead>' +
    `${body.join('')}</table></div>`
  );
}

function name(key: string, runs: readonly JudgedRun[]): Html {
  const at = runs.findIndex((run) => run.key === key);
  return at < 0 ? esc(key.slice(0, 12)) : runKeyLabel(runs[at], at);
}

function line(row: RunDifference, reach: number): Html {
  const counts = row.wins === null ? '–' : `${row.wins} / ${row.losses}`;
  const tone = row.verdict ?? 'inconclusive';
  const second =
    row.permutation !== null && row.test === 'permutation' && row.mcnemar !== null
      ? `<br><span class="quiet">McNemar ${esc(pText(row.mcnemar))}</span>`
      : '';
  const note = row.note ? `<br><span class="quiet wrap">${esc(row.note)}</span>` : '';
  const verdict =
    row.verdict === null
      ? '<span class="quiet">no direction</span>'
      : `<span class="pill tone-${tone}">${VERDICTS[row.verdict]}</span>`;
  return (
    `<tr><th scope="row">${esc(row.split)}</th><td>${esc(metricName(row.metric))}</td><td>${verdict}${note}</td>` +
    `<td class="num"><b>${deltaText(row.metric, row.delta)}</b> <span class="quiet">${deltaInterval(row.metric, row.ci)}</span><br><span class="quiet">detectable: ${detectableText(row.metric, row.detectable)}</span></td>` +
    `<td>${deltaBar(row.delta, row.ci, reach, tone)}</td><td class="num">${counts}<br><span class="quiet">n = ${row.n}, ${row.clusters} clusters</span></td>` +
    `<td class="num">${esc(pText(row.p))} <span class="quiet">${row.test}</span>${second}</td><td class="num">${esc(pText(row.pAdjusted))}</td></tr>`
  );
}

const GATES = { pass: 'better', fail: 'worse', inconclusive: 'inconclusive' } as const;

export function gatesList(gates: readonly GateVerdict[]): Html {
  const items = gates.map(
    ({ verdict, text }) => `<li><span class="pill tone-${GATES[verdict]}">${verdict}</span> ${esc(text)}</li>`,
  );
  return `<ul class="gates">${items.join('')}</ul>`;
}

/** Errors by what was asked of a subject and what about, one row for each task and run. */
export function taxonomyTable(runs: readonly JudgedRun[]): Html {
  const cell = ({ asked, wrong }: Cell) =>
    asked === 0
      ? '<td class="num quiet">not asked</td>'
      : `<td class="num"><b>${fixed((100 * wrong) / asked, 1)}\u00a0%</b> <span class="quiet">${wrong} of ${asked}</span></td>`;
  const lines = runs.flatMap((run, at) => {
    const table = errorsByKind(run.suites);
    return TASKS.map(
      (task) =>
        `<tr><th scope="row">${runs.length > 1 ? `${runKeyLabel(run, at)} · ` : ''}${task}</th>${ASPECTS.map((aspect) => cell(table[task][aspect])).join('')}</tr>`,
    );
  });
  const heads = ASPECTS.map((aspect) => `<th class="num" scope="col">${aspect}</th>`).join('');
  return (
    '<p class="quiet">Share of wrong answers, those not understood and those that failed among them. A judgement answers a question; a description talks freely, and is wrong when it names something that is not there.</p>' +
    `<div class="scroll" tabindex="0"><table><thead><tr><th scope="col">Task</th>${heads}</tr></thead><tbody>${lines.join('')}</tbody></table></div>`
  );
}
