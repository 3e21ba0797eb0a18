// `results.json`: the measures of one suite with everything that it takes to compare them: which evaluation, which scorer,
// which truth. No clock stands in it, so that equal answers give equal bytes.

import { rm } from 'node:fs/promises';
import path from 'node:path';
import { canonicalJson, replaceFile, sha256Hex } from '@fovea/artifacts';
import { z } from 'zod';
import { linesOf, parseAs, parseJson, readBounded } from '../suite/safe-files.ts';
import type { Suite } from '../suite/suite.ts';
import { canonicalLines, manifestHash } from '../suite/suite-of.ts';
import { type Scored, scoredSchema } from './answer.ts';
import type { MeasureOptions, Scorer } from './kind.ts';
import { type Result, resultSchema } from './result.ts';

const MAX_RESULTS = 64 * 2 ** 20;
const MAX_SCORED = 500 * 2 ** 20;

export const resultsSchema = z.strictObject({
  version: z.literal(1),
  suite: z.string(),
  kind: z.string(),
  runKey: z.string(),
  /** Of run key, scorer and truth: equal keys are equal numbers. */
  scoringKey: z.string(),
  scorer: z.strictObject({ id: z.string(), version: z.int(), source: z.string().nullable() }),
  gtRevision: z.string(),
  /** SHA-256 of the suite's manifest. */
  manifest: z.string(),
  bootstrap: z.strictObject({ count: z.int(), seed: z.int() }),
  n: z.int(),
  unknown: z.int(),
  errors: z.int(),
  results: z.array(resultSchema),
});
export type ResultsDocument = z.infer<typeof resultsSchema>;

export function resultsDocument(
  suite: Suite,
  key: string,
  scorer: Scorer,
  counts: { unknown: number; errors: number },
  bootstrap: MeasureOptions,
  results: Result[],
): ResultsDocument {
  const { name, kind, gtRevision } = suite.manifest;
  const { id, version, source = null } = scorer;
  return {
    version: 1,
    suite: name,
    kind,
    runKey: key,
    scoringKey: sha256Hex(
      canonicalJson({ runKey: key, scorer: { id, version }, gtRevision, bootstrap: { ...bootstrap } }),
    ),
    scorer: { id, version, source },
    gtRevision,
    manifest: manifestHash(suite.manifest),
    bootstrap: { count: bootstrap.count, seed: bootstrap.seed },
    n: suite.items.length,
    unknown: counts.unknown,
    errors: counts.errors,
    results,
  };
}

/** What a scorer says of a suite lies beside what the default one says, with its id in the name. */
const named = (folder: string, stem: string, ending: string, scorer: string | null): string =>
  path.join(folder, `${stem}${scorer === null ? '' : `.${scorer}`}.${ending}`);

export const writeResults = (folder: string, document: ResultsDocument, scorer: string | null = null): Promise<void> =>
  replaceFile(named(folder, 'results', 'json', scorer), `${JSON.stringify(document, null, 2)}\n`);

/** `scorer`: null for the default one. */
export async function readResults(folder: string, scorer: string | null = null): Promise<ResultsDocument> {
  const file = named(folder, 'results', 'json', scorer);
  const what = `The results "${file}"`;
  const text = (await readBounded(file, MAX_RESULTS, what)).toString();
  return parseAs(resultsSchema, parseJson(text, what), what);
}

export const writeScored = (folder: string, rows: readonly Scored[], scorer: string | null = null): Promise<void> =>
  replaceFile(named(folder, 'scored', 'jsonl', scorer), canonicalLines(rows));

export async function readScored(folder: string, scorer: string | null = null): Promise<Scored[]> {
  const file = named(folder, 'scored', 'jsonl', scorer);
  const what = `The verdicts "${file}"`;
  const text = (await readBounded(file, MAX_SCORED, what)).toString();
  return [...linesOf(text, what)].map(([line, number]) => {
    const where = `${what}, line ${number},`;
    return parseAs(scoredSchema, parseJson(line, where), where);
  });
}

/** Takes away what a scorer said before it is asked anew. */
export async function removeVerdicts(folder: string, scorer: string | null = null): Promise<void> {
  await rm(named(folder, 'results', 'json', scorer), { force: true });
  await rm(named(folder, 'scored', 'jsonl', scorer), { force: true });
}
