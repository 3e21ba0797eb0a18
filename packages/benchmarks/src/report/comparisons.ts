// The report's part on differences: the primary comparison, the family that claims rest on, and the rest as context.
// Only words and numbers; what is better or worse was decided in compare.ts.

import { type JudgedComparison, PRIMARY, type RoleComparisons, type Verdict } from '../compare.ts';
import { detectableFromInterval } from '../metrics/power.ts';
import { deltaBar } from './charts.ts';
import {
  difference,
  differenceInterval,
  esc,
  fixed,
  type Html,
  isShare,
  metricName,
  pValue,
  roleClass,
  splitName,
} from './html.ts';

const VERDICTS: Record<Verdict, string> = {
  better: 'better',
  worse: 'worse',
  inconclusive: 'inconclusive',
  'not-testable': 'not testable',
};

export function comparisonsSection(comparisons: RoleComparisons): Html {
  const { rows, family } = comparisons;
  if (rows.length === 0) return `<p class="quiet">${esc(family)}</p>`;
  const of = (kind: JudgedComparison['kind']) => rows.filter((row) => row.kind === kind);
  const context = of('context');
  return (
    primaryBlock(of('primary')[0]) +
    `<h3>Claims about feedback</h3><p class="quiet">${esc(family)} A difference is called better or worse when its interval excludes 0 and its adjusted p is at most 0.05.</p>` +
    table(of('family'), true) +
    (context.length === 0
      ? ''
      : `<details><summary>Context: ${context.length} other comparisons, unadjusted</summary><p class="quiet">Against the baseline any training changes scores; no claim about feedback rests on these.</p>${table(context, false)}</details>`)
  );
}

function primaryBlock(row: JudgedComparison | undefined): Html {
  const name = `${splitName(PRIMARY.suite, PRIMARY.split)}, ${metricName(PRIMARY.metric)}: ${PRIMARY.a} − ${PRIMARY.b}`;
  if (!row) return `<h3>Primary comparison</h3><p class="quiet">${esc(name)} was not scored in this run.</p>`;
  return `<h3>Primary comparison</h3><p class="quiet">Fixed before the run, so its p is not adjusted. ${esc(power(row))}</p>${table([row], false)}`;
}

/** The smallest true difference that such an interval would have excluded from 0 in four of five repetitions. */
export function power(row: JudgedComparison): string {
  const detectable = detectableFromInterval(row.ci);
  if (detectable === null) {
    return `The two roles were right on the same ${row.n} items, so what difference such a comparison would have found cannot be told.`;
  }
  const text = isShare(row.metric) ? `${fixed(100 * detectable, 1)} pp` : fixed(detectable, 3);
  return `With ${row.n} items a true difference of about ${text} would have been found in 80 % of repetitions; smaller ones may hide here.`;
}

function table(rows: JudgedComparison[], adjusted: boolean): Html {
  const pairs = [...new Set(rows.map((row) => `${row.a}/${row.b}`))];
  const reach = (share: boolean) =>
    rows
      .filter((r) => r.verdict !== 'not-testable' && isShare(r.metric) === share)
      .reduce((m, r) => Math.max(m, Math.abs(r.ci[0]), Math.abs(r.ci[1])), 1e-9);
  const reaches = { share: reach(true), r2: reach(false) };
  const columns = adjusted ? 8 : 7;
  const body = pairs.map((pair) => {
    const own = rows.filter((row) => `${row.a}/${row.b}` === pair);
    const head = `<tr class="group"><th colspan="${columns}" scope="rowgroup">${pairName(own[0])}</th></tr>`;
    const lines = own
      .filter((row) => row.verdict !== 'not-testable')
      .map((row) => line(row, adjusted, isShare(row.metric) ? reaches.share : reaches.r2));
    return `<tbody>${head}${lines.join('')}${silentLines(own, columns)}</tbody>`;
  });
  return (
    '<div class="scroll"><table class="comparisons"><thead><tr><th>Split</th><th>Metric</th><th class="num">Difference, 95 % interval</th><th aria-label="drawing"></th>' +
    `<th class="num">Right: only first / only second</th><th class="num">p</th>${adjusted ? '<th class="num">p, Holm</th>' : ''}<th>Verdict</th></tr></thead>${body.join('')}</table></div>`
  );
}

function pairName(row: JudgedComparison): Html {
  return `<span class="key ${roleClass(row.a)}">${esc(row.a)}</span> minus <span class="key ${roleClass(row.b)}">${esc(row.b)}</span>`;
}

function line(row: JudgedComparison, adjusted: boolean, reach: number): Html {
  const counts =
    row.nDiscordant === null
      ? `<span class="quiet">n = ${row.n}</span>`
      : `${row.wins} / ${row.losses} <span class="quiet">of ${row.n}</span>`;
  const holm = adjusted ? `<td class="num">${row.pAdjusted === null ? '–' : esc(pValue(row.pAdjusted))}</td>` : '';
  return (
    `<tr><th scope="row">${esc(splitName(row.suite, row.split, row.metric))}</th><td>${esc(metricName(row.metric))}</td>` +
    `<td class="num"><b>${difference(row.delta, row.metric)}</b> <span class="quiet">${differenceInterval(row.ci, row.metric)}</span></td>` +
    `<td>${deltaBar(row.delta, row.ci, reach, row.verdict)}</td><td class="num">${counts}</td>` +
    `<td class="num">${esc(pValue(row.p))}</td>${holm}<td>${pill(row.verdict)}</td></tr>`
  );
}

/** Splits that carry no verdict get their reason instead of numbers that could be read as one. */
function silentLines(rows: JudgedComparison[], columns: number): Html {
  const reasons = new Map(
    rows
      .filter((row) => row.verdict === 'not-testable')
      .map((row) => [splitName(row.suite, row.split, row.metric), row.notTestable]),
  );
  return [...reasons]
    .map(
      ([split, reason]) =>
        `<tr><th scope="row">${esc(split)}</th><td class="quiet" colspan="${columns - 2}">${esc(reason)}</td><td>${pill('not-testable')}</td></tr>`,
    )
    .join('');
}

export function pill(verdict: Verdict): Html {
  return `<span class="pill tone-${verdict}">${VERDICTS[verdict]}</span>`;
}
