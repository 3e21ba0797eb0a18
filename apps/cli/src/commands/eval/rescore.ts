// `fovea eval rescore FOLDER`: judges the answers of an evaluation again, by another scorer or a newer one. No model and no
// picture is needed.

import { holdRunFolder, readRun, rescore } from '@fovea/benchmarks/judging';
import { defineCommand } from 'citty';
import { scoringBase } from '../../evaluation/execute.ts';
import { printEvaluation } from '../../evaluation/print.ts';
import { fromUser } from '../../evaluation/request.ts';
import { scoringArgs, scoringWishes } from '../../evaluation/scoring-args.ts';

export default defineCommand({
  meta: { name: 'rescore', description: 'Judge the answers of an evaluation again; no model is needed' },
  args: {
    folder: { type: 'positional', required: true, description: 'Folder of the evaluation' },
    ...scoringArgs,
    json: { type: 'boolean', description: 'Print one JSON document' },
  },
  async run({ args }) {
    const folder = fromUser(args.folder);
    const document = await readRun(folder);
    const lock = await holdRunFolder(folder);
    try {
      const status = await rescore(folder, document, { ...scoringBase, ...scoringWishes(args) });
      const title = `${document.title}, judged again${args.scorer === undefined ? '' : ` by ${args.scorer}`}`;
      process.exitCode = await printEvaluation({ folder, title, status }, args.json ?? false, args.scorer);
    } finally {
      await lock.release();
    }
  },
});
