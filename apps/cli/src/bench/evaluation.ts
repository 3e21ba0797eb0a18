// The whole evaluation of the shipped encoder on every emoji twin, timed from opening the world to the last result: scenes
// drawn, wrong names chosen, probes fitted, questions asked, answers judged. Beside it what the machine did meanwhile.

import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { loadavg, tmpdir } from 'node:os';
import path from 'node:path';
import { readResults, suiteFolder } from '@fovea/benchmarks/judging';
import { execute } from '../evaluation/execute.ts';
import { twinNames } from '../evaluation/suites.ts';
import type { Home } from '../home.ts';
import { table } from '../summary.ts';

export interface EvaluationResult {
  questions: number;
  /** Distinct pictures that were asked about; probe rows come on top. */
  pictures: number;
  seconds: number;
  /** Of this process, all threads: what it would take at least on one core that is free. */
  cpuSeconds: number;
  /** Mean number of runnable processes over the last minute, at the start and at the end. */
  load: [number, number];
  suites: { name: string; state: string; questions: number; scores: string }[];
}

/** Measures that stand for a suite in the table; the first that it has. */
const HEADLINES = [
  'f1-macro',
  'pair-accuracy',
  'chair-i',
  'top1',
  'mean-recall',
  'mce',
  'shape-bias',
  'accuracy',
  'r2',
];

/** Evaluates into a temporary folder, which is removed again. */
export async function measureEvaluation(home: Home, say: (text: string) => void): Promise<EvaluationResult> {
  const out = await mkdtemp(path.join(tmpdir(), 'fovea-bench-'));
  const [before] = loadavg();
  const [started, busy] = [performance.now(), process.cpuUsage()];
  try {
    const request = {
      suites: twinNames(),
      images: null,
      subject: { from: 'builtin' as const, weights: 'builtin:emoji' },
      as: 'auto' as const,
      limit: null,
      seed: 0,
      device: 'cpu',
    };
    const { folder, status } = await execute(home, request, { out }, { progress: ({ text = '' }) => say(text) });
    const seconds = (performance.now() - started) / 1000;
    const { user, system } = process.cpuUsage(busy);
    const names = Object.keys(status.suites);
    const suites = await Promise.all(
      names.map(async (name) => {
        const { state, count } = status.suites[name];
        const scores = state === 'completed' ? await headline(suiteFolder(folder, name)) : '';
        return { name, state, questions: count, scores };
      }),
    );
    return {
      questions: suites.reduce((sum, suite) => sum + suite.questions, 0),
      pictures: await picturesOf(names.map((name) => suiteFolder(folder, name))),
      seconds,
      cpuSeconds: (user + system) / 1e6,
      load: [before, loadavg()[0]],
      suites,
    };
  } finally {
    await rm(out, { recursive: true, force: true });
  }
}

async function headline(folder: string): Promise<string> {
  const { results } = await readResults(folder);
  const metric = HEADLINES.find((name) => results.some((result) => result.metric === name));
  const percent = (value: number | null) => (value === null ? '–' : (100 * value).toFixed(1));
  return results
    .filter((result) => result.metric === metric && !result.split.startsWith('pattern/'))
    .map(({ split, value, ci, n }) => {
      const interval = ci === null ? '' : ` [${percent(ci.low)}, ${percent(ci.high)}]`;
      return `${split} ${metric} ${percent(value)}${interval} (${n})`;
    })
    .join('; ');
}

async function picturesOf(folders: readonly string[]): Promise<number> {
  const seen = new Set<string>();
  for (const folder of folders) {
    const text = await readFile(path.join(folder, 'items.jsonl'), 'utf8');
    for (const line of text.split('\n').filter(Boolean))
      for (const picture of JSON.parse(line).pictures) seen.add(JSON.stringify(picture));
  }
  return seen.size;
}

export function evaluationText(result: EvaluationResult): string {
  const { questions, pictures, seconds, cpuSeconds, load, suites } = result;
  return [
    `${questions} questions about ${pictures} pictures in ${seconds.toFixed(1)} s (${cpuSeconds.toFixed(1)} s of processor time, load ${load.map((each) => each.toFixed(1)).join(' to ')}): ${(pictures / seconds).toFixed(0)} pictures/s, everything included`,
    table(
      ['suite', 'questions', 'state', 'score in %, 95 % interval (n)'],
      suites.map(({ name, questions: count, state, scores }) => [name, String(count), state, scores]),
    ),
  ].join('\n');
}
