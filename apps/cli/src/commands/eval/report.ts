// `fovea eval report FOLDER…`: one page, the same in Markdown, and every result as a line, beside the first evaluation.

import path from 'node:path';
import { explainDisk, replaceFile } from '@fovea/artifacts';
import { compareRuns, evalMarkdown, readJudgedRun, renderEvalReport, resultLines } from '@fovea/benchmarks/judging';
import { defineCommand } from 'citty';
import { fromUser } from '../../evaluation/request.ts';
import { shown } from '../../home.ts';

export default defineCommand({
  meta: { name: 'report', description: 'Write the report of an evaluation, or of one against another' },
  args: {
    folder: { type: 'positional', required: true, description: 'Folder of an evaluation' },
    against: { type: 'positional', required: false, description: 'Folder of the one that it is compared with' },
    scorer: { type: 'string', valueHint: 'ID', description: 'Verdicts of this scorer, after a rescore by it' },
    json: { type: 'boolean', description: 'Print one JSON document' },
  },
  async run({ args }) {
    const folder = fromUser(args.folder);
    const run = await readJudgedRun(folder, args.scorer ?? null);
    const other = args.against === undefined ? null : await readJudgedRun(fromUser(args.against), args.scorer ?? null);
    const comparisons = other && compareRuns([run], other);
    const report = { runs: other ? [run, other] : [run], comparisons };
    const files = {
      'report.html': renderEvalReport(report),
      'report.md': evalMarkdown(report),
      'report.jsonl': resultLines(report),
    };
    for (const [name, text] of Object.entries(files)) {
      await replaceFile(path.join(folder, name), text).catch((error) => {
        throw explainDisk(error, `The report in "${shown(folder)}" cannot be written`);
      });
    }
    const written = Object.keys(files).map((name) => path.join(folder, name));
    console.log(
      args.json ? JSON.stringify({ files: written }, null, 2) : written.map((file) => shown(file)).join('\n'),
    );
  },
});
