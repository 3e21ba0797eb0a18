// The report as Markdown, for pull requests and logs: the page's words and numbers without its drawings.

import { fixed } from '../../report/html.ts';
import type { RunComparisons, RunDifference } from '../compare.ts';
import type { JudgedRun } from '../judged-run.ts';
import type { Answered } from './figures.ts';
import { type EvalReport, flatten, inShort, suiteNames } from './report.ts';
import { resultRows } from './tables.ts';
import { ASPECTS, errorsByKind, TASKS } from './taxonomy.ts';
import { threats } from './threats.ts';
import {
  deltaInterval,
  deltaText,
  detectableText,
  distinctRuns,
  intervalText,
  metricName,
  pText,
  suitesNamed,
  valueText,
} from './words.ts';

export function evalMarkdown(report: EvalReport): string {
  const { comparisons = null, gates = [] } = report;
  const runs = distinctRuns(report.runs);
  const parts = [
    `# ${runs.map(({ subject }) => text(subject)).join(' and ')}`,
    inShort(report),
    ...(gates.length === 0 ? [] : ['## Gates', gates.map(({ text: line }) => `- ${text(line)}`).join('\n')]),
    ...(comparisons === null ? [] : differences(comparisons, runs)),
    ...suiteNames(runs).flatMap((name) => suite(suitesNamed(runs, name))),
    ...taxonomy(runs),
    '## What speaks against these numbers',
    threats(runs, comparisons)
      .map(({ suite: name, text: line }) => `- ${name === null ? '' : `**${name}**: `}${text(line)}`)
      .join('\n'),
    '## Identity',
    ...runs.map((run) =>
      table(
        [text(run.subject), ''],
        [['run key', run.key], ...flatten(run.identity)].map(([name, value]) => [text(name), code(value)]),
      ),
    ),
  ];
  return `${parts.join('\n\n').replaceAll('\u00a0', ' ')}\n`;
}

/** Text that cannot break a table, open a tag or start a link. */
const text = (value: string): string => value.replace(/[\r\n]+/g, ' ').replace(/[\\|<>*_`[\]]/g, (sign) => `\\${sign}`);

const code = (value: string): string => `\`${value.replace(/[\r\n`|]+/g, ' ')}\``;

function table(head: string[], rows: string[][]): string {
  const line = (cells: string[]) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

function suite(answered: readonly Answered[]): string[] {
  const { manifest, items } = answered[0].suite;
  const rows = resultRows(answered).map(({ split, metric, found }) => {
    const some = found.find((result) => result !== undefined);
    const cells = found.flatMap((result) =>
      result
        ? [
            `${valueText(metric, result.value)} ${intervalText(metric, result.ci)}`.trim(),
            String(result.unknown),
            String(result.errors),
          ]
        : ['–', '–', '–'],
    );
    const chance = some?.chance === null || some === undefined ? '–' : valueText(metric, some.chance);
    return [text(split), metricName(metric), String(some?.n ?? 0), ...cells, chance];
  });
  const heads = answered.flatMap(({ run }) => [
    answered.length > 1 ? `${text(run.subject)} [95 %]` : 'Value [95 %]',
    'Unknown',
    'Errors',
  ]);
  return [
    `## ${text(manifest.title)}`,
    `\`${manifest.name}\`, ${manifest.kind}, ${items.length} items, truth ${text(manifest.gtRevision)}, prompt ${text(manifest.prompt.id)}.`,
    table(['Split', 'Metric', 'n', ...heads, 'Chance'], rows),
  ];
}

function differences({ rows, family, omitted }: RunComparisons, runs: readonly JudgedRun[]): string[] {
  const nameOf = (key: string) => text(runs.find((run) => run.key === key)?.subject ?? key.slice(0, 12));
  const line = (row: RunDifference) => [
    text(row.suite),
    text(row.split),
    metricName(row.metric),
    `${nameOf(row.a)} − ${nameOf(row.b)}`,
    `${deltaText(row.metric, row.delta)} ${deltaInterval(row.metric, row.ci)}`,
    row.wins === null ? '–' : `${row.wins} / ${row.losses}`,
    String(row.n),
    `${pText(row.p)} (${row.test})`,
    pText(row.pAdjusted),
    detectableText(row.metric, row.detectable),
    `${row.verdict ?? 'no direction'}${row.note ? `: ${row.note}` : ''}`,
  ];
  const head = [
    'Suite',
    'Split',
    'Metric',
    'Difference of',
    'Δ [interval]',
    'b / c',
    'n',
    'p',
    'p, Holm',
    'Detectable',
    'Verdict',
  ];
  return [
    '## Differences',
    family,
    table(head, rows.map(line)),
    ...(omitted.length === 0
      ? []
      : [omitted.map(({ suite: name, reason }) => `- Not compared: **${text(name)}**, ${text(reason)}.`).join('\n')]),
  ];
}

function taxonomy(runs: readonly JudgedRun[]): string[] {
  const rows = runs.flatMap((run) => {
    const cells = errorsByKind(run.suites);
    return TASKS.map((task) => [
      text(run.subject),
      task,
      ...ASPECTS.map((aspect) => {
        const { asked, wrong } = cells[task][aspect];
        return asked === 0 ? 'not asked' : `${fixed((100 * wrong) / asked, 1)} % (${wrong} of ${asked})`;
      }),
    ]);
  });
  return ['## Errors by kind', table(['Run', 'Task', ...ASPECTS], rows)];
}
