// `fovea compare A B`: two checkpoints on the same questions, with paired intervals and tests.

import { compareScorecards } from '@fovea/benchmarks';
import { defineCommand } from 'citty';
import { findCheckpoint } from '../checkpoints.ts';
import { findHome, openHomeStore } from '../home.ts';
import { number } from '../live.ts';
import { scoreAll } from '../score.ts';
import { table } from '../summary.ts';

export default defineCommand({
  meta: { name: 'compare', description: 'Compare two checkpoints on the same questions' },
  args: {
    a: { type: 'positional', required: true, description: 'Checkpoint id, role, or latest' },
    b: {
      type: 'positional',
      required: true,
      description: 'The one it is compared with; it also decides which splits are testable',
    },
    json: { type: 'boolean', description: 'Print one JSON document' },
  },
  async run({ args }) {
    const home = findHome();
    const store = await openHomeStore(home);
    const [a, b] = [await findCheckpoint(store, args.a), await findCheckpoint(store, args.b)];
    const [first, second] = await scoreAll(home, store, [a, b], null, () => {});
    const rows = compareScorecards(first.scorecard, second.scorecard, { baseline: second.scorecard });
    if (args.json) {
      console.log(JSON.stringify({ a: a.id, b: b.id, comparisons: rows }, null, 2));
      return;
    }
    console.log(`${a.id.slice(0, 12)} (${a.role}) minus ${b.id.slice(0, 12)} (${b.role})`);
    const cells = rows.map((row) => [
      `${row.suite} ${row.split} ${row.metric}`,
      String(row.n),
      number(row.delta),
      `[${number(row.ci[0])}, ${number(row.ci[1])}]`,
      row.p.toPrecision(2),
      row.verdict,
    ]);
    console.log(table(['measure', 'n', 'difference', '95 % interval', 'p', 'verdict'], cells));
  },
});
