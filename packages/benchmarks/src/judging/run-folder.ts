// The folder of one evaluation: run.json (what was asked of whom), status.json, and for each suite a folder that holds the
// suite's own files beside preds.jsonl, scored.jsonl and results.json. It is whole by itself: judging it again or comparing
// it needs no model, no pictures and not the place that the suite came from.

import { stat } from 'node:fs/promises';
import path from 'node:path';
import {
  canonicalJson,
  ensureFolder,
  explainDisk,
  type FileLock,
  FoveaError,
  replaceFile,
  sha256Hex,
  takeLock,
} from '@fovea/artifacts';
import { z } from 'zod';
import { parseAs, parseJson, readBounded } from '../suite/safe-files.ts';
import type { Suite } from '../suite/suite.ts';
import { writeSuiteFiles } from '../suite/write-suite.ts';
import { differences, type KeyParts, runKey } from './run-key.ts';

const runSchema = z.strictObject({
  schemaVersion: z.literal(1),
  /** Of all its suites' keys. */
  key: z.string().regex(/^[0-9a-f]{64}$/),
  /** The subject in words for people. */
  title: z.string(),
  /** How whoever resumes finds suites and subject again; paths of this machine, so no part of any key. */
  request: z.record(z.string(), z.json()),
  suites: z
    .array(z.strictObject({ name: z.string().regex(/^[a-z0-9][a-z0-9-]{0,59}$/), runKey: z.string(), parts: z.json() }))
    .min(1),
});
export type RunDocument = z.infer<typeof runSchema>;

/** A suite and what its answers depend on. */
export interface Asked {
  suite: Suite;
  parts: KeyParts;
}

/** The document of an evaluation before it has a folder. */
export function runDocument(
  asked: readonly Asked[],
  { title, request }: Pick<RunDocument, 'title' | 'request'>,
): RunDocument {
  const suites = asked.map(({ suite, parts }) => ({
    name: suite.manifest.name,
    runKey: runKey(parts),
    parts: JSON.parse(canonicalJson(parts)),
  }));
  const twice = suites.find(({ name }, i) => suites.findIndex((other) => other.name === name) !== i);
  if (twice)
    throw new FoveaError(`Two of the suites are called "${twice.name}"; ask them in evaluations of their own.`);
  const key = sha256Hex(canonicalJson(suites.map(({ name, runKey: own }) => [name, own]).sort()));
  return runSchema.parse({ schemaVersion: 1, key, title, request, suites });
}

export const suiteFolder = (folder: string, suite: string): string => path.join(folder, suite);

/**
 * Makes the folder of an evaluation, or finds the one that is there. Throws a FoveaError where it holds another one, with
 * the names of what differs, so that answers under another key are never reused.
 */
export async function openRunFolder(folder: string, document: RunDocument, asked: readonly Asked[]): Promise<void> {
  const isThere = await stat(path.join(folder, 'run.json')).then(
    () => true,
    () => false,
  );
  if (isThere) return checkSame(folder, await readRun(folder), document);
  try {
    for (const { suite } of asked) {
      const own = path.resolve(suiteFolder(folder, suite.manifest.name));
      await ensureFolder(own);
      await writeSuiteFiles(own, suite);
    }
    await replaceFile(path.join(folder, 'run.json'), `${JSON.stringify(document, null, 2)}\n`);
  } catch (error) {
    throw explainDisk(error, `The evaluation "${folder}" cannot be written`);
  }
}

function checkSame(folder: string, there: RunDocument, wanted: RunDocument): void {
  if (there.key === wanted.key) return;
  const byName = (document: RunDocument) => Object.fromEntries(document.suites.map(({ name, parts }) => [name, parts]));
  const differ = differences(byName(there), byName(wanted));
  const shown = differ.slice(0, 4).join(', ') + (differ.length > 4 ? ` and ${differ.length - 4} more` : '');
  throw new FoveaError(
    `The folder "${folder}" holds another evaluation: ${shown} differ${differ.length === 1 ? 's' : ''}; give another --name or --out.`,
  );
}

export async function readRun(folder: string): Promise<RunDocument> {
  const what = `The evaluation "${folder}" (run.json)`;
  const text = (await readBounded(path.join(folder, 'run.json'), 2 ** 26, what)).toString();
  return parseAs(runSchema, parseJson(text, what), what);
}

/** Takes the folder for this process. Throws a FoveaError where another, living one writes it. */
export async function holdRunFolder(folder: string): Promise<FileLock> {
  const lock = await takeLock(path.join(folder, 'lock')).catch((error) => {
    throw explainDisk(error, `The evaluation "${folder}" cannot be written`);
  });
  if ('release' in lock) return lock;
  throw new FoveaError(
    `The evaluation "${folder}" is being written by process ${lock.heldBy.pid} on ${lock.heldBy.host}; wait for it, or end it.`,
  );
}
