// `fovea eval resume FOLDER`: goes on with an evaluation that was stopped or killed. What is answered is not asked again.

import path from 'node:path';
import { readRun } from '@fovea/benchmarks/judging';
import { defineCommand } from 'citty';
import { execute } from '../../evaluation/execute.ts';
import { printEvaluation } from '../../evaluation/print.ts';
import { progressLine } from '../../evaluation/progress-line.ts';
import { fromUser, parseRequest } from '../../evaluation/request.ts';
import { scoringArgs, scoringWishes } from '../../evaluation/scoring-args.ts';
import { findHome } from '../../home.ts';

export default defineCommand({
  meta: { name: 'resume', description: 'Go on with an evaluation that was stopped or killed' },
  args: {
    folder: { type: 'positional', required: true, description: 'Folder of the evaluation' },
    'retry-errors': { type: 'boolean', description: 'Ask again what ended as an error' },
    ...scoringArgs,
    json: { type: 'boolean', description: 'Print one JSON document' },
  },
  async run({ args }) {
    const folder = fromUser(args.folder);
    const request = parseRequest((await readRun(folder)).request, args.folder);
    const line = progressLine(args.json);
    const wishes = { ...scoringWishes(args), retryErrors: args['retry-errors'], progress: line.show };
    const place = { out: path.dirname(folder), name: path.basename(folder) };
    const done = await execute(findHome(), request, place, wishes);
    line.end();
    process.exitCode = await printEvaluation(done, args.json ?? false);
  },
});
