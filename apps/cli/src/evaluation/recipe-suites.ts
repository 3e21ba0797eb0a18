// A checkpoint on the suites of its own recipe, the ones that training scores by; kept under the key that the eval jobs use.

import { FoveaError } from '@fovea/artifacts';
import { SUITES, type Suite } from '@fovea/benchmarks';
import { findCheckpoint } from '../checkpoints.ts';
import { findHome, openHomeStore } from '../home.ts';
import { number } from '../live.ts';
import { scoreAll } from '../score.ts';
import { table } from '../summary.ts';

export interface RecipeSuitesArgs {
  checkpoint: string;
  run?: string;
  /** Names separated by commas; all of the recipe's where there are none. */
  suite?: string;
  json?: boolean;
}

/** Scores and prints. Throws the FoveaErrors of finding the checkpoint and of scoring it. */
export async function scoreRecipeSuites(args: RecipeSuitesArgs): Promise<void> {
  const suites = args.suite ? parseSuites(args.suite) : null;
  const home = findHome();
  const store = await openHomeStore(home);
  const checkpoint = await findCheckpoint(store, args.checkpoint, args.run);
  const show = process.stderr.isTTY && !args.json;
  const [{ scorecard, cached }] = await scoreAll(home, store, [checkpoint], suites, ({ step, steps, text }) => {
    if (show) process.stderr.write(`\r${text ?? 'scoring'} ${step}/${steps}\x1b[K`);
  });
  if (show) process.stderr.write('\r\x1b[K');
  const { id, role, run } = checkpoint;
  if (args.json) {
    console.log(JSON.stringify({ checkpoint: id, run: run.id, role, cached, results: scorecard.results }, null, 2));
    return;
  }
  console.log(`checkpoint ${id.slice(0, 12)}, ${role} of run ${run.id}${cached ? ' (scored before)' : ''}`);
  const rows = scorecard.results.map(({ suite, split, metric, value, n, ci }) => [
    `${suite} ${split} ${metric}`,
    String(n),
    number(value),
    `[${number(ci[0])}, ${number(ci[1])}]`,
  ]);
  console.log(table(['measure', 'n', 'value', '95 % interval'], rows));
}

function parseSuites(text: string): Suite[] {
  const names = text.split(',').map((name) => name.trim());
  const wrong = names.find((name) => !SUITES.includes(name as Suite));
  if (wrong !== undefined)
    throw new FoveaError(`There is no suite called "${wrong}"; the suites are ${SUITES.join(', ')}.`);
  return SUITES.filter((suite) => names.includes(suite));
}
