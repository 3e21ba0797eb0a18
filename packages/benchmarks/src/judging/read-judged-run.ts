// An evaluation's folder as what comparing, gating and reporting read: suites that are complete with their verdicts, and
// the names of those that are not.

import path from 'node:path';
import { FoveaError } from '@fovea/artifacts';
import { readSuite } from '../suite/read-suite.ts';
import { manifestHash } from '../suite/suite-of.ts';
import type { JudgedRun, JudgedSuite } from './judged-run.ts';
import { readResults, readScored } from './results.ts';
import { readRun, suiteFolder } from './run-folder.ts';
import type { KeyParts } from './run-key.ts';
import { readStatus } from './status.ts';

/** `scorer`: whose verdicts, where it is not the default one. Throws a FoveaError where the folder is none, or torn. */
export async function readJudgedRun(folder: string, scorer: string | null = null): Promise<JudgedRun> {
  const run = await readRun(folder);
  const status = await readStatus(folder);
  const incomplete: { suite: string; reason: string }[] = [];
  const suites: JudgedSuite[] = [];
  for (const { name } of run.suites) {
    const { state, message } = status.suites[name] ?? { state: 'queued', message: null };
    if (state === 'completed') suites.push(await readJudgedSuite(suiteFolder(folder, name), scorer));
    else incomplete.push({ suite: name, reason: message ?? state });
  }
  const { subject } = run.suites[0].parts as unknown as KeyParts;
  return { key: run.key, subject: run.title, identity: subject.identity, suites, incomplete };
}

async function readJudgedSuite(folder: string, scorer: string | null): Promise<JudgedSuite> {
  const { manifest, items } = await readSuite(folder);
  const document = await readResults(folder, scorer);
  const scored = await readScored(folder, scorer);
  if (document.manifest !== manifestHash(manifest) || scored.length !== items.length)
    throw new FoveaError(
      `The results in "${path.basename(path.dirname(folder))}/${manifest.name}" are not of the suite beside them; judge the evaluation again with \`fovea eval rescore\`.`,
    );
  return {
    manifest,
    items,
    scored,
    results: document.results,
    scorer: `${document.scorer.id}@${document.scorer.version}`,
  };
}
