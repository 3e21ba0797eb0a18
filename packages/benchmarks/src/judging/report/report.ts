// The report of judged runs: one page that needs nothing but itself, the same in Markdown, and every result as a line of
// JSON. Plain data in, text out; deterministic, so equal runs give equal bytes. Sections are in the files beside.

import { esc, type Html, page, section } from '../../report/html.ts';
import { STYLE } from '../../report/style.ts';
import type { RunComparisons } from '../compare.ts';
import type { GateVerdict } from '../gate.ts';
import type { JudgedRun } from '../judged-run.ts';
import { suiteFigures, valueDots } from './figures.ts';
import { EXTRA_STYLE } from './style.ts';
import { comparisonsTable, gatesList, resultsTable, runKeyLabel, taxonomyTable } from './tables.ts';
import { threats } from './threats.ts';
import {
  distinctRuns,
  headline,
  intervalText,
  isLowerBetter,
  metricName,
  roleOf,
  suitesNamed,
  valueText,
} from './words.ts';

export interface EvalReport {
  /** One run, or several that answered the same suites; the first is the one that the report is about. */
  runs: readonly JudgedRun[];
  comparisons?: RunComparisons | null;
  gates?: readonly GateVerdict[];
}

/** The page: no script, no font and no address is loaded, and a content policy says so to the browser. */
export function renderEvalReport(report: EvalReport): string {
  const { comparisons = null, gates = [] } = report;
  const runs = distinctRuns(report.runs);
  const title = runs.map(({ subject }) => subject).join(' and ');
  const body = [
    header(runs),
    `<p class="lead">${esc(inShort(report))}</p>`,
    cards(runs),
    gates.length === 0 ? '' : section('Gates', gatesList(gates)),
    comparisons === null ? '' : section('Differences', comparisonsTable(comparisons, runs)),
    ...suiteNames(runs).map((name) => suiteSection(name, runs)),
    section('Errors by kind', taxonomyTable(runs)),
    section('What speaks against these numbers', threatsList({ ...report, runs })),
    section('Identity', runs.map(identity).join('')),
  ];
  const source = 'the run’s folder without the model';
  return page({ title: `${title} · Fovea evaluation`, style: STYLE + EXTRA_STYLE, body, source });
}

/** Every result, a line each, with the key of its run; differences follow, marked by \`a\` and \`b\`. */
export function resultLines({ runs, comparisons = null }: EvalReport): string {
  const results = runs.flatMap(({ key, suites }) =>
    suites.flatMap((suite) => suite.results.map((r) => ({ runKey: key, ...r }))),
  );
  return [...results, ...(comparisons?.rows ?? [])].map((row) => `${JSON.stringify(row)}\n`).join('');
}

export function suiteNames(runs: readonly JudgedRun[]): string[] {
  return [...new Set(runs.flatMap(({ suites }) => suites.map(({ manifest }) => manifest.name)))];
}

function header(runs: readonly JudgedRun[]): Html {
  const names = runs.map((run, at) => (runs.length > 1 ? runKeyLabel(run, at) : esc(run.subject)));
  const [first] = runs;
  const items = first ? first.suites.reduce((sum, { items: own }) => sum + own.length, 0) : 0;
  const facts = [
    ['suites', String(first?.suites.length ?? 0)],
    ['questions', String(items)],
    ...runs.map((run): [string, string] => [
      runs.length > 1 ? `key of ${run.subject}` : 'run key',
      run.key.slice(0, 12),
    ]),
  ];
  const list = facts.map(([name, value]) => `<div><dt>${esc(name)}</dt><dd>${esc(value)}</dd></div>`);
  return `<header><p class="brand">Fovea · evaluation</p><h1>${names.join('<br>')}</h1><dl class="facts">${list.join('')}</dl></header>`;
}

/** The outcome in a sentence made of verdicts. */
export function inShort({ runs, comparisons = null, gates = [] }: EvalReport): string {
  const failed = gates.filter(({ verdict }) => verdict === 'fail').length;
  const gate = gates.length === 0 ? '' : ` ${failed} of ${gates.length} gate${gates.length === 1 ? '' : 's'} failed.`;
  const claims = comparisons?.rows.filter((row) => row.pAdjusted !== null) ?? [];
  if (claims.length === 0) {
    const questions = runs.reduce((sum, { suites }) => sum + suites.reduce((n, { items }) => n + items.length, 0), 0);
    return `${questions} answers were judged; nothing was compared, so nothing is called better or worse.${gate}`;
  }
  const count = (verdict: string) => claims.filter((row) => row.verdict === verdict).length;
  const shifts = comparisons?.rows.filter((row) => row.shift === 'threshold').length ?? 0;
  const shift = shifts === 0 ? '' : ` In ${shifts} of them the readiness to say yes moved and sensitivity did not.`;
  return `Of ${claims.length} comparison${claims.length === 1 ? '' : 's'} ${count('better')} better, ${count('worse')} worse, ${count('inconclusive')} inconclusive.${shift}${gate}`;
}

function cards(runs: readonly JudgedRun[]): Html {
  const list = suiteNames(runs).flatMap((name) => {
    const lines = suitesNamed(runs, name).flatMap(({ run, at, suite }) => {
      const result = headline(suite);
      return result ? [{ run, at, suite, result }] : [];
    });
    if (lines.length === 0) return [];
    const { result } = lines[0];
    const values = lines.map(
      ({ at, result: own }) =>
        `<p class="big">${lines.length > 1 ? `<span class="key role-${roleOf(at)}"></span>` : ''}${valueText(own.metric, own.value)} <span class="quiet">${intervalText(own.metric, own.ci)}</span></p>`,
    );
    const chance = result.chance === null ? '' : `, chance ${valueText(result.metric, result.chance)}`;
    const direction = isLowerBetter(result.metric) ? ', lower is better' : '';
    const about = `${metricName(result.metric)}, ${result.split}, n = ${result.n}${chance}${direction}`;
    return [
      `<div class="card"><h3>${esc(lines[0].suite.manifest.title)}</h3>${values.join('')}<p class="quiet">${esc(about)}</p></div>`,
    ];
  });
  return list.length === 0 ? '' : `<div class="cards">${list.join('')}</div>`;
}

function suiteSection(name: string, runs: readonly JudgedRun[]): Html {
  const answered = suitesNamed(runs, name);
  const { manifest, items } = answered[0].suite;
  const splits = Object.entries(manifest.splits).map(([split, n]) => `${split} ${n}`);
  const shown = splits.length > 8 ? `${splits.length} splits` : splits.join(', ');
  const scorers = [...new Set(answered.flatMap(({ suite }) => suite.scorer ?? []))];
  const facts = [
    `${manifest.kind}, ${items.length} items (${shown})`,
    `truth ${manifest.gtRevision}`,
    `prompt ${manifest.prompt.id}`,
    ...scorers.map((scorer) => `scored by ${scorer}`),
  ];
  return section(
    manifest.title,
    `<p class="quiet"><code>${esc(name)}</code> · ${esc(facts.join(' · '))}</p>${valueDots(answered)}${suiteFigures(answered)}${resultsTable(answered)}`,
  );
}

function threatsList({ runs, comparisons = null }: EvalReport): Html {
  const items = threats(runs, comparisons).map(
    ({ suite, text }) => `<li>${suite === null ? '' : `<b>${esc(suite)}</b>: `}${esc(text)}</li>`,
  );
  return `<ul>${items.join('')}</ul>`;
}

/** What identifies a run, with long hashes cut for the eye and whole in the title. */
function identity(run: JudgedRun, at: number, runs: readonly JudgedRun[]): Html {
  const rows = [['run key', run.key], ...flatten(run.identity)].map(([name, value]) => {
    const isHash = /^[0-9a-f]{64}$/.test(value);
    const shown = isHash ? `<code title="${value}">${value.slice(0, 12)}</code>` : `<code>${esc(value)}</code>`;
    return `<tr><th scope="row">${esc(name)}</th><td>${shown}</td></tr>`;
  });
  const head = runs.length > 1 ? `<h3>${runKeyLabel(run, at)}</h3>` : '';
  return `${head}<div class="scroll" tabindex="0"><table class="identity"><tbody>${rows.join('')}</tbody></table></div>`;
}

/** Dotted names and values of a nested object, in its order. */
export function flatten(value: Record<string, unknown>, prefix = ''): [string, string][] {
  return Object.entries(value).flatMap(([key, item]): [string, string][] => {
    const name = prefix === '' ? key : `${prefix}.${key}`;
    if (typeof item === 'object' && item !== null && !Array.isArray(item))
      return flatten(item as Record<string, unknown>, name);
    return [[name, typeof item === 'string' ? item : (JSON.stringify(item) ?? 'null')]];
  });
}
