// What speaks against believing a report, as sentences: few items, answers that were not understood or failed, fallbacks of
// builders, what could not be asked, and what no interval holds.

import { minimumDetectableEffect } from '../../metrics/power.ts';
import { fixed } from '../../report/html.ts';
import type { RunComparisons } from '../compare.ts';
import type { JudgedRun, JudgedSuite } from '../judged-run.ts';

export interface Threat {
  /** A suite's name; null for what holds of all. */
  suite: string | null;
  text: string;
}

/** Share of answers that may go without being understood before the numbers mislead. */
const MANY_UNKNOWN = 0.02;

export function threats(runs: readonly JudgedRun[], comparisons: RunComparisons | null): Threat[] {
  const list: Threat[] = [];
  const seen = new Set<string>();
  for (const run of runs) {
    for (const suite of run.suites) {
      const { name } = suite.manifest;
      const own = runs.length > 1 ? `${run.subject}: ` : '';
      for (const text of answering(suite)) list.push({ suite: name, text: own + text });
      if (seen.has(name)) continue;
      seen.add(name);
      for (const text of asking(suite)) list.push({ suite: name, text });
    }
    for (const { suite, reason } of run.incomplete ?? []) {
      list.push({
        suite,
        text: `${runs.length > 1 ? `${run.subject}: ` : ''}not scored, because it is incomplete: ${reason}.`,
      });
    }
  }
  const seed =
    'Intervals hold the luck of the items, not that of a training seed; a claim about a method needs three seeds or more, each shown.';
  list.push({ suite: null, text: seed });
  if (comparisons === null) {
    list.push({ suite: null, text: 'Nothing was compared: a number alone says nothing of what training brought.' });
  }
  return list;
}

/** Of the questions: how many, how far they resolve, what their builder warns of. */
function asking({ manifest, items }: JudgedSuite): string[] {
  const clusters = new Set(items.map(({ cluster }) => cluster)).size;
  const pairs = new Set(items.flatMap(({ pair }) => (pair === undefined ? [] : [pair]))).size;
  const effect = minimumDetectableEffect(items.length, 0.1);
  const resolves =
    effect === null
      ? 'too few to find any difference'
      : `two subjects that disagree on a tenth of them differ detectably from about ${fixed(100 * effect, 1)} pp on, and later where answers of a cluster go together`;
  const of = `${items.length} items${pairs > 0 ? ` in ${pairs} pairs` : ''}, ${clusters} clusters: ${resolves}.`;
  return [
    of,
    ...manifest.notes.map((note) => `${note.replace(/[.\s]+$/, '')}.`),
    ...manifest.omitted.map(({ what, reason }) => `not asked: ${what}, because ${reason.replace(/[.\s]+$/, '')}.`),
  ];
}

/** Of one subject's answers: which were not understood, which failed, which stand as text only. */
function answering(suite: JudgedSuite): string[] {
  const { scored } = suite;
  const share = (count: number) =>
    `${count} of ${scored.length} answers (${fixed((100 * count) / scored.length, 1)} %)`;
  const count = (label: string) => scored.filter((row) => row.label === label).length;
  const [unknown, errors] = [count('unknown'), count('error')];
  return [
    ...(unknown > 0
      ? [
          `${share(unknown)} were not understood and count as wrong${unknown / scored.length > MANY_UNKNOWN ? '; more than 2 %, so the numbers say as much of the parser as of the subject' : ''}.`,
        ]
      : []),
    ...(sharesPairs(suite)
      ? [
          'both questions of a pair were answered by one comparison, so they are right or wrong together, yes is said half the time, and pair accuracy is accuracy, with a chance of 50 %.',
        ]
      : []),
    ...(errors > 0 ? [`${share(errors)} failed (a picture that cannot be read, a server) and count as wrong.`] : []),
  ];
}

/** Whether every yes/no pair is right or wrong as a whole, as where an encoder compares the texts of both questions. */
function sharesPairs({ items, scored }: JudgedSuite): boolean {
  const byId = new Map(scored.map((row) => [row.itemId, row.correct]));
  const pairs = new Map<string, number[]>();
  for (const { id, pair, ask } of items) {
    if (pair === undefined || ask.kind !== 'yesno') continue;
    pairs.set(pair, [...(pairs.get(pair) ?? []), byId.get(id) ?? 0]);
  }
  const whole = [...pairs.values()].filter((members) => members.length > 1);
  return whole.length > 9 && whole.every((members) => members.every((correct) => correct === members[0]));
}
