// `fovea eval suites [FOLDER…]`: the built-in suites, or what a suite folder holds, checked down to its pictures on demand.

import { readSuite } from '@fovea/benchmarks/judging';
import { defineCommand } from 'citty';
import { checkPictures } from '../../evaluation/check-suite.ts';
import { fromUser } from '../../evaluation/request.ts';
import { twinNames } from '../../evaluation/suites.ts';
import { table } from '../../summary.ts';

export default defineCommand({
  meta: { name: 'suites', description: 'List the built-in suites, or check the folder of one' },
  args: {
    folder: { type: 'positional', required: false, description: 'Folder of a suite' },
    images: { type: 'string', valueHint: 'DIR', description: 'Your folder of pictures, for a suite that has none' },
    pictures: { type: 'boolean', description: 'Read every picture too' },
    json: { type: 'boolean', description: 'Print one JSON document' },
  },
  async run({ args }) {
    if (args.folder === undefined) return console.log(args.json ? JSON.stringify(twinNames()) : twinNames().join('\n'));
    const images = args.images === undefined ? undefined : fromUser(args.images);
    const suite = await readSuite(fromUser(args.folder), { images });
    const faults = args.pictures ? await checkPictures(suite) : [];
    const { manifest } = suite;
    if (args.json) console.log(JSON.stringify({ manifest, faults }, null, 2));
    else {
      console.log(`${manifest.name} (${manifest.kind}): ${manifest.title}`);
      console.log(
        table(
          ['split', 'items'],
          Object.entries(manifest.splits).map(([split, n]) => [split, String(n)]),
        ),
      );
      for (const { what, reason } of manifest.omitted) console.log(`left out: ${what}: ${reason}`);
      for (const note of manifest.notes) console.log(`note: ${note}`);
      for (const fault of faults) console.error(fault);
    }
    if (faults.length > 0) process.exitCode = 3;
  },
});
