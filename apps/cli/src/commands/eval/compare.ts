// `fovea eval compare A B`: two evaluations on the same questions, with paired intervals and tests; gates end it with exit
// code 4.

import { readFile } from 'node:fs/promises';
import { FoveaError } from '@fovea/artifacts';
import {
  compareRuns,
  type GateVerdict,
  type JudgedRun,
  judgeGates,
  parseGates,
  readJudgedRun,
} from '@fovea/benchmarks/judging';
import { defineCommand } from 'citty';
import { wholeNumber } from '../../arguments.ts';
import { fromUser } from '../../evaluation/request.ts';
import { number } from '../../live.ts';
import { table } from '../../summary.ts';

const TESTS = ['auto', 'permutation', 'mcnemar'] as const;

export default defineCommand({
  meta: { name: 'compare', description: 'Compare evaluations on the same questions; gates for CI' },
  args: {
    a: { type: 'positional', required: true, description: 'Folder of an evaluation' },
    b: { type: 'positional', required: true, description: 'Folder of the one that it is compared with' },
    test: { type: 'string', default: 'auto', valueHint: TESTS.join('|'), description: 'Which p decides' },
    gates: { type: 'string', valueHint: 'FILE', description: 'Gates as YAML or JSON; one that fails is exit code 4' },
    scorer: { type: 'string', valueHint: 'ID', description: 'Verdicts of this scorer, after a rescore by it' },
    resamples: { type: 'string', default: '10000', valueHint: 'number', description: 'Resamples and sign flips' },
    json: { type: 'boolean', description: 'Print one JSON document' },
  },
  async run({ args }) {
    const test = TESTS.find((each) => each === args.test);
    if (test === undefined) throw new FoveaError(`The flag --test takes ${TESTS.join(', ')}; not "${args.test}".`);
    const count = wholeNumber('resamples', args.resamples, 100, 1_000_000);
    const read = (folder: string) => readJudgedRun(fromUser(folder), args.scorer ?? null);
    const [a, b] = [await read(args.a), await read(args.b)];
    const comparisons = compareRuns([a], b, { test, count });
    const gates = args.gates === undefined ? [] : await gatesOf(args.gates, a, b, read, count);
    if (args.json) console.log(JSON.stringify({ a: a.key, b: b.key, ...comparisons, gates }, null, 2));
    else {
      console.log(`${a.subject} minus ${b.subject}`);
      const rows = comparisons.rows.map((row) => [
        `${row.suite} ${row.split} ${row.metric}`,
        String(row.n),
        number(row.delta),
        `[${number(row.ci[0])}, ${number(row.ci[1])}]`,
        row.wins === null ? '–' : `+${row.wins} −${row.losses}`,
        (row.pAdjusted ?? row.p).toPrecision(2),
        row.verdict ?? '–',
      ]);
      console.log(table(['measure', 'n', 'difference', '95 % interval', 'alone', 'p', 'verdict'], rows));
      console.log(comparisons.family);
      for (const { suite, reason } of comparisons.omitted) console.error(`${suite}: not compared: ${reason}`);
      for (const { text } of gates) console.log(text);
    }
    if (gates.some(({ verdict }) => verdict === 'fail')) process.exitCode = 4;
  },
});

async function gatesOf(
  file: string,
  a: JudgedRun,
  b: JudgedRun,
  read: (folder: string) => Promise<JudgedRun>,
  count: number,
): Promise<GateVerdict[]> {
  const text = await readFile(fromUser(file), 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new FoveaError(`The gate file "${file}" cannot be read: ${error.code}; check the path.`);
  });
  const gates = parseGates(text, file);
  const others = new Map<string, JudgedRun>([['baseline', b]]);
  for (const { vs } of gates) if (!others.has(vs)) others.set(vs, await read(vs));
  return judgeGates(gates, a, (vs) => others.get(vs) as JudgedRun, { count });
}
