// A process that evaluates a suite folder with a slow subject, to be killed at any moment: SUITE RUN DELAY_MS CHUNK.

import { evaluate } from '../src/judging/evaluate.ts';
import { holdRunFolder, openRunFolder, runDocument } from '../src/judging/run-folder.ts';
import { keyParts } from '../src/judging/run-key.ts';
import { HashSubject, smallKind } from '../src/judging/testing.ts';
import { readSuite } from '../src/suite/read-suite.ts';

const [suiteFolder, folder, delayMs, chunk] = process.argv.slice(2);
const suite = await readSuite(suiteFolder);
const subject = new HashSubject('w', Number(delayMs));
const asked = [{ suite, parts: keyParts(subject, suite) }];
const document = runDocument(asked, { title: 'hash', request: {} });
console.log('ready');
const lock = await holdRunFolder(folder);
await openRunFolder(folder, document, asked);
const options = { chunk: Number(chunk), kindOf: () => smallKind, now: () => new Date() };
const status = await evaluate(folder, document, [{ suite, subject }], {
  ...options,
  bootstrap: { count: 100, seed: 0 },
});
await lock.release();
console.log(status.state);
