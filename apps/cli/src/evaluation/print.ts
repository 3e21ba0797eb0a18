// What a person sees of an evaluation: the state of every suite and its headline numbers, or all of them as JSON.

import { type Result, readResults, type Status, suiteFolder } from '@fovea/benchmarks/judging';
import { shown } from '../home.ts';
import { number } from '../live.ts';
import { table } from '../summary.ts';

export interface Printed {
  folder: string;
  title: string;
  status: Status;
}

/** Measures that the table has; all of them are in results.json and the report. */
const HEADLINES = [
  ...['accuracy', 'pair-accuracy', 'f1', 'yes-ratio', 'd-prime', 'top1', 'mean-per-class-recall', 'r2', 'mce'],
  ...['chair-i', 'chair-s', 'recall-at-1', 'shape-bias', 'text-score', 'image-score', 'group-score'],
];
/** Splits that break another one down. */
const PARTS = /^(pattern|gt|area|object|corruption|all)\//;

/** Prints, and returns the exit code: 3 where a suite did not complete. */
export async function printEvaluation(
  { folder, title, status }: Printed,
  json: boolean,
  scorer?: string,
): Promise<number> {
  const names = Object.keys(status.suites);
  const done = names.filter((name) => status.suites[name].state === 'completed');
  const documents = await Promise.all(done.map((name) => readNamed(suiteFolder(folder, name), scorer)));
  if (json) {
    const results = Object.fromEntries(documents.map((document) => [document.suite, document]));
    console.log(
      JSON.stringify({ folder, subject: title, state: status.state, suites: status.suites, results }, null, 2),
    );
  } else {
    console.log(`${title}\n${shown(folder)}`);
    const rows = documents.flatMap(({ results }) => results.filter(isShown).map(rowOf));
    if (rows.length > 0) console.log(table(['measure', 'n', 'value', '95 % interval', 'unknown', 'errors'], rows));
    for (const name of names) {
      const { state, message } = status.suites[name];
      if (state !== 'completed') console.error(`${name}: ${state}${message === null ? '' : `: ${message}`}`);
    }
  }
  return status.state === 'completed' ? 0 : 3;
}

const isShown = ({ split, metric }: Result): boolean => HEADLINES.includes(metric) && !PARTS.test(split);

const rowOf = ({ suite, split, metric, value, n, ci, unknown, errors }: Result): string[] => [
  `${suite} ${split} ${metric}`,
  String(n),
  number(value),
  ci === null ? '–' : `[${number(ci.low)}, ${number(ci.high)}]`,
  String(unknown),
  String(errors),
];

/** What the scorer said, where the suite's kind has it beside the default one. */
async function readNamed(folder: string, scorer?: string) {
  if (scorer === undefined) return readResults(folder);
  return readResults(folder, scorer).catch(() => readResults(folder));
}
